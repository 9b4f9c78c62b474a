//! Settings of a training: a TOML file with flags on top.
//!
//! The flags serialize to the same tables and keys as the file, so that a setting is declared once;
//! [`Config`] is the schema of both.

use std::ops::Not;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prl_encoders::EncoderKind;
use prl_runs::{Config, Method, Recipe};
use serde::Serialize;
use toml::{Table, Value};

use crate::exit::Usage;
use crate::flags::{encoder, method, named};

/// Maximum size of a settings file in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Least similarity (Jaro-Winkler) of a key that is suggested in place of an unknown one.
const MIN_SIMILARITY: f64 = 0.8;

/// Flags that override settings of the file.
#[derive(clap::Args, Serialize)]
pub struct Settings {
    /// Directory of the prepared dataset, as written by `prl prepare`
    #[arg(long)]
    data: Option<PathBuf>,
    /// Method trained on top of the encoder, or instead of one [default: prl]
    #[arg(long, value_parser = method())]
    method: Option<Method>,
    /// Defaults of the other settings: paper, the protocol of the paper, or modern, the best known
    /// here [default: modern; paper for sqn, sac, and a settings file without a recipe]
    #[arg(long, value_parser = named(&Recipe::ALL, Recipe::name))]
    recipe: Option<Recipe>,
    /// Seed of initial values, sampling, dropout and prompts [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Passes over the training examples [default: 8; paper: 30]
    #[arg(long)]
    epochs: Option<u64>,
    /// Maximum number of training steps
    #[arg(long)]
    max_steps: Option<u64>,
    /// Examples per training step [default: 512; paper: 256]
    #[arg(long)]
    batch_size: Option<u64>,
    /// Learning rate of Adam [default: 0.01; paper: 0.005, on RC15 0.01]
    #[arg(long)]
    lr: Option<f64>,
    /// Examples of a step: draw (anew at every step), pass (each once a pass) or session (as pass,
    /// whole sessions, each encoded once; not for caser) [default: pass; paper: draw]
    #[arg(long)]
    sampling: Option<String>,
    /// Decoupled weight decay of AdamW [default: 0]
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Training steps over which the learning rate rises from zero [default: 0]
    #[arg(long)]
    lr_warm_up: Option<u64>,
    /// Learning rate after that: constant, or cosine to zero [default: cosine;
    /// paper: constant]
    #[arg(long)]
    lr_schedule: Option<String>,
    /// Metric that selects the weights: paper (HR@5 of purchases, else of clicks), ndcg@20, hr@20,
    /// click-ndcg@20, click-hr@20, purchase-hr@5 or purchase-ndcg@20;
    /// by default ndcg@20, under the recipe paper the first
    #[arg(long)]
    select: Option<String>,
    /// Weights of the examples in the loss: method (the method's own), uniform or reward [default:
    /// uniform; paper: method]
    #[arg(long)]
    loss_weight: Option<String>,
    /// Training steps between validations; 0 for one after every pass [default: 0; paper: 2000]
    #[arg(long)]
    eval_every: Option<u64>,
    /// Early stopping: validations without an improvement [default: 2; paper: none]
    #[arg(long)]
    patience: Option<u64>,
    /// Hold this share of the training sessions out and validate on them; for a dataset without a
    /// validation split
    #[arg(long, value_name = "SHARE")]
    hold_out: Option<f64>,
    /// Sessions that are held out: seed (drawn by the seed) or time (those that begin last)
    /// [default: seed]
    #[arg(long)]
    hold_out_by: Option<String>,
    /// Train to the end without validation and keep the last weights [default: only if the
    /// validation split is empty]
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    no_validation: bool,
    /// Discount of the returns [default: 1]
    #[arg(long)]
    lambda: Option<f64>,
    /// Convention of that discount: absolute or relative [default: absolute]
    #[arg(long)]
    discount: Option<String>,
    /// Sessions over which the mean return of each step is taken: train or all [default: train]
    #[arg(long)]
    mean_over: Option<String>,
    /// Discount of the Q-values of SQN and SAC [default: 0.5]
    #[arg(long)]
    gamma: Option<f64>,
    /// Training steps of SAC (self-supervised actor-critic) with unweighted cross-entropy at the
    /// start [default: the protocol's for the encoder and the dataset]
    #[arg(long)]
    warm_up: Option<u64>,
    /// Leave out examples with an empty state
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    skip_first: bool,
    /// Multiply the output layer in bfloat16 in training: faster on a CPU with AMX, or with AVX-512
    /// BF16 by AMD; slower on others; the same as --head-dtype bf16
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    bf16_head: bool,
    /// Type of the factors of the output layer's products in training: fp32, bf16, or on a GPU tf32
    /// [default: fp32]
    #[arg(long)]
    head_dtype: Option<String>,
    /// Negatives of a training step, drawn anew at each: softmax over them with a logQ correction,
    /// and updates of the touched rows alone; for large catalogues. 0 for the softmax over all
    /// items; evaluation ranks all items in any case [default: 0]
    #[arg(long)]
    negatives: Option<u64>,
    /// Distribution of the negatives: uniform, popularity (by a power of the item's training
    /// examples) or in-batch (the batch's targets, and --negatives uniform ones beside them)
    /// [default: uniform]
    #[arg(long)]
    negative_sampling: Option<String>,
    /// That power, from 0 to 1 [default: 0.5]
    #[arg(long)]
    negative_power: Option<f64>,
    /// Multiple of the mean return that validation prompts for [default: 1; paper: 2]
    #[arg(long)]
    mu: Option<f64>,
    /// Standard deviation of that factor [default: 0]
    #[arg(long)]
    eps: Option<f64>,
    #[command(flatten)]
    model: ModelSettings,
}

/// Flags of the table `model`.
#[derive(clap::Args, Serialize)]
struct ModelSettings {
    /// Session encoder [default: core; paper: gru]
    #[arg(long, value_parser = encoder())]
    encoder: Option<EncoderKind>,
    /// Hidden size: dimension of the item embeddings [default: 64]
    #[arg(long)]
    dim: Option<u64>,
    /// Window length: latest items of a session that the encoder reads [default: 10]
    #[arg(long)]
    window: Option<u64>,
    /// Dropout of the prompt block [default: 0.3]
    #[arg(long)]
    dropout: Option<f64>,
    /// Unit of the returns in the prompt: ratio or raw [default: ratio]
    #[arg(long)]
    prompt_scale: Option<String>,
    /// Input of the attention's residual connection: normed or stack [default: normed]
    #[arg(long)]
    residual: Option<String>,
    /// Keys of the attention: prompt, or released as in the code released for SASRec
    /// [default: prompt]
    #[arg(long)]
    attention: Option<String>,
    /// Embedding of a return: linear or binned [default: linear]
    #[arg(long)]
    reward_code: Option<String>,
    /// Initial bias of the GRU's update gate [default: 1]
    #[arg(long, allow_negative_numbers = true)]
    update_bias: Option<f64>,
    /// Score the items by the item embedding in place of a weight of the output layer's own
    /// [default: true; paper: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    tied: Option<bool>,
    /// Temperature of cosine scores, or 0 for dot products [default: 0.1; paper: 0]
    #[arg(long)]
    temperature: Option<f64>,
    /// Add the last item's embedding to the state [default: true; paper: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    last_item_residual: Option<bool>,
    /// The session's own items as candidates: keep, exclude, learned (a bias by lag), or auto
    /// (learned if the training sessions repeat items, else exclude) [default: auto; paper: keep]
    #[arg(long)]
    own_items: Option<String>,
    /// Dropout of the embedded items [default: 0.2; paper: 0]
    #[arg(long)]
    item_dropout: Option<f64>,
    /// Add the kinds of past events to the state, and to a learned bias of own items one by their
    /// events [default: true; paper: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    event_kinds: Option<bool>,
    /// Add a bias by item to the scores [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    item_bias: Option<bool>,
    /// Label smoothing: share of the target's probability spread over all items [default: 0]
    #[arg(long)]
    label_smoothing: Option<f64>,
}

impl Settings {
    /// The settings of `file`, if any, overridden by the flags, and checked. `resumed` is the
    /// recipe of the run that is resumed, if any.
    pub fn resolve(&self, file: Option<&Path>, resumed: Option<Recipe>) -> anyhow::Result<Config> {
        let mut table = match file {
            Some(path) => read(path, self.recipe)?,
            None => Table::try_from(Config::of_recipe(self.default_recipe(resumed)?))?,
        };
        merge(&mut table, Table::try_from(self).map_err(usage)?);
        let config: Config = table.try_into().map_err(usage)?;
        if config.data.as_os_str().is_empty() {
            return Err(Usage(
                "no dataset given; use --data, or the key data in the file of --config".into(),
            )
            .into());
        }
        config.check()?;
        Ok(config)
    }

    /// Whether the flags set the length of a training.
    pub fn sets_length(&self) -> bool {
        self.epochs.is_some() || self.max_steps.is_some()
    }

    /// The settings of a run overridden by the flags, and checked. The dataset must be among the
    /// flags.
    pub fn over_run(&self, run: &Config) -> anyhow::Result<Config> {
        if self.data.is_none() {
            return Err(Usage(
                "--from needs --data: the newly prepared dataset to train on".into(),
            )
            .into());
        }
        if self.recipe.is_some_and(|recipe| recipe != run.recipe) {
            let recipe = run.recipe.name();
            return Err(Usage(format!(
                "--recipe: the run of --from was trained under {recipe}; leave it out, and set the \
                 switches that are to differ one by one"
            ))
            .into());
        }
        let mut table = Table::try_from(run)?;
        merge(&mut table, Table::try_from(self).map_err(usage)?);
        let config: Config = table.try_into().map_err(usage)?;
        config.check()?;
        Ok(config)
    }

    /// The recipe of a training without a settings file.
    fn default_recipe(&self, resumed: Option<Recipe>) -> anyhow::Result<Recipe> {
        let method = self.method.unwrap_or_default();
        if self.recipe == Some(Recipe::Modern) && !method.is_neural() {
            let name = method.name();
            let refused = format!("--recipe modern: {name} trains nothing; leave the recipe out");
            return Err(Usage(refused).into());
        }
        // SQN and SAC train the paper's output layer, and a baseline has no use for a recipe.
        let is_papers = !method.is_neural() || method.is_double();
        let default = if is_papers {
            Recipe::Paper
        } else {
            Recipe::Modern
        };
        Ok(self.recipe.or(resumed).unwrap_or(default))
    }
}

/// An invalid value of a flag. toml puts the key on a second line.
fn usage(error: impl std::fmt::Display) -> Usage {
    let message = error.to_string();
    Usage(format!(
        "configuration: {}",
        message.trim_end().replace('\n', " ")
    ))
}

/// Sets the values of `flags` in `table`; tables are merged key by key.
pub(crate) fn merge(table: &mut Table, flags: Table) {
    for (key, value) in flags {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(flags)) => merge(inner, flags),
            (_, value) => _ = table.insert(key, value),
        }
    }
}

/// Reads a settings file: its keys over the defaults of `recipe`, or else of its own recipe.
fn read(path: &Path, recipe: Option<Recipe>) -> anyhow::Result<Table> {
    let bytes = prl_fs::read_at_most(path, MAX_FILE_BYTES)?;
    let text = String::from_utf8(bytes).with_context(|| path.display().to_string())?;
    let config: Config = match toml::from_str(&text) {
        Ok(config) => config,
        Err(error) => return Err(Usage(located(path, &text, &error)).into()),
    };
    let recipe = recipe.unwrap_or(config.recipe);
    // By way of the settings, so that an old key of the file has its canonical name.
    let canonical = Table::try_from(config)?;
    if recipe == Recipe::Paper {
        return Ok(canonical);
    }
    let written: Table = text.parse()?;
    let mut table = Table::try_from(Config::of_recipe(recipe))?;
    merge(&mut table, only(canonical, &written));
    Ok(table)
}

/// The entries of `table` whose keys occur in `keys`, level by level.
fn only(table: Table, keys: &Table) -> Table {
    let mut kept = Table::new();
    for (key, value) in table {
        match (value, keys.get(&key)) {
            (_, None) => {}
            (Value::Table(inner), Some(Value::Table(keys))) => {
                kept.insert(key, Value::Table(only(inner, keys)));
            }
            (value, Some(_)) => _ = kept.insert(key, value),
        }
    }
    kept
}

/// The error as `file:line:column: message`, with a suggestion for an unknown key.
fn located(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    let message = error.message();
    let mut located = format!("{}:{line}:{column}: {message}", path.display());
    if let Some(key) = similar_key(message) {
        located.push_str(&format!("; did you mean `{key}`?"));
    }
    located
}

/// The expected key that is most similar to the unknown one, read from serde's message ("unknown
/// field `a`, expected one of `b`, `c`").
pub(crate) fn similar_key(message: &str) -> Option<&str> {
    let mut names = message
        .strip_prefix("unknown field ")?
        .split('`')
        .skip(1)
        .step_by(2);
    let unknown = names.next()?;
    let (mut similar, mut best) = (None, MIN_SIMILARITY);
    for name in names {
        let similarity = strsim::jaro_winkler(unknown, name);
        if similarity > best {
            (similar, best) = (Some(name), similarity);
        }
    }
    similar
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use clap::Parser;
    use prl_runs::{Config, Recipe};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn resolve(file: Option<&str>, line: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let line = Line::try_parse_from(format!("prl {line}").split_whitespace()).unwrap();
        let resolved = line.settings.resolve(file.map(|_| path.as_path()), None);
        let folder = format!("{}/", dir.path().display());
        resolved.map_err(|e| e.to_string().replace(&folder, ""))
    }

    /// Every flag, with a value that differs from the default and from the file's.
    const FLAGS: &str = "--data d --method prl-wo --recipe modern --seed 3 --epochs 4 --max-steps 5 --batch-size 6 \
        --lr 0.5 --eval-every 7 --patience 8 --hold-out 0.25 --lambda 0.25 --discount relative --mean-over all \
        --gamma 0.125 --warm-up 9 --skip-first --bf16-head --head-dtype bf16 --mu 3.5 --eps 0.75 --encoder sasrec \
        --dim 10 --window 11 --dropout 0.5 --prompt-scale raw --residual stack \
        --attention released --reward-code binned --update-bias -2 --sampling pass \
        --weight-decay 0.125 --lr-warm-up 21 --lr-schedule cosine --select hr@20 --loss-weight reward \
        --negatives 40 --negative-sampling in-batch --negative-power 0.75 \
        --tied true --temperature 0.25 --last-item-residual true --own-items exclude --item-dropout 0.375 \
        --event-kinds true --item-bias false --hold-out-by time";

    const FILE: &str = r#"
        data = "f"
        method = "prl-cumu"
        seed = 13
        epochs = 14
        max_steps = 15
        batch_size = 16
        lr = 0.25
        eval_every = 17
        patience = 18
        hold_out = 0.5
        hold_out_by = "seed"
        lambda = 0.5
        discount = "absolute"
        mean_over = "train"
        gamma = 0.75
        warm_up = 19
        skip_first = false
        bf16_head = false
        head_dtype = "tf32"
        negatives = 41
        negative_sampling = "popularity"
        negative_power = 0.25
        mu = 1.5
        eps = 0.5
        recipe = "paper"
        sampling = "draw"
        weight_decay = 0.5
        lr_warm_up = 1
        lr_schedule = "constant"
        select = "click-ndcg@20"
        loss_weight = "uniform"
        rewards = { click = 0.5, purchase = 2.0 }
        [model]
        tied = false
        temperature = 0.5
        last_item_residual = false
        own_items = "learned"
        item_dropout = 0.5
        event_kinds = false
        item_bias = true
        encoder = "nextitnet"
        dim = 20
        window = 21
        dropout = 0.25
        prompt_scale = "ratio"
        residual = "normed"
        attention = "prompt"
        reward_code = "linear"
        update_bias = 0.5
    "#;

    #[test]
    fn every_flag_overrides_the_file() {
        let over_file = resolve(Some(FILE), FLAGS).unwrap();
        let mut over_defaults = resolve(None, FLAGS).unwrap();
        assert_ne!(over_defaults.rewards, over_file.rewards);
        over_defaults.rewards = over_file.rewards;
        assert_eq!(over_file, over_defaults);
        let (seen, default) = (toml(&over_file), toml(&Config::default()));
        for (key, value) in seen.iter().filter(|(_, value)| !value.is_table()) {
            assert_ne!(
                Some(value),
                default.get(key),
                "{key} is not set by its flag"
            );
        }
        let [seen, default] = [&seen, &default].map(|t| t["model"].as_table().unwrap().clone());
        for (key, value) in seen {
            // Excludes negatives: see the next test.
            if key == "label_smoothing" {
                continue;
            }
            assert_ne!(
                Some(&value),
                default.get(&key),
                "model.{key} is not set by its flag"
            );
        }
    }

    #[test]
    fn label_smoothing_is_set_by_its_flag_and_excludes_negatives() {
        let config = resolve(None, "--data d --label-smoothing 0.125").unwrap();
        assert_eq!(config.model.label_smoothing, 0.125);
        let refused = resolve(None, "--data d --label-smoothing 0.125 --negatives 9").unwrap_err();
        assert!(refused.contains("leave it or negatives out"), "{refused}");
    }

    #[test]
    fn recipe_is_modern_unless_a_file_a_method_or_a_flag_says_otherwise() {
        let recipe = |file, line: &str| resolve(file, &format!("--data d {line}")).unwrap();
        assert_eq!(recipe(None, ""), with_data(Recipe::Modern));
        assert_eq!(recipe(None, "--recipe paper"), with_data(Recipe::Paper));
        assert_eq!(recipe(Some(""), ""), with_data(Recipe::Paper));
        assert_eq!(
            recipe(Some(""), "--recipe modern"),
            with_data(Recipe::Modern)
        );
        assert_eq!(recipe(None, "--method sac").recipe, Recipe::Paper);
        assert_eq!(recipe(None, "--method popularity").recipe, Recipe::Paper);
        let refused = resolve(None, "--data d --method popularity --recipe modern").unwrap_err();
        assert!(refused.contains("trains nothing"), "{refused}");
        // A file's keys are over its recipe's defaults, a value of the paper's too.
        let file = "recipe = \"modern\"\nepochs = 30\n[model]\ntied = false\n";
        let config = recipe(Some(file), "");
        let expected = with_data(Recipe::Modern);
        assert_eq!((config.epochs, config.model.tied), (30, false));
        assert_eq!(config.model.temperature, expected.model.temperature);
        assert_eq!(config.select, expected.select);
    }

    /// The patience of a recipe holds where there is a validation; one of the user's own needs one.
    #[test]
    fn validation_can_be_left_out_of_either_recipe() {
        for recipe in ["modern", "paper"] {
            let line = format!("--data d --recipe {recipe} --no-validation");
            assert!(resolve(None, &line).unwrap().no_validation);
            let refused = resolve(None, &format!("{line} --patience 3")).unwrap_err();
            assert!(refused.contains("patience"), "{refused}");
        }
    }

    fn with_data(recipe: Recipe) -> Config {
        Config {
            data: "d".into(),
            ..Config::of_recipe(recipe)
        }
    }

    /// The settings of a run, given as a file, are those of the run.
    #[test]
    fn written_settings_read_back_as_they_are() {
        for line in [
            "",
            "--tied false --own-items keep --sampling draw",
            "--recipe paper",
        ] {
            let config = resolve(None, &format!("--data d {line}")).unwrap();
            assert_eq!(
                resolve(Some(&config.to_toml().unwrap()), "").unwrap(),
                config
            );
        }
    }

    fn toml(config: &Config) -> toml::Table {
        config.to_toml().unwrap().parse().unwrap()
    }

    #[test]
    fn file_alone_sets_every_key() {
        let file: Config = toml::from_str(FILE).unwrap();
        assert_eq!(resolve(Some(FILE), "").unwrap(), file);
        assert_eq!(
            resolve(Some("data = \"x\"\n[model]\ndim = 8\n"), "")
                .unwrap()
                .model
                .dim,
            8
        );
    }

    #[test]
    fn unknown_key_is_reported_with_its_place_and_a_suggestion() {
        let error = resolve(Some("seed = 1\n  epoch = 3\n"), "").unwrap_err();
        assert!(
            error.starts_with("a.toml:2:3: unknown field `epoch`"),
            "{error}"
        );
        assert!(error.ends_with("; did you mean `epochs`?"), "{error}");
        let error = resolve(Some("[model]\nwindows = 3\n"), "").unwrap_err();
        assert!(
            error.starts_with("a.toml:2:1: unknown field `windows`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `window`?"), "{error}");
        let error = resolve(Some("zzz = 3\n"), "").unwrap_err();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn wrong_value_is_reported_with_its_place() {
        let error = resolve(Some("data = \"x\"\nlr = \"fast\"\n"), "").unwrap_err();
        assert!(
            error.starts_with("a.toml:2:6: invalid type: string"),
            "{error}"
        );
        let error = resolve(Some("seed = \n"), "").unwrap_err();
        assert!(error.starts_with("a.toml:1:"), "{error}");
        let error = resolve(None, "--data d --discount sideways").unwrap_err();
        assert!(error.contains("unknown variant `sideways`"), "{error}");
        assert!(error.ends_with("in `discount`"), "{error}");
        assert!(resolve(None, "").unwrap_err().contains("--data"));
    }
}
