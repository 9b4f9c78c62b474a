//! Progress of a training run: observer callbacks, validation records and the outcome.

use prl_eval::Scores;
use prl_runs::RunManifest;
use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Training steps taken.
    pub step: u64,
    /// Passes over the training examples so far.
    pub epoch: f64,
    /// Mean training loss since the last validation; absent for a baseline.
    pub loss: Option<f64>,
    /// Seconds trained so far.
    pub seconds: f64,
    /// Scores of the validation; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<Scores>,
}

/// Callbacks of a training's progress.
pub trait Observer {
    /// Called after each training step.
    fn step(&mut self, _step: u64, _total: u64, _loss: f64) {}
    /// Called after each validation, or where it would be in a training without validation.
    fn evaluated(&mut self, _evaluation: &Evaluation, _is_best: bool) {}
}

/// End of a training.
#[derive(Debug)]
pub enum Outcome {
    /// The run is complete.
    Finished(Box<RunManifest>),
    /// The stop flag was set; the training resumes after this step. A baseline has no steps and
    /// starts again.
    Interrupted(u64),
}
