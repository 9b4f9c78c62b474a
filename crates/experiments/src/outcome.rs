//! Outcome of a run, read from its directory. Reports have no other source of results, whenever and
//! wherever a run was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use prl_dataset::{Kind, Split};
use prl_eval::{Interval, Metric, PerMetric, Report, Scores};
use serde::{Deserialize, Serialize};

use crate::files::{read_json, write_file};
use crate::machine::Machine;
use crate::prompt_sweep::PromptSetting;

/// File with the machine that makes the run; written before training.
pub const MACHINE: &str = "machine.json";
/// File that `prl train` writes last: a run that has it is completely trained.
pub const MANIFEST: &str = "manifest.json";
/// File with the rank of every test case, written by `prl evaluate`.
pub const CASES: &str = "test-cases.csv";
/// File with the failure of a run; while it exists, the run is not repeated.
const FAILED: &str = "failed.json";

/// Splits that are reported, the paper's first.
pub const SPLITS: [Split; 2] = [Split::Test, Split::Val];
/// Kinds of events, in the paper's order.
pub const KINDS: [Kind; 2] = [Kind::Purchase, Kind::Click];
/// Metrics of each kind, in the paper's order.
pub const METRICS: [Metric; 6] = [
    Metric::Hr5,
    Metric::Ndcg5,
    Metric::Hr10,
    Metric::Ndcg10,
    Metric::Hr20,
    Metric::Ndcg20,
];

/// The columns of the paper's tables: every metric of every kind.
pub fn columns() -> [(Kind, Metric); 12] {
    std::array::from_fn(|i| (KINDS[i / METRICS.len()], METRICS[i % METRICS.len()]))
}

/// `purchase` or `click`.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Purchase => "purchase",
        Kind::Click => "click",
    }
}

/// Title of a split: `Test split`.
pub fn split_title(split: Split) -> &'static str {
    match split {
        Split::Test => "Test split",
        Split::Val => "Validation split",
        Split::Train => "Training split",
    }
}

/// Outcome of a planned run.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Not made yet, or not completely.
    Pending,
    /// Failed.
    Failed(Failure),
    /// Trained and evaluated.
    Done(Arc<RunResults>),
}

/// Failure of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Last line of its log.
    pub message: String,
}

impl Failure {
    /// Reads the failure recorded in a run's directory.
    pub fn read(dir: &Path) -> Option<Self> {
        read_json(&dir.join(FAILED)).ok()
    }

    /// Records the failure, so that the run is not repeated.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_file(&dir.join(FAILED), serde_json::to_vec_pretty(self)?)
    }

    /// Removes the record, so that the run is repeated.
    ///
    /// # Errors
    /// If the file exists and cannot be removed.
    pub fn remove(dir: &Path) -> Result<()> {
        match fs::remove_file(dir.join(FAILED)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Results of a run that is trained and evaluated.
#[derive(Debug)]
pub struct RunResults {
    /// Training.
    pub manifest: RunManifest,
    /// Machine that made it.
    pub machine: Machine,
    /// Report on the test split.
    pub test: Report,
    /// Report on the validation split.
    pub val: Report,
    /// File with the ranks of the test cases.
    pub cases: PathBuf,
    /// Validations during training.
    pub curve: Vec<CurvePoint>,
    /// Results under other prompts, if they are part of the run.
    pub prompt_results: Vec<PromptResult>,
}

/// Fields of a run's `manifest.json` that reports need.
#[derive(Debug, Deserialize)]
pub struct RunManifest {
    /// Name of the model: first digits of its weights' checksum.
    pub model: String,
    /// Training steps taken.
    pub steps: u64,
    /// Step of the selected weights.
    pub best_step: u64,
    /// Seconds of training and validation.
    pub seconds: f64,
    /// Hardware, as `prl` describes it.
    pub machine: RunMachine,
}

/// Fields of its `machine` that reports need.
#[derive(Debug, Deserialize)]
pub struct RunMachine {
    /// Threads used.
    pub threads: usize,
    /// `cpu` or `cuda`.
    pub device: String,
}

/// One validation of a learning curve.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CurvePoint {
    /// Training step before it.
    pub step: u64,
    /// Scores on the validation split.
    pub val: Scores,
}

/// Test result under a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromptResult {
    /// Prompt.
    pub prompt: PromptSetting,
    /// Sum of the rewards of the test events whose item is ranked first.
    pub reward_at_1: f64,
}

impl RunResults {
    /// Reads the results of a run with all of `prompts`.
    ///
    /// # Errors
    /// If the run is not complete, or a file is damaged.
    pub fn read(dir: &Path, prompts: &[PromptSetting]) -> Result<Self> {
        let test: Report = read_json(&report_path(dir, Split::Test))?;
        let mut prompt_results = Vec::new();
        for &prompt in prompts {
            let reward_at_1 = match prompt.report_path(dir) {
                Some(path) => read_json::<Report>(&path)?.scores.reward_at_1,
                None => test.scores.reward_at_1,
            };
            prompt_results.push(PromptResult {
                prompt,
                reward_at_1,
            });
        }
        Ok(Self {
            manifest: read_json(&dir.join(MANIFEST))?,
            machine: read_json(&dir.join(MACHINE))?,
            val: read_json(&report_path(dir, Split::Val))?,
            cases: dir.join(CASES),
            curve: read_curve(dir)?,
            prompt_results,
            test,
        })
    }

    /// Report on a split; the validation split stands for the training split.
    pub fn report(&self, split: Split) -> &Report {
        match split {
            Split::Test => &self.test,
            Split::Val | Split::Train => &self.val,
        }
    }
}

/// Path of the report on a split.
pub fn report_path(dir: &Path, split: Split) -> PathBuf {
    dir.join(split.name()).with_extension("json")
}

/// Value of a metric; `None` if there is no case of the kind.
pub fn value(scores: &Scores, kind: Kind, metric: Metric) -> Option<f64> {
    *select(kind, &scores.purchase, &scores.click).get(metric)
}

/// 95% confidence interval of a metric over the cases.
pub fn interval(report: &Report, kind: Kind, metric: Metric) -> Option<Interval> {
    *select(kind, &report.intervals.purchase, &report.intervals.click).get(metric)
}

fn select<'a, T>(
    kind: Kind,
    purchase: &'a PerMetric<T>,
    click: &'a PerMetric<T>,
) -> &'a PerMetric<T> {
    match kind {
        Kind::Purchase => purchase,
        Kind::Click => click,
    }
}

/// Reads the validations that a run has made so far.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_curve(dir: &Path) -> Result<Vec<CurvePoint>> {
    let path = dir.join("metrics.jsonl");
    let failed = || format!("failed to read {}", path.display());
    let text = fs::read_to_string(&path).with_context(failed)?;
    let mut curve = Vec::new();
    for line in text.lines() {
        curve.push(serde_json::from_str(line).with_context(failed)?);
    }
    Ok(curve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_recorded_until_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Failure::read(dir.path()), None);
        let failure = Failure {
            message: "error: the loss is NaN at step 7".into(),
        };
        failure.write(dir.path()).unwrap();
        assert_eq!(Failure::read(dir.path()), Some(failure));
        Failure::remove(dir.path()).unwrap();
        Failure::remove(dir.path()).unwrap();
        assert_eq!(Failure::read(dir.path()), None);
    }
}
