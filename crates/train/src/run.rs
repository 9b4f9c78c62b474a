//! A run directory: what was trained, on what, and how it went.
//!
//! `config.toml`, `items.safetensors` and `returns.json` are written at the start, `metrics.jsonl` grows, `checkpoint/` is
//! where training would go on, `best/` is what is used, and `manifest.json` is written last: a run that has one is whole.
//! The directory holds all it takes to recommend; the prepared dataset is needed for evaluation only.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use prl_baselines::{Baseline, LastItems, Popularity};
use prl_core::{Ask, Prompts, StepReturns};
use prl_eval::pessimistic_rank;
use prl_kernels::rank::Ranking;
use prl_sessions::{Dataset, ItemMap, ReturnTable, Rows, Windows, write_synced};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Progress};
use crate::config::{Config, Method};
use crate::error::{Error, Result};
use crate::model::Model;

const FORMAT: &str = "prl-run";
const VERSION: u32 = 1;

/// A run directory.
pub struct Run {
    dir: PathBuf,
    config: Config,
    items: ItemMap,
    returns: ReturnTable,
    dataset: String,
}

/// What is known of the dataset without having it.
#[derive(Serialize, Deserialize)]
struct Returns {
    dataset: String,
    table: ReturnTable,
}

/// `manifest.json` of a finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunManifest {
    /// Always `prl-run`.
    pub format: String,
    /// The version of the format.
    pub format_version: u32,
    /// The model's name: the first 12 digits of its weights' SHA-256.
    pub model: String,
    /// Hash of the dataset it learned from.
    pub dataset: String,
    /// Whether that dataset was made up.
    pub synthetic: bool,
    /// The encoder, if there is one.
    pub encoder: Option<String>,
    /// The method.
    pub method: Method,
    /// The seed.
    pub seed: u64,
    /// Steps taken.
    pub steps: u64,
    /// The step of the best validation, whose weights are used.
    pub best_step: u64,
    /// Seconds of training, validations included.
    pub seconds: f64,
    /// What it ran on.
    pub machine: Machine,
}

/// What a run ran on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub processor: String,
    /// Threads used.
    pub threads: usize,
    /// `cpu` or `cuda`.
    pub device: String,
    /// Operating system and architecture.
    pub system: String,
    /// Version of this program.
    pub version: String,
}

impl Machine {
    fn here(device: &Device) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
        Self {
            processor: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            threads: rayon::current_num_threads(),
            device: crate::device::describe(device).to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A recommender, ready to be asked.
pub enum Trained {
    /// An encoder with its ends.
    Neural(Box<Model>),
    /// A baseline.
    Baseline(Box<dyn Baseline>),
}

impl Trained {
    /// Ranks of the targets (if given) and the `k` best items for each window.
    pub fn rank(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<Ranking<f32>> {
        match self {
            Trained::Neural(model) => model.rank(windows, prompts, targets, k),
            Trained::Baseline(baseline) => rank_densely(baseline.as_ref(), windows, targets, k),
        }
    }

    /// Whether it is fed a prompt.
    pub fn is_prompted(&self) -> bool {
        matches!(self, Trained::Neural(model) if model.is_prompted())
    }
}

fn rank_densely(baseline: &dyn Baseline, windows: &Windows, targets: Option<&[u32]>, k: usize) -> Result<Ranking<f32>> {
    let one = |b: usize| {
        // An empty window has length 1 and holds the pad, which no baseline knows.
        let history = &windows.items[b * windows.width..][..windows.lengths[b] as usize];
        let scores = baseline.scores(if windows.steps[b] == 0 { &[] } else { history });
        let rank = targets.map(|t| pessimistic_rank(&scores, t[b])).transpose()?;
        let mut top: Vec<(u32, f32)> = scores.into_iter().zip(0..).map(|(s, i)| (i, s)).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if 0 < k && k < top.len() {
            top.select_nth_unstable_by(k - 1, order);
        }
        top.truncate(k);
        top.sort_unstable_by(order);
        Ok((rank, top))
    };
    let rows: Vec<_> = (0..windows.len()).into_par_iter().map(one).collect::<Result<_>>()?;
    let (ranks, top): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    Ok(Ranking { ranks: ranks.into_iter().flatten().collect(), top })
}

impl Run {
    /// Starts a run in `dir`, which must hold none.
    pub fn create(dir: &Path, config: &Config, data: &Dataset) -> Result<Self> {
        config.check()?;
        if dir.join("config.toml").exists() {
            return Err(Error::run(dir, "already holds a run; go on with --resume, or name another --out"));
        }
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let mean_over: Vec<Rows<'_>> =
            config.mean_over.splits().iter().map(|&s| Rows::new(data, s, config.skip_first)).collect();
        let table = ReturnTable::new(&mean_over, config.rewards, config.lambda, config.discount);
        let returns = Returns { dataset: data.manifest().dataset.clone(), table };
        data.items().save(&dir.join("items.safetensors"))?;
        let json = serde_json::to_vec_pretty(&returns).map_err(|e| Error::run(dir, e.to_string()))?;
        write_synced(&dir.join("returns.json"), &json)?;
        write_synced(&dir.join("config.toml"), config.to_toml()?.as_bytes())?;
        Self::open(dir)
    }

    /// Opens the run in `dir`, finished or not.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("config.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::run(dir, "no run here (config.toml is missing); make one with `prl train`")
            }
            _ => Error::io(&path)(e),
        })?;
        let config: Config = toml::from_str(&text).map_err(|e| Error::run(&path, e.to_string()))?;
        let path = dir.join("returns.json");
        let json = std::fs::read(&path).map_err(Error::io(&path))?;
        let Returns { dataset, table } =
            serde_json::from_slice(&json).map_err(|e| Error::run(&path, format!("{e}; train the run again")))?;
        let items = ItemMap::load(&dir.join("items.safetensors"))?;
        Ok(Self { dir: dir.to_owned(), config, items, returns: table, dataset })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Raw item ids.
    pub fn items(&self) -> &ItemMap {
        &self.items
    }

    /// The returns of each step in training.
    pub fn returns(&self) -> &ReturnTable {
        &self.returns
    }

    /// Hash of the dataset it learns from.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Opens the dataset the run was trained on, or the same one at another place.
    pub fn data(&self, elsewhere: Option<&Path>) -> Result<Dataset> {
        let path = elsewhere.unwrap_or(&self.config.data);
        let data = Dataset::open(path)?;
        if data.manifest().dataset != self.dataset {
            let found = data.manifest().dataset.clone();
            return Err(Error::OtherDataset { path: path.to_owned(), found, expected: self.dataset.clone() });
        }
        Ok(data)
    }

    /// The prompts of some steps under what is asked. `case` numbers the first.
    pub fn prompts(&self, ask: Ask, steps: &[u32], case: u64) -> Prompts {
        let scale = self.config.model.prompt_scale;
        let prompt = |(&t, case)| ask.prompt(scale, self.at(t), self.config.seed, case);
        Prompts { returns: steps.iter().zip(case..).map(prompt).collect(), steps: steps.to_vec() }
    }

    /// What the training sessions returned from step `t` on.
    pub(crate) fn at(&self, t: u32) -> StepReturns {
        StepReturns { mean: self.returns.mean_at(t), max: self.returns.max_at(t) }
    }

    /// The prompt of the settings: what validation asks for.
    pub fn ask(&self) -> Ask {
        Ask::Relative { mu: self.config.mu, eps: self.config.eps }
    }

    /// A model of the run's shape with its initial values.
    pub(crate) fn fresh_model(&self, device: &Device) -> Result<Model> {
        let Config { model, seed, .. } = &self.config;
        Model::new(model, self.config.block(), self.items.len(), *seed, DType::F32, device)
    }

    /// The trained recommender: the best weights.
    pub fn load(&self, device: &Device) -> Result<Trained> {
        let best = self.best();
        Ok(match self.config.method {
            Method::Popularity => Trained::Baseline(Box::new(Popularity::from_counts(best.load_counts()?))),
            Method::LastItems => {
                Trained::Baseline(Box::new(LastItems::new(Popularity::from_counts(best.load_counts()?))))
            }
            _ => {
                let model = self.fresh_model(device)?;
                best.load(&model)?;
                Trained::Neural(Box::new(model))
            }
        })
    }

    /// The model's name: the first 12 digits of its weights' SHA-256.
    pub fn model_name(&self) -> Result<String> {
        Ok(self.best().hash()?[..12].to_owned())
    }

    pub(crate) fn best(&self) -> Checkpoint {
        Checkpoint::at(self.dir.join("best"))
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint::at(self.dir.join("checkpoint"))
    }

    /// The manifest, if the run is finished.
    pub fn manifest(&self) -> Result<Option<RunManifest>> {
        let path = self.dir.join("manifest.json");
        match std::fs::read(&path) {
            Ok(json) => {
                let manifest = serde_json::from_slice(&json);
                Ok(Some(manifest.map_err(|e| Error::run(&path, format!("{e}; train the run again")))?))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path)(e)),
        }
    }

    /// Writes the manifest: the run is finished.
    pub(crate) fn finish(
        &self,
        weights: &str,
        data: &Dataset,
        progress: &Progress,
        device: &Device,
    ) -> Result<RunManifest> {
        let neural = self.config.method.is_neural();
        let manifest = RunManifest {
            format: FORMAT.into(),
            format_version: VERSION,
            model: weights[..12].to_owned(),
            dataset: self.dataset.clone(),
            synthetic: data.manifest().draft.source.synthetic,
            encoder: neural.then(|| self.config.model.encoder.name().to_owned()),
            method: self.config.method,
            seed: self.config.seed,
            steps: progress.step,
            best_step: progress.best.map_or(0, |(step, _)| step),
            seconds: progress.seconds,
            machine: Machine::here(device),
        };
        let json = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::run(&self.dir, e.to_string()))?;
        write_synced(&self.dir.join("manifest.json"), &json)?;
        Ok(manifest)
    }
}
