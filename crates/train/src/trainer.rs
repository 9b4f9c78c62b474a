//! One training from a dataset to a finished run: checks, creation or resumption of the run
//! directory, and the fit of a baseline.

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
use prl_model::{ProcessGroup, SingleProcess, check_negatives};
use prl_runs::{
    Config, Error, Method, Progress, Recipe, Recommender, Result, Run, Sampling, Validation,
    cases_unless, fit_baseline,
};

use crate::batches::Batches;
use crate::grow::Growth;
use crate::memory;
use crate::observer::{Evaluation, Observer, Outcome};
use training_loop::{TrainingLoop, TrainingPlace};

/// One training, from a prepared dataset to a finished run directory.
pub struct Trainer<'a> {
    config: &'a Config,
    dir: &'a Path,
    device: Device,
    resume: bool,
    group: Arc<dyn ProcessGroup>,
    stop: Option<&'a AtomicBool>,
    cuda_graphs: Option<bool>,
}

impl<'a> Trainer<'a> {
    /// A training of `config` in the directory `dir`, which must not contain a run: on the CPU, in
    /// one process.
    pub fn new(config: &'a Config, dir: &'a Path) -> Self {
        Self {
            config,
            dir,
            device: Device::Cpu,
            resume: false,
            group: Arc::new(SingleProcess),
            stop: None,
            cuda_graphs: None,
        }
    }

    /// Sets the device of the model.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// Sets whether a training step on a GPU is one graph launch; the default is yes, unless the
    /// variable `PRL_CUDA_GRAPH` of the environment is `0`. Results do not depend on it.
    pub fn cuda_graphs(mut self, is_on: bool) -> Self {
        self.cuda_graphs = Some(is_on);
        self
    }

    /// Sets whether an unfinished run in the directory is continued from its checkpoint.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Trains in several processes, each of which runs the same training on the same dataset and
    /// directory. The first process alone locks, writes and validates the run.
    pub fn process_group(mut self, group: &Arc<dyn ProcessGroup>) -> Self {
        self.group = Arc::clone(group);
        self
    }

    /// Interrupts the training when `stop` becomes true: after the current step, or after the
    /// current batch of a validation, which is repeated when the run is resumed.
    pub fn stop_flag(mut self, stop: &'a AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Trains to the end, or until the stop flag is set.
    ///
    /// # Errors
    /// Invalid settings, an unreadable dataset, a directory that contains another run or is locked,
    /// and divergence. An error outside a step is returned by every process of the group.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Outcome> {
        let Self {
            config, ref group, ..
        } = self;
        self.check()?;
        let data = Dataset::open(&config.data).map_err(|e| Error::of_dataset(e, None));
        let data = group.broadcast_result(data)?;
        self.check_examples(&data)?;
        // The first process creates the directory; the others open it once it is complete.
        let first = group
            .is_first()
            .then(|| lock_and_open(config, self.dir, &data, self.resume));
        let first = group.broadcast_result(first.transpose())?;
        let (_lock, run) = match first {
            Some((lock, run)) => (Some(lock), Ok(run)),
            None => (None, open(config, self.dir, &data, true)),
        };
        let run = group.broadcast_result(run)?;
        if let Some(manifest) = run.manifest()? {
            observer.started(&run);
            return Ok(Outcome::Finished(Box::new(manifest)));
        }
        let never = AtomicBool::new(false);
        let stop = self.stop.unwrap_or(&never);
        if !config.method.is_neural() {
            observer.started(&run);
            return fit(&run, &data, &self.device, stop, observer);
        }
        let batches = Batches::new(&data, run.config(), run.returns()).with_process_group(&**group);
        let val = validation_examples(&run, &data);
        let place = TrainingPlace {
            device: &self.device,
            group,
            cuda_graphs: self.cuda_graphs,
        };
        let training = TrainingLoop::new(&run, &data, &batches, val.as_ref(), place);
        let training = group.broadcast_result(training)?;
        observer.started(&run);
        training.run(&batches, stop, observer)
    }

    /// Fails if the device or the process group cannot run these settings.
    fn check(&self) -> Result<()> {
        let (config, size) = (self.config, self.group.size());
        config.check()?;
        if config.method == Method::Blend {
            return Err(Error::Config(
                "method blend is not trained; make one of finished runs with `prl blend`".into(),
            ));
        }
        let is_plain = !config.has_similarity_head();
        config.head_dtype().check(&self.device, is_plain)?;
        check_negatives(config.negative_options().is_some(), &self.device)?;
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
        if config.sampling == Sampling::Session && config.method.is_neural() {
            check_session_sampling(size, &self.device)?;
        }
        if config.method.is_neural() && (config.epochs == 0 || config.max_steps == Some(0)) {
            return Err(Error::Config(
                "epochs and max_steps must be at least 1".into(),
            ));
        }
        Ok(self.group.check(config.method.is_double(), &self.device)?)
    }

    /// Fails if the dataset's examples do not suffice for these settings.
    fn check_examples(&self, data: &Dataset) -> Result<()> {
        self.config.check_splits(data)?;
        // A GPU has a memory of its own.
        if self.device.is_cpu() {
            memory::check(self.config, data.items().len())?;
        }
        let rows = self.config.examples(data, Split::Train).len();
        let ranks = self.group.size();
        if rows < ranks {
            return Err(Error::Config(format!(
                "{rows} training rows are too few for {ranks} ranks; start fewer"
            )));
        }
        Ok(())
    }
}

/// Fails for what cannot train on whole sessions: several ranks and a GPU.
fn check_session_sampling(ranks: usize, device: &Device) -> Result<()> {
    let what = match ranks {
        1 if device.is_cpu() => return Ok(()),
        1 => "on a CPU only; use --device cpu",
        _ => "on one rank only; leave --mpi out",
    };
    Err(Error::Config(format!(
        "sampling = \"session\" trains {what}, or use --sampling pass"
    )))
}

/// Examples that select the weights of a run; `None` without validation.
fn validation_examples<'a>(run: &Run, data: &'a Dataset) -> Option<SplitExamples<'a>> {
    if Validation::of(run.config(), data) == Validation::None {
        return None;
    }
    Some(run.config().examples(data, Split::Val))
}

/// Locks the directory, removes what a killed process left there, and opens or creates the run.
/// What is refused is refused before anything is written.
fn lock_and_open(
    config: &Config,
    dir: &Path,
    data: &Dataset,
    resume: bool,
) -> Result<(DirLock, Run)> {
    if resume && Run::is_in(dir) {
        open(config, dir, data, resume)?;
    } else {
        Run::check_is_free(dir)?;
        Growth::open(config, data)?;
    }
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let lock = DirLock::acquire(dir)?;
    Run::recover_run_dir(dir)?;
    Ok((lock, open(config, dir, data, resume)?))
}

/// Creates the run, or with `resume` opens the existing one.
fn open(config: &Config, dir: &Path, data: &Dataset, resume: bool) -> Result<Run> {
    let config = resolve(config, data);
    if !(resume && Run::is_in(dir)) {
        if let Some(growth) = Growth::open(&config, data)? {
            growth.write(dir)?;
        }
        return Run::create(dir, &config, data);
    }
    let run = Run::open(dir)?;
    // First, since some defaults of the settings depend on the dataset.
    if data.manifest().dataset != run.dataset() {
        let found = data.manifest().dataset.clone();
        return Err(Error::OtherDataset {
            path: data.dir().into(),
            found,
            expected: run.dataset().into(),
        });
    }
    let mut config = config;
    // The dataset may have moved; anything else would make it another run.
    config.data.clone_from(&run.config().data);
    if &config != run.config() {
        return Err(Error::run(
            dir,
            "was started with other settings than these; resume it with its own, or name another --out",
        ));
    }
    Ok(run)
}

/// The settings with the defaults that depend on the dataset filled in.
fn resolve(config: &Config, data: &Dataset) -> Config {
    let mut config = config.clone();
    let log = data.manifest().input.source.kind.as_str();
    let lr = if log == "rc15" { 0.01 } else { 0.005 };
    config.lr = config.lr.or(Some(lr));
    config.resolve_own_items(data);
    // The modern recipe stops early where there is a validation.
    if config.recipe == Recipe::Modern && Validation::of(&config, data) == Validation::None {
        config.patience = None;
    }
    if config.method == Method::Sac {
        config.warm_up = config
            .warm_up
            .or(Some(warm_up_steps(config.model.encoder.name(), log)));
    }
    config
}

/// Fits a baseline, validates it and finishes the run.
fn fit(
    run: &Run,
    data: &Dataset,
    device: &Device,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let start = Instant::now();
    let weights = run.best().save_arrays(fit_baseline(run.config(), data)?)?;
    let model = run.load(device)?;
    let val = match validation_examples(run, data) {
        Some(rows) => match validate(stop, run, &model, &rows)? {
            Some(val) => Some(val),
            None => return Ok(Outcome::Interrupted(0)),
        },
        None => None,
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

/// Scores on the validation examples; `None` if the stop flag was set meanwhile.
fn validate(
    stop: &AtomicBool,
    run: &Run,
    model: &Recommender,
    rows: &SplitExamples<'_>,
) -> Result<Option<Scores>> {
    let said = cases_unless(
        stop,
        run,
        model,
        rows,
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
