//! Trials of a search: one training each.

use serde::{Deserialize, Serialize};

use crate::space::Assignment;

/// A trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Number, from 0 in the order of proposal.
    pub number: u64,
    /// Its settings, without the fixed ones.
    pub settings: Assignment,
    /// State.
    pub status: Status,
    /// Its validations.
    pub curve: Vec<CurvePoint>,
    /// Seconds trained.
    pub seconds: f64,
    /// Error of a failed trial.
    pub message: Option<String>,
}

/// State of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Started and not ended: running, or interrupted.
    Incomplete,
    /// Trained to its end.
    Finished,
    /// Stopped by the pruner.
    Stopped,
    /// Ended with an error.
    Failed,
}

/// One validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Passes over the training examples.
    pub epoch: f64,
    /// Value of the metric.
    pub value: f64,
}

impl Trial {
    /// A trial that has just started.
    pub fn new(number: u64, settings: Assignment) -> Self {
        Self {
            number,
            settings,
            status: Status::Incomplete,
            curve: Vec::new(),
            seconds: 0.0,
            message: None,
        }
    }

    /// Its best validation, the first of equals.
    pub fn best(&self) -> Option<CurvePoint> {
        best_until(&self.curve, f64::INFINITY)
    }

    /// Value that proposals learn from: the best one of a trial that was trained to its end or
    /// stopped. A stopped trial has the value that it reached.
    pub fn value(&self) -> Option<f64> {
        match self.status {
            Status::Finished | Status::Stopped => Some(self.best()?.value),
            Status::Incomplete | Status::Failed => None,
        }
    }
}

/// Best point of a curve up to an epoch, the first of equals.
pub(crate) fn best_until(curve: &[CurvePoint], epoch: f64) -> Option<CurvePoint> {
    let mut best: Option<CurvePoint> = None;
    for &point in curve {
        let is_better = match best {
            Some(best) => point.value > best.value,
            None => true,
        };
        if point.epoch <= epoch && is_better {
            best = Some(point);
        }
    }
    best
}

/// Finished trials, the best first; of equal values the earlier trial is first.
pub fn ranking(trials: &[Trial]) -> Vec<&Trial> {
    let mut valued = Vec::new();
    for trial in trials {
        if let (Status::Finished, Some(value)) = (trial.status, trial.value()) {
            valued.push((value, trial));
        }
    }
    // A stable sort.
    valued.sort_by(|a, b| b.0.total_cmp(&a.0));
    valued.into_iter().map(|(_, trial)| trial).collect()
}

/// Number of trials in a state.
pub fn count(trials: &[Trial], status: Status) -> usize {
    trials.iter().filter(|trial| trial.status == status).count()
}
