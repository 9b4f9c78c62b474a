//! Progress of a training run: observer callbacks, validation records and the outcome.

use prl_eval::Scores;
use prl_runs::{Run, RunManifest};
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
    /// Called once the run is open, before the first step; of a resumed run its `metrics.jsonl`
    /// ends at the checkpoint. For a run that is complete already, it is the only call.
    fn started(&mut self, _run: &Run) {}
    /// Called after each training step.
    fn step(&mut self, _step: u64, _total: u64, _loss: f64) {}
    /// Called after each validation, or where it would be in a training without validation.
    fn evaluated(&mut self, _evaluation: &Evaluation, _is_best: bool) {}
}

/// Observers that are called one after the other.
pub struct Observers<'a>(pub Vec<&'a mut dyn Observer>);

impl Observer for Observers<'_> {
    fn started(&mut self, run: &Run) {
        for observer in &mut self.0 {
            observer.started(run);
        }
    }

    fn step(&mut self, step: u64, total: u64, loss: f64) {
        for observer in &mut self.0 {
            observer.step(step, total, loss);
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation, is_best: bool) {
        for observer in &mut self.0 {
            observer.evaluated(evaluation, is_best);
        }
    }
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
