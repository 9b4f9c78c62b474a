//! Bounded queue between the request threads and the inference thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prl_dataset::Kind;
use prl_runs::{ArrangedList, Candidates, PromptUsed};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::loaded_model::LoadedModel;
use crate::timing::Timing;

/// Item indices with scores, best first.
pub(crate) type Top = prl_runs::TopK<f32>;

/// A queued request.
pub(crate) struct Job {
    /// Model that `known` and `candidates` are indices of.
    pub(crate) model: Arc<LoadedModel>,
    /// Item indices of the session, oldest first.
    pub(crate) known: Vec<u32>,
    /// Kinds of the session's known events.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) prompt: PromptUsed,
    pub(crate) k: usize,
    pub(crate) candidates: Candidates,
    /// Pinned items, limits and diversity.
    pub(crate) arranged: Option<ArrangedList>,
    /// Whether the most frequent items are asked for in place of the model's.
    pub(crate) is_popular: bool,
    pub(crate) queued: Instant,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<(Top, Timing)>>,
}

/// Bounded FIFO queue; `push` fails immediately when full.
pub(crate) struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    /// An empty queue of at most `capacity` jobs.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            jobs: Mutex::default(),
            changed: Condvar::new(),
            capacity,
        }
    }

    /// Appends a job. Fails if the queue is full or closed.
    pub(crate) fn push(&self, job: Job) -> Result<()> {
        let mut jobs = self.lock();
        if jobs.is_closed {
            return Err(Error::Stopped);
        }
        if jobs.waiting.len() >= self.capacity {
            return Err(Error::QueueFull {
                waiting: jobs.waiting.len(),
            });
        }
        jobs.waiting.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Blocks until a job is queued, then removes up to `max` jobs; `None` once the queue is closed
    /// and empty.
    pub(crate) fn drain_batch(&self, max: usize) -> Option<Vec<Job>> {
        let mut jobs = self.lock();
        while jobs.waiting.is_empty() && !jobs.is_closed {
            jobs = self
                .changed
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if jobs.waiting.is_empty() {
            return None;
        }
        let n = max.min(jobs.waiting.len());
        Some(jobs.waiting.drain(..n).collect())
    }

    /// Rejects further jobs; queued ones remain to be drained.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Number of queued jobs.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
