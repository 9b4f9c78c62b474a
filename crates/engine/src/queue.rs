//! The bounded queue between those who ask and the one thread that infers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prl_runs::PromptUsed;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::loaded_model::{Candidates, LoadedModel};

/// Ranked indices and scores, best first.
pub(crate) type Top = prl_runs::TopK<f32>;

/// A question that waits.
pub(crate) struct Job {
    /// The model it was read for: its indices mean nothing to another.
    pub(crate) live: Arc<LoadedModel>,
    pub(crate) known: Vec<u32>,
    pub(crate) prompt: PromptUsed,
    pub(crate) k: usize,
    pub(crate) candidates: Candidates,
    pub(crate) due: Instant,
    pub(crate) reply: oneshot::Sender<Result<Top>>,
}

/// First come, first served; refuses at once what is too much.
pub(crate) struct Queue {
    jobs: Mutex<Jobs>,
    came: Condvar,
    most: usize,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    /// A queue in which at most `most` may wait.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            jobs: Mutex::default(),
            came: Condvar::new(),
            most,
        }
    }

    /// Adds one, unless the queue is full or closed.
    pub(crate) fn push(&self, job: Job) -> Result<()> {
        let mut jobs = self.lock();
        if jobs.is_closed {
            return Err(Error::Stopped);
        }
        if jobs.waiting.len() >= self.most {
            return Err(Error::Full {
                waiting: jobs.waiting.len(),
            });
        }
        jobs.waiting.push_back(job);
        self.came.notify_one();
        Ok(())
    }

    /// Waits for the next ones and takes at most `n`; `None` once the queue is closed and empty.
    pub(crate) fn take(&self, n: usize) -> Option<Vec<Job>> {
        let idle = |jobs: &mut Jobs| jobs.waiting.is_empty() && !jobs.is_closed;
        let mut jobs = self
            .came
            .wait_while(self.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        let n = n.min(jobs.waiting.len());
        (n > 0).then(|| jobs.waiting.drain(..n).collect())
    }

    /// Takes no more; what waits is still answered.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.came.notify_all();
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
