//! The observer that sends the records of a training to its trackers.

use std::path::Path;
use std::time::{Duration, Instant};

use prl_runs::Run;
use prl_train::{Evaluation, Observer};
use serde::Serialize;
use serde_json::Value;

use crate::delivery::Delivery;
use crate::error::{Error, Result};
use crate::mlflow::{MlflowFiles, MlflowServer};
use crate::numbers::{Record, settings};
use crate::run_ids::RunIds;
use crate::target::Target;
use crate::tensorboard::TensorBoard;
use crate::tracked_run::{RunEnd, TrackedRun, Tracker, check_name, name_of_folder};

/// Longest time that the end of a training waits for its trackers.
const GRACE: Duration = Duration::from_secs(15);

/// The trackers of a training. They start with the training, see [`Observer::started`].
pub struct Tracking {
    targets: Vec<Target>,
    name: Option<String>,
    deliveries: Vec<Delivery>,
}

impl Tracking {
    /// Tracking of a training in `targets`, under `name` or that of its run directory.
    ///
    /// # Errors
    /// If the name cannot be that of a tracked run.
    pub fn new(targets: Vec<Target>, name: Option<String>) -> Result<Self> {
        if let Some(name) = &name {
            check_name(name)?;
        }
        Ok(Self {
            targets,
            name,
            deliveries: Vec::new(),
        })
    }

    /// Notes the end of the training in all trackers, and waits up to 15 seconds for them.
    pub fn finish(self, end: RunEnd) {
        for delivery in &self.deliveries {
            delivery.end(end);
        }
        let deadline = Instant::now() + GRACE;
        for delivery in &self.deliveries {
            delivery.wait(deadline);
        }
    }

    fn start(&mut self, run: &Run) -> Result<()> {
        let run = describe(run, self.name.as_deref())?;
        let ids = RunIds::open(&run.dir)?;
        let written = records(&run.dir)?;
        for target in std::mem::take(&mut self.targets) {
            let target = target.absolute()?;
            let name = target.to_string();
            let tracker = open(target, &run, &ids);
            let delivery = Delivery::start(name, tracker).map_err(Error::io(&run.dir))?;
            delivery.send(written.clone());
            self.deliveries.push(delivery);
        }
        Ok(())
    }
}

impl Observer for Tracking {
    fn started(&mut self, run: &Run) {
        if self.targets.is_empty() {
            return;
        }
        if let Err(error) = self.start(run) {
            tracing::warn!("the training is not tracked: {error}");
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation, _is_best: bool) {
        if self.deliveries.is_empty() {
            return;
        }
        let line = serde_json::to_value(evaluation).unwrap_or_default();
        let Some(record) = Record::of_evaluation(&line) else {
            return;
        };
        for delivery in &self.deliveries {
            delivery.send(vec![record.clone()]);
        }
    }
}

/// Adds the scores of a finished run on a split to its tracked runs, under `split/` and at the step
/// of its weights. Each tracker is tried, whatever becomes of the others.
///
/// # Errors
/// The first of a tracker that cannot be used.
pub fn track_scores(
    run: &Run,
    targets: &[Target],
    (split, step): (&str, u64),
    scores: &impl Serialize,
) -> Result<()> {
    let run = describe(run, None)?;
    let ids = RunIds::open(&run.dir)?;
    let scores = serde_json::to_value(scores).unwrap_or_default();
    let record = Record::of_scores(split, step, &scores);
    let mut result = Ok(());
    for target in targets {
        let tracked = add_record(target, &run, &ids, &record);
        result = result.and(tracked);
    }
    result
}

/// Adds a record to a finished run in one tracker.
fn add_record(target: &Target, run: &TrackedRun, ids: &RunIds, record: &Record) -> Result<()> {
    let mut tracker = open(target.clone().absolute()?, run, ids);
    tracker.open()?;
    tracker.log(std::slice::from_ref(record))?;
    tracker.end(RunEnd::Finished)
}

/// A run as its trackers show it.
fn describe(run: &Run, name: Option<&str>) -> Result<TrackedRun> {
    let dir = std::path::absolute(run.dir()).map_err(Error::io(run.dir()))?;
    let name = match (name, dir.file_name()) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => name_of_folder(&name.to_string_lossy()),
        (None, None) => "run".to_owned(),
    };
    check_name(&name)?;
    let table: toml::Table = run.config().to_toml()?.parse().unwrap_or_default();
    Ok(TrackedRun {
        name,
        settings: settings(&table),
        dataset: run.dataset().to_owned(),
        dir,
    })
}

fn open(target: Target, run: &TrackedRun, ids: &RunIds) -> Box<dyn Tracker> {
    let (run, ids) = (run.clone(), ids.clone());
    match target {
        Target::TensorBoard(dir) => Box::new(TensorBoard::new(dir, run, ids)),
        Target::MlflowFiles(dir) => Box::new(MlflowFiles::new(dir, run, ids)),
        Target::MlflowServer(url) => Box::new(MlflowServer::new(url, run, ids)),
    }
}

/// Records of the lines of a run's `metrics.jsonl`.
fn records(run: &Path) -> Result<Vec<Record>> {
    let path = run.join("metrics.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let mut records = Vec::new();
    for line in text.lines() {
        // A line that a killed process left incomplete is written again by the training.
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        records.extend(Record::of_evaluation(&line));
    }
    Ok(records)
}
