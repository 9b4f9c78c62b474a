//! Inference thread.
//!
//! Dynamic batching without a delay: each batch is whatever is queued when the previous inference
//! ends. An idle engine therefore answers a request immediately, and batches grow with the load.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prl_runs::{ListInputs, ListRequest, TopKRequest};

use crate::error::{Error, Result};
use crate::queue::{Job, Queue, Top};
use crate::stats::Stats;
use crate::timing::Timing;

/// State of the inference thread.
pub(crate) struct Worker {
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Stats>,
    /// Maximum number of jobs in a batch, at least 1.
    pub(crate) max_batch: usize,
    /// Time limit that an expired job is reported with.
    pub(crate) timeout: Duration,
}

impl Worker {
    /// Processes batches until the queue is closed and empty.
    pub(crate) fn run(&self) {
        while let Some(jobs) = self.queue.drain_batch(self.max_batch) {
            for group in self.group_by_model(jobs) {
                self.process(group);
            }
        }
    }

    /// Drops cancelled jobs, fails expired ones, and splits the rest at changes of the model, since
    /// a batch runs on one model.
    fn group_by_model(&self, jobs: Vec<Job>) -> Vec<Vec<Job>> {
        let now = Instant::now();
        let mut groups: Vec<Vec<Job>> = Vec::new();
        for job in jobs {
            if job.reply.is_closed() {
                continue;
            }
            if job.deadline <= now {
                let timeout = self.timeout;
                _ = job.reply.send(Err(Error::Timeout { timeout }));
                continue;
            }
            match groups.last_mut() {
                Some(group) if Arc::ptr_eq(&group[0].model, &job.model) => group.push(job),
                _ => groups.push(vec![job]),
            }
        }
        groups
    }

    /// Ranks a group and sends the replies. If the group fails, its jobs are retried one by one, so
    /// that only the failing one gets the error.
    fn process(&self, group: Vec<Job>) {
        let started = Instant::now();
        // A panic fails this group only: its reply channels are dropped and the thread continues.
        let ranked = catch_unwind(AssertUnwindSafe(|| rank(&group)));
        let (ended, batch) = (Instant::now(), group.len());
        let seconds = ended.duration_since(started).as_secs_f64();
        self.stats.inference.record(seconds);
        self.stats.batch_size.record(batch as f64);
        match ranked {
            Ok(Ok(tops)) => {
                for (job, top) in group.into_iter().zip(tops) {
                    let timing = Timing {
                        queued: job.queued,
                        started,
                        ended,
                        batch,
                    };
                    _ = job.reply.send(Ok((top, timing)));
                }
            }
            Ok(Err(_)) if group.len() > 1 => {
                for job in group {
                    self.process(vec![job]);
                }
            }
            Ok(Err(error)) => {
                if let Some(job) = group.into_iter().next() {
                    _ = job.reply.send(Err(error));
                }
            }
            Err(_) => tracing::error!(requests = group.len(), "inference panicked"),
        }
    }
}

/// Top-k items of each job of a group; all jobs have the same model.
fn rank(group: &[Job]) -> Result<Vec<Top>> {
    let Some(first) = group.first() else {
        return Ok(Vec::new());
    };
    let model = &first.model;
    let (windows, prompts) = model.batch(group);
    let mut wanted = Vec::with_capacity(group.len());
    let mut tilts = Vec::with_capacity(group.len());
    for job in group {
        wanted.push(ListRequest {
            top: TopKRequest {
                k: job.k,
                filter: job.candidates.filter(),
            },
            arranged: job.arranged.as_ref(),
            is_popular: job.is_popular,
        });
        tilts.push(job.prompt.ask.tilt);
    }
    let inputs = ListInputs {
        windows: &windows,
        prompts: &prompts,
        tilts: &tilts,
    };
    Ok(model.served().lists(model.properties(), inputs, &wanted)?)
}
