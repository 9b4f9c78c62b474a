//! Times at which requests waited and were inferred, for traces.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

tokio::task_local! {
    /// Log of the task's requests, if somebody records them.
    static CURRENT: TimingLog;
}

/// When a request was queued and inferred.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Entry into the queue.
    pub queued: Instant,
    /// Start of its batch's inference.
    pub started: Instant,
    /// End of its batch's inference.
    pub ended: Instant,
    /// Requests in the batch.
    pub batch: usize,
}

/// Timings of the requests that a task makes.
#[derive(Clone, Debug, Default)]
pub struct TimingLog(Arc<Mutex<Vec<Timing>>>);

impl TimingLog {
    /// Runs a future and records the requests whose responses it awaits.
    pub async fn record<F: Future>(&self, future: F) -> F::Output {
        CURRENT.scope(self.clone(), future).await
    }

    /// Removes and returns what is recorded.
    pub fn take(&self) -> Vec<Timing> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds a timing to the log of the current task, if it has one.
pub(crate) fn add(timing: Timing) {
    let push = |log: &TimingLog| {
        let mut timings = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        timings.push(timing);
    };
    // An error means that nobody records.
    _ = CURRENT.try_with(push);
}
