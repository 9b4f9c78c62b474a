//! The training loop: draw, step, validate, keep the best.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use candle_core::Device;
use prl_baselines::warm_up_steps;
use prl_eval::Scores;
use prl_kernels::adam::Adam;
use prl_sessions::{Dataset, DirLock, Rows, Split, append_synced, write_whole};
use serde::{Deserialize, Serialize};

use crate::baseline;
use crate::batches::{Batches, ahead};
use crate::checkpoint::Progress;
use crate::config::Config;
use crate::double_q::Turns;
use crate::error::{Error, Result};
use crate::evaluate::cases;
use crate::manifest::RunManifest;
use crate::method::Method;
use crate::model::{Examples, Model};
use crate::network::StepTimes;
use crate::run::Run;
use crate::trained::Trained;

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps taken.
    pub step: u64,
    /// The same, in passes over the training rows.
    pub epoch: f64,
    /// Mean training loss since the last validation; absent for a baseline.
    pub loss: Option<f64>,
    /// Seconds trained so far.
    pub seconds: f64,
    /// Scores on the validation split.
    pub val: Scores,
}

/// Hears of progress.
pub trait Observer {
    /// A step was taken.
    fn step(&mut self, _step: u64, _total: u64, _loss: f64) {}
    /// A validation was made.
    fn evaluated(&mut self, _evaluation: &Evaluation, _is_best: bool) {}
}

/// How training ended.
#[derive(Debug)]
pub enum Outcome {
    /// To the end.
    Finished(Box<RunManifest>),
    /// Asked to stop after this step; a checkpoint was left.
    Interrupted(u64),
}

/// Trains a run in `dir`; with `resume`, from its checkpoint if there is one. Setting `stop` ends it after the current step.
///
/// # Errors
/// If the configuration, the dataset or the directory is not fit, another process works there, or training diverges.
pub fn train(
    config: &Config,
    dir: &Path,
    device: &Device,
    resume: bool,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let data = Dataset::open(&config.data)?;
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let _lock = DirLock::take(dir)?;
    Run::tidy(dir)?;
    let run = open(config, dir, &data, resume)?;
    if let Some(manifest) = run.manifest()? {
        return Ok(Outcome::Finished(Box::new(manifest)));
    }
    for split in [Split::Train, Split::Val] {
        if Rows::new(&data, split, config.skip_first).is_empty() {
            return Err(Error::EmptySplit { path: data.dir().to_owned(), split: split.name() });
        }
    }
    if config.method.is_neural() {
        let batches = Batches::new(&data, run.config(), run.returns());
        Trainer::new(&run, &data, &batches, device)?.run(&batches, stop, observer)
    } else {
        fit(&run, &data, device, observer)
    }
}

/// The run to train: a new one, or the one to go on with.
fn open(config: &Config, dir: &Path, data: &Dataset, resume: bool) -> Result<Run> {
    let config = resolve(config, data);
    if !(resume && dir.join("config.toml").exists()) {
        return Run::create(dir, &config, data);
    }
    let run = Run::open(dir)?;
    let mut config = config;
    // The dataset may have moved; anything else would make it another run.
    config.data.clone_from(&run.config().data);
    if &config != run.config() {
        return Err(Error::run(
            dir,
            "was started with other settings than these; resume it with its own, or name another --out",
        ));
    }
    if data.manifest().dataset != run.dataset() {
        let found = data.manifest().dataset.clone();
        return Err(Error::OtherDataset { path: data.dir().into(), found, expected: run.dataset().into() });
    }
    Ok(run)
}

/// The settings with what depends on the dataset filled in.
fn resolve(config: &Config, data: &Dataset) -> Config {
    let mut config = config.clone();
    let log = data.manifest().draft.source.kind.as_str();
    let lr = if log == "rc15" { 0.01 } else { 0.005 };
    config.lr = config.lr.or(Some(lr));
    if config.method == Method::Sac {
        config.warm_up = config.warm_up.or(Some(warm_up_steps(config.model.encoder.name(), log)));
    }
    config
}

/// A baseline has nothing to train but what it remembers.
fn fit(run: &Run, data: &Dataset, device: &Device, observer: &mut dyn Observer) -> Result<Outcome> {
    let start = Instant::now();
    let weights = run.best().save_arrays(baseline::fit(run.config().method, data)?)?;
    let val = validate(run, &run.load(device)?, data)?;
    let seconds = start.elapsed().as_secs_f64();
    let evaluation = Evaluation { step: 0, epoch: 0.0, loss: None, seconds, val };
    write_whole(&run.dir().join("metrics.jsonl"), json_line(&evaluation)?.as_bytes())?;
    observer.evaluated(&evaluation, true);
    let progress = Progress { seconds, ..Progress::default() };
    Ok(Outcome::Finished(Box::new(run.finish(&weights, data, &progress, device)?)))
}

fn validate(run: &Run, model: &Trained, data: &Dataset) -> Result<Scores> {
    let rows = Rows::new(data, Split::Val, run.config().skip_first);
    let said = cases(run, model, &rows, run.ask(), run.config().batch_size.max(256), 0)?;
    Ok(Scores::of(&said.cases, run.config().rewards)?)
}

/// A model in training.
struct Trainer<'a> {
    run: &'a Run,
    data: &'a Dataset,
    per_epoch: u64,
    model: Trained,
    adam: Adam,
    turns: Turns,
    progress: Progress,
    total: u64,
    device: &'a Device,
}

impl<'a> Trainer<'a> {
    fn new(run: &'a Run, data: &'a Dataset, batches: &Batches<'_>, device: &'a Device) -> Result<Self> {
        let config = run.config();
        let model = run.fresh_model(device)?;
        let progress = if run.checkpoint().exists() { run.checkpoint().load(&model)? } else { Progress::default() };
        let total = config.epochs.saturating_mul(batches.per_epoch());
        let total = total.min(config.max_steps.unwrap_or(u64::MAX));
        if total == 0 {
            return Err(Error::Config("epochs and max_steps must be at least 1".into()));
        }
        let adam = Adam::new(config.lr.unwrap_or(0.005));
        let parameters: usize = model.parameters().map(|(_, v)| v.elem_count()).sum();
        tracing::info!(rows = batches.rows(), steps = total, parameters, from = progress.step, "training");
        let model = Trained::Neural(Box::new(model));
        let turns = Turns::after(progress.step, config.seed, config.method.is_double());
        let trainer = Self { run, data, per_epoch: batches.per_epoch(), model, adam, turns, progress, total, device };
        trainer.rewind_metrics()?;
        Ok(trainer)
    }

    fn run(mut self, batches: &Batches<'_>, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Outcome> {
        let steps = self.progress.step + 1..=self.total;
        let outcome = thread::scope(|scope| self.steps(ahead(scope, batches, steps), stop, observer))?;
        if let Some(interrupted) = outcome {
            return Ok(interrupted);
        }
        let weights = self.run.best().hash()?;
        Ok(Outcome::Finished(Box::new(self.run.finish(&weights, self.data, &self.progress, self.device)?)))
    }

    /// Trains on each step's batch until they end, the run is stale, or it is asked to stop: that outcome alone is returned.
    fn steps(
        &mut self,
        batches: impl Iterator<Item = (u64, Examples)>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Option<Outcome>> {
        let mut clock = Instant::now();
        for (t, examples) in batches {
            if self.is_stale() {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                self.lap(&mut clock);
                self.run.checkpoint().save(self.neural(), &self.progress, true)?;
                return Ok(Some(Outcome::Interrupted(self.progress.step)));
            }
            let turn = self.turns.next(t);
            let loss = self.neural().step(self.adam, turn, &examples, &mut StepTimes::default())?;
            self.progress.step = t;
            self.progress.loss_sum += loss;
            self.progress.loss_steps += 1;
            observer.step(t, self.total, loss);
            if t.is_multiple_of(self.run.config().eval_every) || t == self.total {
                self.evaluate(&mut clock, observer)?;
            }
        }
        Ok(None)
    }

    /// Validates, keeps the weights if they are the best so far, and leaves a checkpoint.
    fn evaluate(&mut self, clock: &mut Instant, observer: &mut dyn Observer) -> Result<()> {
        let val = validate(self.run, &self.model, self.data).map_err(|e| e.at(self.progress.step, "in validation"))?;
        // A split without purchases is judged by its clicks.
        let score = val.purchase.hr5.or(val.click.hr5).unwrap_or(0.0);
        let step = self.progress.step;
        let is_best = self.progress.best.is_none_or(|(_, best)| score > best);
        if is_best {
            self.progress.best = Some((step, score));
            self.progress.stale = 0;
        } else {
            self.progress.stale += 1;
        }
        self.lap(clock);
        let epoch = step as f64 / self.per_epoch as f64;
        let loss = Some(self.progress.loss_sum / self.progress.loss_steps.max(1) as f64);
        let evaluation = Evaluation { step, epoch, loss, seconds: self.progress.seconds, val };
        (self.progress.loss_sum, self.progress.loss_steps) = (0.0, 0);
        if is_best {
            self.run.best().save(self.neural(), &self.progress, false)?;
        }
        let path = self.run.dir().join("metrics.jsonl");
        append_synced(&path, json_line(&evaluation)?.as_bytes())?;
        self.run.checkpoint().save(self.neural(), &self.progress, true)?;
        observer.evaluated(&evaluation, is_best);
        Ok(())
    }

    /// Drops the lines of `metrics.jsonl` past the checkpoint: those steps are taken again.
    fn rewind_metrics(&self) -> Result<()> {
        let path = self.run.dir().join("metrics.jsonl");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let reached =
            |line: &&str| serde_json::from_str::<Evaluation>(line).is_ok_and(|e| e.step <= self.progress.step);
        let kept: String = text.lines().filter(reached).flat_map(|line| [line, "\n"]).collect();
        if kept != text {
            write_whole(&path, kept.as_bytes())?;
        }
        Ok(())
    }

    fn is_stale(&self) -> bool {
        self.run.config().patience.is_some_and(|p| self.progress.stale >= p)
    }

    fn lap(&mut self, clock: &mut Instant) {
        self.progress.seconds += std::mem::replace(clock, Instant::now()).elapsed().as_secs_f64();
    }

    fn neural(&self) -> &Model {
        match &self.model {
            Trained::Neural(model) => model,
            Trained::Baseline(_) => unreachable!("a trainer is made for neural methods alone"),
        }
    }
}

fn json_line(evaluation: &Evaluation) -> Result<String> {
    let mut line = serde_json::to_string(evaluation).map_err(|e| Error::Config(e.to_string()))?;
    line.push('\n');
    Ok(line)
}
