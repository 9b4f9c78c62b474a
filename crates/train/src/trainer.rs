//! A training from a dataset to a finished run: what is refused, begun, gone on with and validated.

mod training_loop;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Device;
use prl_baselines::warm_up_steps;
use prl_dataset::{Dataset, Split, SplitExamples};
use prl_eval::Scores;
use prl_fs::{DirLock, write_atomic};
use prl_model::{ProcessGroup, SingleProcess, check_bf16_head};
use prl_runs::{
    Config, Error, Method, Progress, Recommender, Result, Run, RunManifest, cases_unless,
    fit_baseline,
};
use serde::{Deserialize, Serialize};

use crate::batches::Batches;
use training_loop::Trainer;

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
    let group: Arc<dyn ProcessGroup> = Arc::new(SingleProcess);
    train_over(&group, config, dir, device, resume, stop, observer)
}

/// The same on several ranks, each of which calls this with the same settings, and sees the same dataset and the same `dir`.
/// The first rank alone holds, writes and validates the run.
///
/// # Errors
/// As [`train`]; what one rank meets outside a step, each of them returns. A batch that does not fall into equal shares is
/// [`Error::Config`].
pub fn train_over(
    group: &Arc<dyn ProcessGroup>,
    config: &Config,
    dir: &Path,
    device: &Device,
    resume: bool,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    check(&**group, config, device)?;
    group.check(config.method.is_double(), device)?;
    let data = group.broadcast_result(Dataset::open(&config.data).map_err(Error::from))?;
    let held = group
        .is_first()
        .then(|| hold(config, dir, &data, resume))
        .transpose();
    // The others look when all of it is there.
    let held = group.broadcast_result(held)?;
    let (_lock, run) = match held {
        Some((lock, run)) => (Some(lock), Ok(run)),
        None => (None, open(config, dir, &data, true)),
    };
    let run = group.broadcast_result(run)?;
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
        let batches = Batches::new(&data, run.config(), run.returns()).with_process_group(&**group);
        let trainer = group.broadcast_result(Trainer::new(&run, &data, &batches, device, group))?;
        trainer.run(&batches, stop, observer)
    } else {
        fit(&run, &data, device, stop, observer)
    }
}

/// Refuses what the device cannot do, and what several ranks cannot share.
fn check(group: &dyn ProcessGroup, config: &Config, device: &Device) -> Result<()> {
    config.check()?;
    check_bf16_head(config.bf16_head, device)?;
    let size = group.size();
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
    Run::recover_run_dir(dir)?;
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
        .save_arrays(fit_baseline(run.config().method, data)?)?;
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
    model: &Recommender,
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
    said.map(|said| Ok(Scores::new(&said.cases, run.config().rewards)?))
        .transpose()
}

fn json_line(evaluation: &Evaluation) -> Result<String> {
    let mut line = serde_json::to_string(evaluation).map_err(|e| Error::Config(e.to_string()))?;
    line.push('\n');
    Ok(line)
}
