//! What a run left behind, read from its directory: the only place where results come from, whenever they were made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use prl_dataset::{Kind, Split};
use prl_eval::{Interval, Metric, PerMetric, Report, Scores};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::write_file;
use crate::machine::Machine;
use crate::prompt_sweep::{Answer, Ask};

/// Who tries, on what, in the run's directory: written when training starts.
pub const MACHINE: &str = "machine.json";
/// Written last by `prl train`: a run that has one is whole.
pub const MANIFEST: &str = "manifest.json";
/// The rank of every test case, written by `prl evaluate`.
pub const CASES: &str = "test-cases.csv";
/// How a run failed; it is not tried again while this is there.
const FAILED: &str = "failed.json";

/// The splits that are reported, the paper's first.
pub const SPLITS: [Split; 2] = [Split::Test, Split::Val];
/// The kinds of events, in the paper's order.
pub const KINDS: [Kind; 2] = [Kind::Purchase, Kind::Click];
/// The paper's metrics of each kind, in its order.
pub const METRICS: [Metric; 6] = [
    Metric::Hr5,
    Metric::Ndcg5,
    Metric::Hr10,
    Metric::Ndcg10,
    Metric::Hr20,
    Metric::Ndcg20,
];

/// `purchase` or `click`.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Purchase => "purchase",
        Kind::Click => "click",
    }
}

/// How a run stands.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Not done yet.
    Pending,
    /// It failed.
    Failed(Failure),
    /// It is done.
    Done(Arc<Finished>),
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The last line of its log.
    pub message: String,
}

impl Failure {
    /// The failure recorded in a run's directory.
    pub fn read(dir: &Path) -> Option<Self> {
        read_json(&dir.join(FAILED)).ok()
    }

    /// Records it: the run is not tried again.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_file(&dir.join(FAILED), serde_json::to_vec_pretty(self)?)
    }

    /// Forgets it: the run is tried again.
    pub fn forget(dir: &Path) -> Result<()> {
        match fs::remove_file(dir.join(FAILED)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// A run that is trained and evaluated.
#[derive(Debug)]
pub struct Finished {
    /// How it was trained.
    pub manifest: RunManifest,
    /// On what.
    pub machine: Machine,
    /// The test split.
    pub test: Report,
    /// The validation split.
    pub val: Report,
    /// Where the ranks of the test cases lie.
    pub cases: PathBuf,
    /// Its validations during training.
    pub curve: Vec<Point>,
    /// What it answers to other prompts, where that is asked.
    pub answers: Vec<Answer>,
}

/// What is read of a run's `manifest.json`.
#[derive(Debug, Deserialize)]
pub struct RunManifest {
    /// The model's name: digits of its weights' checksum.
    pub model: String,
    /// Steps taken.
    pub steps: u64,
    /// The step whose weights are used.
    pub best_step: u64,
    /// Seconds of training and validation.
    pub seconds: f64,
    /// What it ran on, as `prl` knows it.
    pub machine: RunMachine,
}

/// What is read of its `machine`.
#[derive(Debug, Deserialize)]
pub struct RunMachine {
    /// Threads used.
    pub threads: usize,
    /// `cpu` or `cuda`.
    pub device: String,
}

/// One validation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Point {
    /// The step after which it was made.
    pub step: u64,
    /// What was measured.
    pub val: Scores,
}

impl Finished {
    /// Reads a run; fails if it is not whole or has not been asked all of `asks`.
    pub fn read(dir: &Path, asks: &[Ask]) -> Result<Self> {
        let test: Report = read_json(&report_path(dir, Split::Test))?;
        let answers = asks
            .iter()
            .map(|ask| ask.read(dir, &test))
            .collect::<Result<_>>()?;
        Ok(Self {
            manifest: read_json(&dir.join(MANIFEST))?,
            machine: read_json(&dir.join(MACHINE))?,
            val: read_json(&report_path(dir, Split::Val))?,
            cases: dir.join(CASES),
            curve: read_curve(dir)?,
            answers,
            test,
        })
    }

    /// The report on a split.
    pub fn report(&self, split: Split) -> &Report {
        match split {
            Split::Test => &self.test,
            _ => &self.val,
        }
    }
}

/// Where the report on a split lies.
pub fn report_path(dir: &Path, split: Split) -> PathBuf {
    dir.join(split.name()).with_extension("json")
}

/// A metric, unless there is no case of the kind.
pub fn value(scores: &Scores, kind: Kind, metric: Metric) -> Option<f64> {
    *of_kind(&scores.purchase, &scores.click, kind).get(metric)
}

/// Its 95% interval over the cases.
pub fn interval(report: &Report, kind: Kind, metric: Metric) -> Option<Interval> {
    *of_kind(&report.intervals.purchase, &report.intervals.click, kind).get(metric)
}

fn of_kind<'a, T>(
    purchase: &'a PerMetric<T>,
    click: &'a PerMetric<T>,
    kind: Kind,
) -> &'a PerMetric<T> {
    match kind {
        Kind::Purchase => purchase,
        Kind::Click => click,
    }
}

/// Reads a JSON file, naming it if that fails.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let at = || format!("failed to read {}", path.display());
    serde_json::from_slice(&fs::read(path).with_context(at)?).with_context(at)
}

/// A run's validations so far.
pub fn read_curve(dir: &Path) -> Result<Vec<Point>> {
    let path = dir.join("metrics.jsonl");
    let at = || format!("failed to read {}", path.display());
    let text = fs::read_to_string(&path).with_context(at)?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(at))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Failure::read(dir.path()), None);
        let failure = Failure {
            message: "error: the loss is NaN at step 7".into(),
        };
        failure.write(dir.path()).unwrap();
        assert_eq!(Failure::read(dir.path()), Some(failure));
        Failure::forget(dir.path()).unwrap();
        Failure::forget(dir.path()).unwrap();
        assert_eq!(Failure::read(dir.path()), None);
    }
}
