//! A training from a dataset to a finished run: what is refused, begun, gone on with and validated.

mod steps;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Device;
use prl_baselines::warm_up_steps;
use prl_dataset::{Dataset, Split, SplitExamples};
use prl_eval::Scores;
use prl_fs::{DirLock, write_atomic};
use serde::{Deserialize, Serialize};

use crate::baseline;
use crate::batches::Batches;
use crate::checkpoint::Progress;
use crate::config::{Config, check_bf16_head};
use crate::error::{Error, Result};
use crate::evaluate::cases_unless;
use crate::manifest::RunManifest;
use crate::method::Method;
use crate::ranks::{Alone, Ranks};
use crate::run::Run;
use crate::trained::Trained;
use steps::Trainer;

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
    /// Asked to stop after this step; a checkpoint was left, but by a baseline, which has no steps and begins again.
    Interrupted(u64),
}

/// Trains a run in `dir`; with `resume`, from its checkpoint if there is one. Setting `stop` ends it after the current step, or
/// the current batch of a validation, which is made when the run goes on.
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
    let ranks: Arc<dyn Ranks> = Arc::new(Alone);
    train_over(&ranks, config, dir, device, resume, stop, observer)
}

/// The same on several ranks, each of which calls this with the same settings, and sees the same dataset and the same `dir`.
/// The first rank alone holds, writes and validates the run.
///
/// # Errors
/// As [`train`]; what one rank meets outside a step, each of them returns. A batch that does not fall into equal shares is
/// [`Error::Config`].
pub fn train_over(
    ranks: &Arc<dyn Ranks>,
    config: &Config,
    dir: &Path,
    device: &Device,
    resume: bool,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    check(&**ranks, config, device)?;
    ranks.check(config.method.is_double(), device)?;
    let data = ranks.agree(Dataset::open(&config.data).map_err(Error::from))?;
    let held = ranks
        .is_first()
        .then(|| hold(config, dir, &data, resume))
        .transpose();
    // The others look when all of it is there.
    let held = ranks.agree(held)?;
    let (_lock, run) = match held {
        Some((lock, run)) => (Some(lock), Ok(run)),
        None => (None, open(config, dir, &data, true)),
    };
    let run = ranks.agree(run)?;
    if let Some(manifest) = run.manifest()? {
        return Ok(Outcome::Finished(Box::new(manifest)));
    }
    for split in [Split::Train, Split::Val] {
        if SplitExamples::new(&data, split, config.skip_first).is_empty() {
            return Err(Error::EmptySplit {
                path: data.dir().to_owned(),
                split: split.name(),
            });
        }
    }
    if config.method.is_neural() {
        let batches = Batches::new(&data, run.config(), run.returns()).over(&**ranks);
        let trainer = ranks.agree(Trainer::new(&run, &data, &batches, device, ranks))?;
        trainer.run(&batches, stop, observer)
    } else {
        fit(&run, &data, device, stop, observer)
    }
}

/// Refuses what the device cannot do, and what several ranks cannot share.
fn check(ranks: &dyn Ranks, config: &Config, device: &Device) -> Result<()> {
    config.check()?;
    check_bf16_head(config.bf16_head, device)?;
    let size = ranks.size();
    if size > 1 && !config.method.is_neural() {
        return Err(Error::Config(format!(
            "{} has no training to share; leave --mpi out",
            config.method.name()
        )));
    }
    if !config.batch_size.is_multiple_of(size) {
        let batch = config.batch_size;
        return Err(Error::Config(format!(
            "batch_size {batch} does not fall into {size} equal shares, one a rank"
        )));
    }
    Ok(())
}

/// Takes hold of the directory, puts it right and opens or begins the run there.
fn hold(config: &Config, dir: &Path, data: &Dataset, resume: bool) -> Result<(DirLock, Run)> {
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let lock = DirLock::acquire(dir)?;
    Run::tidy(dir)?;
    Ok((lock, open(config, dir, data, resume)?))
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
        return Err(Error::OtherDataset {
            path: data.dir().into(),
            found,
            expected: run.dataset().into(),
        });
    }
    Ok(run)
}

/// The settings with what depends on the dataset filled in.
fn resolve(config: &Config, data: &Dataset) -> Config {
    let mut config = config.clone();
    let log = data.manifest().input.source.kind.as_str();
    let lr = if log == "rc15" { 0.01 } else { 0.005 };
    config.lr = config.lr.or(Some(lr));
    if config.method == Method::Sac {
        config.warm_up = config
            .warm_up
            .or(Some(warm_up_steps(config.model.encoder.name(), log)));
    }
    config
}

/// A baseline has nothing to train but what it remembers.
fn fit(
    run: &Run,
    data: &Dataset,
    device: &Device,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let start = Instant::now();
    let weights = run
        .best()
        .save_arrays(baseline::fit(run.config().method, data)?)?;
    let Some(val) = validate(stop, run, &run.load(device)?, data)? else {
        return Ok(Outcome::Interrupted(0));
    };
    let seconds = start.elapsed().as_secs_f64();
    let evaluation = Evaluation {
        step: 0,
        epoch: 0.0,
        loss: None,
        seconds,
        val,
    };
    write_atomic(
        &run.dir().join("metrics.jsonl"),
        json_line(&evaluation)?.as_bytes(),
    )?;
    observer.evaluated(&evaluation, true);
    let progress = Progress {
        seconds,
        ..Progress::default()
    };
    Ok(Outcome::Finished(Box::new(
        run.finish(&weights, data, &progress, device)?,
    )))
}

/// The scores on the validation split; nothing if it was asked to stop before it had them.
fn validate(
    stop: &AtomicBool,
    run: &Run,
    model: &Trained,
    data: &Dataset,
) -> Result<Option<Scores>> {
    let rows = SplitExamples::new(data, Split::Val, run.config().skip_first);
    let said = cases_unless(
        stop,
        run,
        model,
        &rows,
        run.ask(),
        run.config().batch_size.max(256),
        0,
    )?;
    said.map(|said| Ok(Scores::of(&said.cases, run.config().rewards)?))
        .transpose()
}

fn json_line(evaluation: &Evaluation) -> Result<String> {
    let mut line = serde_json::to_string(evaluation).map_err(|e| Error::Config(e.to_string()))?;
    line.push('\n');
    Ok(line)
}
