//! Settings of the trials: those of the recipe, the fixed ones of the space, and those of a trial.

use std::collections::BTreeMap;
use std::path::Path;

use prl_runs::{Config, Error, Recipe};
use prl_tune::tpe::{self, Sample};
use prl_tune::{Assignment, Space, Trial};
use toml::{Table, Value};

use crate::exit::Usage;
use crate::settings::{merge, similar_key};

/// Settings that every trial of a search shares, or that a search sets itself.
const NEVER: [&str; 4] = ["data", "model", "rewards", "no_validation"];
const FIXED_ONLY: [&str; 5] = ["recipe", "seed", "select", "hold_out", "skip_first"];
/// Draws for one trial: those by the estimator, and all.
const GUIDED: u32 = 20;
const MAX_DRAWS: u32 = 500;
/// Random combinations in which a value is tried before it is refused.
const COMBINATIONS: u32 = 64;

/// The trainings that a space describes.
pub(super) struct Candidates {
    pub(super) space: Space,
    /// Metric that compares trials.
    pub(super) metric: String,
    /// Settings of the recipe, with the fixed ones over them.
    base: Table,
    /// Whether a setting is in the table `model`, by name.
    is_of_model: BTreeMap<String, bool>,
}

impl Candidates {
    /// The candidates of a space on a dataset.
    ///
    /// # Errors
    /// A setting without a name of `prl train`, or a value that it refuses, with the line.
    pub(super) fn new(space: Space, select: Option<&str>, data: &Path) -> anyhow::Result<Self> {
        let mut is_of_model = BTreeMap::new();
        for (name, value) in space.table() {
            let is_fixed = space.fixed().contains_key(name);
            let placed = place(name, sample_value(value), is_fixed);
            let placed = placed.map_err(|what| space.error(name, format!("{name}: {what}")))?;
            is_of_model.insert(name.clone(), placed);
        }
        let recipe = match space.fixed().get("recipe") {
            Some(recipe) => recipe.clone().try_into()?,
            None => Recipe::Modern,
        };
        let mut base = Table::try_from(Config::of_recipe(recipe))?;
        base.insert("data".into(), Value::try_from(data)?);
        let mut candidates = Self {
            metric: String::new(),
            base,
            is_of_model,
            space,
        };
        let fixed = candidates.nested(candidates.space.fixed());
        merge(&mut candidates.base, fixed);
        if let Some(select) = select {
            candidates.base.insert("select".into(), select.into());
            let checked = candidates.base.clone().try_into::<Config>();
            checked.map_err(|e| Usage(format!("--select: {}", one_line(&e.to_string()))))?;
        }
        candidates.check()?;
        let metric = Value::try_from(candidates.base()?.select)?;
        candidates.metric = prl_tune::plain(&metric);
        Ok(candidates)
    }

    /// Settings that all trials share, over the recipe's.
    pub(super) fn base(&self) -> anyhow::Result<Config> {
        Ok(self.base.clone().try_into()?)
    }

    /// Settings of the training of a trial, or why they are refused.
    pub(super) fn config(&self, settings: &Assignment) -> Result<Config, String> {
        let mut table = self.base.clone();
        let settings: Table = settings.clone().into_iter().collect();
        merge(&mut table, self.nested(&settings));
        let config: Config = table.try_into().map_err(|e| one_line(&e.to_string()))?;
        match config.check() {
            Ok(()) => Ok(config),
            Err(Error::Config(what)) => Err(what),
            Err(other) => Err(other.to_string()),
        }
    }

    /// Greatest number of epochs of a trial.
    pub(super) fn max_epochs(&self) -> anyhow::Result<u64> {
        let mut epochs = self.base()?.epochs;
        for variable in self.space.variables() {
            if variable.name == "epochs" {
                let values = variable.domain.extremes();
                let greatest = values.iter().filter_map(Value::as_integer).max();
                epochs = greatest.and_then(|e| e.try_into().ok()).unwrap_or(epochs);
            }
        }
        Ok(epochs)
    }

    /// Settings of the next trial; `None` if every draw repeats a trial. The first trial has the
    /// recipe's values, where the space has them.
    pub(super) fn propose(
        &self,
        trials: &[Trial],
        seed: u64,
    ) -> anyhow::Result<Option<Assignment>> {
        let number = trials.len() as u64;
        let mut samples = Vec::new();
        for trial in trials {
            samples.push(Sample {
                settings: &trial.settings,
                value: trial.value(),
            });
        }
        let mut refused = None;
        for attempt in 0..MAX_DRAWS {
            let draw = (number, attempt);
            let settings = match draw {
                (0, 0) => tpe::random(&self.space, self.defaults(), seed, draw),
                (_, 0..GUIDED) => tpe::propose(&self.space, &samples, seed, draw),
                _ => tpe::random(&self.space, Assignment::new(), seed, draw),
            };
            if trials.iter().any(|trial| trial.settings == settings) {
                continue;
            }
            match self.config(&settings) {
                Ok(_) => return Ok(Some(settings)),
                Err(what) => refused = Some(what),
            }
        }
        match refused {
            Some(what) if trials.is_empty() => {
                Err(Usage(format!("no combination of the space is valid: {what}")).into())
            }
            _ => Ok(None),
        }
    }

    /// The recipe's values of the variables whose domain has them.
    fn defaults(&self) -> Assignment {
        let mut defaults = Assignment::new();
        for variable in self.space.variables() {
            let table = match self.is_of_model[&variable.name] {
                true => self.base.get("model").and_then(Value::as_table),
                false => Some(&self.base),
            };
            let value = table.and_then(|table| table.get(&variable.name));
            if let Some(value) = value
                && variable.domain.coordinate(value).is_some()
            {
                defaults.insert(variable.name.clone(), value.clone());
            }
        }
        defaults
    }

    /// Settings by name as the tables of a settings file.
    fn nested(&self, settings: &Table) -> Table {
        let (mut table, mut model) = (Table::new(), Table::new());
        for (name, value) in settings {
            let target = match self.is_of_model[name] {
                true => &mut model,
                false => &mut table,
            };
            target.insert(name.clone(), value.clone());
        }
        if !model.is_empty() {
            table.insert("model".into(), Value::Table(model));
        }
        table
    }

    /// Fails if a value of the space is valid in no combination.
    fn check(&self) -> anyhow::Result<()> {
        for name in self.space.fixed().keys() {
            self.check_value(name, Assignment::new())?;
        }
        for variable in self.space.variables() {
            for value in variable.domain.extremes() {
                let pinned = Assignment::from([(variable.name.clone(), value)]);
                self.check_value(&variable.name, pinned)?;
            }
        }
        Ok(())
    }

    fn check_value(&self, name: &str, pinned: Assignment) -> Result<(), prl_tune::Error> {
        let Err(what) = self.config(&pinned) else {
            return Ok(());
        };
        for attempt in 0..COMBINATIONS {
            let drawn = tpe::random(&self.space, pinned.clone(), 0, (0, attempt));
            let has_value = pinned.keys().all(|name| drawn.contains_key(name));
            if has_value && self.config(&drawn).is_ok() {
                return Ok(());
            }
        }
        let mut named = format!("{name}: ");
        for value in pinned.values() {
            named = format!("{name} = {value}: ");
        }
        Err(self.space.error(name, format!("{named}{what}")))
    }
}

/// A value that stands for all values of a setting.
fn sample_value(value: &Value) -> Value {
    let first = match value {
        Value::Array(values) => values.first(),
        Value::Table(table) => match table.get("choices") {
            Some(Value::Array(values)) => values.first(),
            _ => table.get("min"),
        },
        _ => None,
    };
    first.unwrap_or(value).clone()
}

/// Whether a setting is in the table `model`, or why it cannot be in a space.
fn place(name: &str, value: Value, is_fixed: bool) -> Result<bool, String> {
    if NEVER.contains(&name) {
        return Err("the search sets it itself, or it is no number or text; leave it out".into());
    }
    if FIXED_ONLY.contains(&name) && !is_fixed {
        return Err("it must be equal in all trials to compare them; give it one value".into());
    }
    let setting = Table::from_iter([(name.to_owned(), value)]);
    let model = Table::from_iter([("model".to_owned(), Value::Table(setting.clone()))]);
    let mut suggestion = None;
    for (table, is_of_model) in [(setting, false), (model, true)] {
        match table.try_into::<Config>() {
            Ok(_) => return Ok(is_of_model),
            Err(error) if !error.message().starts_with("unknown field") => return Ok(is_of_model),
            Err(error) => {
                let similar = similar_key(error.message()).map(str::to_owned);
                suggestion = similar.or(suggestion);
            }
        }
    }
    Err(match suggestion {
        Some(similar) => format!("unknown setting; did you mean `{similar}`?"),
        None => "unknown setting; its name must be one of a settings file of `prl train`".into(),
    })
}

fn one_line(message: &str) -> String {
    message.trim_end().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_tune::{CurvePoint, DEFAULT_SPACE, Status};

    fn candidates(text: &str) -> anyhow::Result<Candidates> {
        Candidates::new(Space::parse("s.toml", text)?, None, Path::new("/data"))
    }

    fn error(text: &str) -> String {
        candidates(text).err().unwrap().to_string()
    }

    #[test]
    fn invalid_setting_is_refused_with_its_line_and_a_remedy() {
        for (text, expected) in [
            (
                "dim = 8\nlearning_rate = [0.1, 0.2]\n",
                "s.toml:2: learning_rate: unknown setting; its name must be one of a settings file of `prl train`",
            ),
            (
                "windows = [4, 8]\n",
                "s.toml:1: windows: unknown setting; did you mean `window`?",
            ),
            (
                "dim = 8\nitem_dropout = [0.1, 1.5]\n",
                "s.toml:2: item_dropout = 1.5: item_dropout must lie in 0..1",
            ),
            (
                "lr = { min = -1.0, max = 1.0 }\n",
                "s.toml:1: lr = -1.0: lr must be above 0",
            ),
            (
                "dim = { min = 1.5, max = 8.0 }\n",
                "s.toml:1: dim = 1.5: invalid type: floating point `1.5`, expected usize in `model.dim`",
            ),
            (
                "seed = [1, 2]\n",
                "s.toml:1: seed: it must be equal in all trials to compare them; give it one value",
            ),
            (
                "data = \"x\"\nlr = [0.1, 0.2]\n",
                "s.toml:1: data: the search sets it itself, or it is no number or text; leave it out",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        let unknown = error("encoder = [\"core\", \"lstm\"]\n");
        assert!(
            unknown.starts_with("s.toml:1: encoder = \"lstm\": unknown variant `lstm`"),
            "{unknown}"
        );
        let sac = error("method = [\"normal\", \"sac\"]\n");
        assert!(
            sac.starts_with("s.toml:1: method = \"sac\": sqn and sac train"),
            "{sac}"
        );
    }

    #[test]
    fn value_that_another_setting_permits_is_accepted() {
        let text = "attention = [\"prompt\", \"released\"]\nencoder = [\"core\", \"sasrec\"]\n";
        let candidates = candidates(text).unwrap();
        for number in 0..30 {
            let mut trials = Vec::new();
            for earlier in 0..number {
                let settings = Assignment::from([("n".into(), Value::Integer(earlier))]);
                trials.push(Trial::new(earlier as u64, settings));
            }
            let settings = candidates.propose(&trials, 0).unwrap().unwrap();
            assert!(candidates.config(&settings).is_ok());
        }
    }

    #[test]
    fn first_trial_has_the_recipes_values() {
        let candidates = candidates(DEFAULT_SPACE).unwrap();
        let first = candidates.propose(&[], 3).unwrap().unwrap();
        let mut config = candidates.config(&first).unwrap();
        // The space has these values too: the whole recipe is the first trial.
        config.data = Config::default().data;
        assert_eq!(config, Config::of_recipe(Recipe::Modern));
        assert_eq!(candidates.metric, "ndcg@20");
    }

    #[test]
    fn small_space_is_exhausted_without_repetition() {
        let candidates = candidates("dim = [8, 16]\ntied = [true, false]\n").unwrap();
        let mut trials: Vec<Trial> = Vec::new();
        while let Some(settings) = candidates.propose(&trials, 0).unwrap() {
            trials.push(Trial::new(trials.len() as u64, settings));
        }
        assert_eq!(trials.len(), 4);
    }

    /// A search of which only the log is left makes the same proposals.
    #[test]
    fn proposals_after_a_resumption_are_those_of_an_unbroken_search() {
        let candidates = candidates(DEFAULT_SPACE).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        let run = |trials: &mut Vec<Trial>, log: Option<&prl_tune::TrialLog>, until: usize| {
            while trials.len() < until {
                let settings = candidates.propose(trials, 7).unwrap().unwrap();
                let mut trial = Trial::new(trials.len() as u64, settings);
                if let Some(log) = log {
                    log.start(&trial).unwrap();
                }
                let value = -trial.settings["lr"].as_float().unwrap();
                trial.curve = vec![CurvePoint { epoch: 1.0, value }];
                trial.status = Status::Finished;
                if let Some(log) = log {
                    log.end(&trial).unwrap();
                }
                trials.push(trial);
            }
        };
        let mut unbroken = Vec::new();
        run(&mut unbroken, None, 24);
        for until in [5, 9, 17, 24] {
            let (log, mut trials) = prl_tune::TrialLog::open(&path).unwrap();
            run(&mut trials, Some(&log), until);
        }
        let (_, resumed) = prl_tune::TrialLog::open(&path).unwrap();
        assert_eq!(resumed, unbroken);
    }
}
