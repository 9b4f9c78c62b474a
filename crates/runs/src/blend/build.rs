//! Making of a blend: checks of its members, their copies, the weights and the manifest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use prl_core::TokenMixer;
use prl_dataset::Dataset;
use prl_fs::{StagedDir, write_atomic};
use serde::{Deserialize, Serialize};

use super::weights::{Cases, Chosen};
use super::{Blend, FIRST_WEIGHTS, Member, WEIGHTS, Weights, check_weights, hash_name, member_dir};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::format::{ITEMS, PROPERTIES, PURCHASE_COUNTS};
use crate::manifest::RunManifest;
use crate::method::Method;
use crate::recipe::{HoldOutBy, Selection};
use crate::run_dir::Run;
use crate::validation::Validation;

/// Files of a member, the directory of the weights first: each is synced with its directory. A
/// member of an older version has no purchase counts.
const FILES: [&str; 8] = [
    "best/weights.safetensors",
    "best/manifest.json",
    ITEMS,
    PROPERTIES,
    PURCHASE_COUNTS,
    "returns.json",
    "config.toml",
    "manifest.json",
];

/// Members and weights of a blend, in its run's manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlendManifest {
    /// Metric of the validation.
    pub select: Selection,
    /// Whether the weights were chosen by it, and not given.
    pub chosen: bool,
    /// Score of the blend on the validation cases; `None` without validation.
    pub score: Option<f64>,
    /// Number of those cases.
    pub cases: u64,
    /// The members, in the order of the command.
    pub members: Vec<BlendMember>,
}

/// A member of a blend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlendMember {
    /// Directory of its run when the blend was made.
    pub run: PathBuf,
    /// Name of its model.
    pub model: String,
    /// Its method.
    pub method: Method,
    /// Its encoder, if there is one.
    pub encoder: Option<String>,
    /// Its weight for states with an item.
    pub weight: f64,
    /// Its weight for the empty state.
    pub first_weight: f64,
    /// Score of the member alone on the validation cases.
    pub score: Option<f64>,
}

/// Makes a blend of finished runs.
pub struct BlendBuilder<'a> {
    runs: &'a [PathBuf],
    select: Selection,
    weights: Option<Vec<f64>>,
    first_weights: Option<Vec<f64>>,
    data: Option<&'a Path>,
    device: Device,
}

impl<'a> BlendBuilder<'a> {
    /// A blend of these run directories, with weights chosen by NDCG@20.
    pub fn new(runs: &'a [PathBuf]) -> Self {
        Self {
            runs,
            select: Selection::Ndcg20,
            weights: None,
            first_weights: None,
            data: None,
            device: Device::Cpu,
        }
    }

    /// Sets the metric that chooses the weights.
    pub fn select(mut self, select: Selection) -> Self {
        self.select = select;
        self
    }

    /// Gives the weights, in any unit, and those of the empty state; without the latter they are
    /// the same.
    pub fn weights(mut self, weights: Vec<f64>, first_weights: Option<Vec<f64>>) -> Self {
        (self.weights, self.first_weights) = (Some(weights), first_weights);
        self
    }

    /// Sets the dataset's directory, if it is not where the first run was trained.
    pub fn data(mut self, data: Option<&'a Path>) -> Self {
        self.data = data;
        self
    }

    /// Sets the device of the members.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// Makes the blend in `out`, which must be new or empty.
    ///
    /// # Errors
    /// If the runs cannot be blended or there is nothing to choose the weights by; `out` is then
    /// as it was.
    pub fn build(self, out: &Path) -> Result<RunManifest> {
        let start = Instant::now();
        let given = self.given()?;
        check_out(out)?;
        let runs = open_members(self.runs)?;
        let data = runs[0].data(self.data)?;
        let config = config(&runs, &data, self.select, given.is_some())?;
        if let Some(parent) = out.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        let staged = StagedDir::create(out)?;
        let run = Run::create(staged.path(), &config, &data)?;
        let mut arrays = HashMap::new();
        let (mut blend, mut members) = (Blend::empty(runs[0].items().len()), Vec::new());
        for (r, member) in runs.iter().enumerate() {
            let copy = copy_member(member, &member_dir(staged.path(), r))?;
            let hash = copy.best().hash()?;
            arrays.insert(hash_name(r), array(hash.as_bytes())?);
            blend.members.push(Member::load(&copy, &self.device)?);
            members.push(member_of(member, &hash));
        }
        let chosen = match Validation::of(&config, &data) {
            Validation::None => None,
            _ => {
                let cases = Cases::new(&run, &blend, &data, self.select)?;
                Some(cases.choose(given.clone())?)
            }
        };
        let weights = match (&chosen, &given) {
            (Some(chosen), _) => &chosen.weights,
            (None, Some(given)) => given,
            (None, None) => return Err(no_validation(&data)),
        };
        for (r, member) in members.iter_mut().enumerate() {
            (member.weight, member.first_weight) = (weights.session[r], weights.first[r]);
            member.score = chosen.as_ref().map(|chosen| chosen.single[r]);
        }
        arrays.insert(WEIGHTS.to_owned(), array(&weights.session)?);
        arrays.insert(FIRST_WEIGHTS.to_owned(), array(&weights.first)?);
        let hash = run.best().save_arrays(arrays)?;
        let blend = BlendManifest {
            select: self.select,
            chosen: given.is_none(),
            score: chosen.as_ref().map(|Chosen { score, .. }| *score),
            cases: chosen.as_ref().map_or(0, |chosen| chosen.cases),
            members,
        };
        let seconds = start.elapsed().as_secs_f64();
        let manifest = run.finish_blend(&hash, &data, seconds, &self.device, blend)?;
        staged.publish()?;
        Ok(manifest)
    }

    /// The weights that were given, with sum 1.
    fn given(&self) -> Result<Option<Weights>> {
        if self.runs.is_empty() {
            return Err(Error::Blend("no run is named; name at least one".into()));
        }
        let Some(session) = &self.weights else {
            return Ok(None);
        };
        let mut lists = Vec::with_capacity(2);
        for list in [session, self.first_weights.as_ref().unwrap_or(session)] {
            if list.len() != self.runs.len() {
                let (found, expected) = (list.len(), self.runs.len());
                let what = format!("{found} weights for {expected} runs; give one for each run");
                return Err(Error::Blend(what));
            }
            check_weights(list).map_err(Error::Blend)?;
            let sum: f64 = list.iter().sum();
            lists.push(list.iter().map(|weight| weight / sum).collect());
        }
        let first = lists.pop().unwrap_or_default();
        let session = lists.pop().unwrap_or_default();
        Ok(Some(Weights { session, first }))
    }
}

impl Blend {
    /// A blend without members and weights.
    fn empty(items: usize) -> Self {
        Self {
            members: Vec::new(),
            weights: Weights {
                session: Vec::new(),
                first: Vec::new(),
            },
            items,
            item_values: None,
        }
    }
}

fn array<T: candle_core::WithDType>(values: &[T]) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, values.len(), &Device::Cpu)?)
}

/// Fails if `out` holds anything, which a published directory would replace.
fn check_out(out: &Path) -> Result<()> {
    Run::check_is_free(out)?;
    let is_free = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(Error::run(
        out,
        "is not an empty directory; name another --out",
    ))
}

/// Opens the runs and checks that they are finished, of one dataset, and no blends.
fn open_members(dirs: &[PathBuf]) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::with_capacity(dirs.len());
    for dir in dirs {
        let run = Run::open(dir)?;
        let refused = |what: String| Err(Error::Blend(format!("{} {what}", dir.display())));
        if run.config().method == Method::Blend {
            return refused("is itself a blend; name its members instead".into());
        }
        if run.manifest()?.is_none() {
            return refused("is not finished; continue it with `prl train --resume`".into());
        }
        if let Some(first) = runs
            .first()
            .filter(|first| first.dataset() != run.dataset())
        {
            return refused(format!(
                "was trained on dataset {}, but {} on {}; a blend needs runs of one dataset",
                run.dataset(),
                first.dir().display(),
                first.dataset()
            ));
        }
        runs.push(run);
    }
    Ok(runs)
}

/// Settings of the blend: the longest window, the prompt of the prompted runs, and the validation.
fn config(runs: &[Run], data: &Dataset, select: Selection, is_given: bool) -> Result<Config> {
    let mut prompted = runs.iter().filter(|run| is_prompted(run));
    let neural = runs.iter().find(|run| run.config().method.is_neural());
    let base = prompted.next().or(neural).unwrap_or(&runs[0]);
    for run in prompted {
        if !has_prompt_of(run, base) {
            return Err(Error::Blend(format!(
                "{} and {} read the target return in different units (prompt_scale, rewards, \
                 lambda, discount, mean_over); blend runs that agree in these",
                base.dir().display(),
                run.dir().display()
            )));
        }
    }
    let own = base.config();
    let mut config = Config {
        data: std::path::absolute(data.dir()).map_err(Error::io(data.dir()))?,
        method: Method::Blend,
        select,
        skip_first: true,
        seed: own.seed,
        rewards: own.rewards,
        lambda: own.lambda,
        discount: own.discount,
        mean_over: own.mean_over,
        mu: own.mu,
        eps: own.eps,
        hold_out: own.hold_out,
        hold_out_by: own.hold_out_by,
        ..Config::default()
    };
    config.model.window = 0;
    config.model.prompt_scale = own.model.prompt_scale;
    for run in runs {
        let own = run.config();
        config.model.window = config.model.window.max(own.model.window);
        config.skip_first &= own.skip_first;
        let has_same = holds_out_as(own, base.config());
        if (own.hold_out.is_some() || config.hold_out.is_some()) && !has_same {
            if is_given {
                config.hold_out = None;
                continue;
            }
            return Err(Error::Blend(format!(
                "{} has seen the sessions that {} holds out, so no weights can be chosen on them; \
                 give the weights with --weights, or blend runs of one hold-out, seed and --skip-first",
                run.dir().display(),
                base.dir().display()
            )));
        }
    }
    Ok(config)
}

/// Whether two runs hold out the same sessions.
fn holds_out_as(a: &Config, b: &Config) -> bool {
    a.hold_out == b.hold_out
        && a.hold_out_by == b.hold_out_by
        && (a.seed == b.seed || a.hold_out_by == HoldOutBy::Time)
        && (a.skip_first == b.skip_first || a.hold_out.is_none())
}

fn is_prompted(run: &Run) -> bool {
    run.config()
        .block()
        .is_some_and(|block| block.mixing != TokenMixer::NoPrompt)
}

/// Whether two runs read a target return in the same unit and from the same statistics.
fn has_prompt_of(run: &Run, other: &Run) -> bool {
    let (a, b) = (run.config(), other.config());
    a.model.prompt_scale == b.model.prompt_scale
        && a.rewards == b.rewards
        && a.lambda == b.lambda
        && a.discount == b.discount
        && run.returns() == other.returns()
}

/// Copies what a finished run needs to be loaded.
fn copy_member(run: &Run, to: &Path) -> Result<Run> {
    let best = to.join("best");
    std::fs::create_dir_all(&best).map_err(Error::io(&best))?;
    for name in FILES {
        let from = run.dir().join(name);
        if [PROPERTIES, PURCHASE_COUNTS].contains(&name) && !from.exists() {
            continue;
        }
        let bytes = std::fs::read(&from).map_err(Error::io(&from))?;
        write_atomic(&to.join(name), &bytes)?;
    }
    Run::open(to)
}

/// A member without its weights and score.
fn member_of(run: &Run, hash: &str) -> BlendMember {
    let config = run.config();
    let encoder = config.model.encoder.name().to_owned();
    BlendMember {
        run: run.dir().to_owned(),
        model: hash[..12].to_owned(),
        method: config.method,
        encoder: config.method.is_neural().then_some(encoder),
        weight: 0.0,
        first_weight: 0.0,
        score: None,
    }
}

fn no_validation(data: &Dataset) -> Error {
    Error::Blend(format!(
        "{} has no validation split to choose weights on; give them with --weights, or blend runs \
         trained with one --hold-out",
        data.dir().display()
    ))
}
