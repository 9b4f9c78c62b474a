//! The thread that infers: batches of whatever waits.
//!
//! There is no timer. An idle engine answers a question at once; while it does, others arrive, and they are the next batch.
//! So batches grow exactly with the load, and nobody waits for company.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prl_runs::TopKRequest;

use crate::error::{Error, Result};
use crate::queue::{Job, Queue, Top};
use crate::stats::Stats;

/// Answers until the queue is closed and empty, at most `batch` questions at once.
pub(crate) fn run(queue: &Queue, batch: usize, timeout: Duration, stats: &Stats) {
    while let Some(jobs) = queue.take(batch) {
        let now = Instant::now();
        let mut groups: Vec<Vec<Job>> = Vec::new();
        for job in jobs {
            // Those who have gone need no answer.
            if job.reply.is_closed() {
                continue;
            }
            if job.due <= now {
                _ = job.reply.send(Err(Error::Late { timeout }));
                continue;
            }
            match groups.last_mut() {
                Some(group) if Arc::ptr_eq(&group[0].live, &job.live) => group.push(job),
                _ => groups.push(vec![job]),
            }
        }
        for group in groups {
            answer(group, stats);
        }
    }
}

/// Answers a group. If one of several spoils it for all, each is answered alone.
fn answer(group: Vec<Job>, stats: &Stats) {
    let start = Instant::now();
    // A panic is this group's failure only: its replies are dropped, and the next group goes on.
    let done = catch_unwind(AssertUnwindSafe(|| rank(&group)));
    stats.inference.record(start.elapsed().as_secs_f64());
    stats.batch_size.record(group.len() as f64);
    match done {
        Ok(Ok(tops)) => {
            for (job, top) in group.into_iter().zip(tops) {
                _ = job.reply.send(Ok(top));
            }
        }
        Ok(Err(_)) if group.len() > 1 => group.into_iter().for_each(|job| answer(vec![job], stats)),
        Ok(Err(error)) => {
            if let Some(job) = group.into_iter().next() {
                _ = job.reply.send(Err(error));
            }
        }
        Err(_) => tracing::error!(questions = group.len(), "inference panicked"),
    }
}

/// The best items for each of a group, all asked of one model.
fn rank(group: &[Job]) -> Result<Vec<Top>> {
    let Some(first) = group.first() else {
        return Ok(Vec::new());
    };
    let (windows, prompts) = first
        .live
        .batch(group.iter().map(|job| (job.known.as_slice(), job.prompt)));
    let wanted: Vec<TopKRequest<'_>> = group
        .iter()
        .map(|job| TopKRequest {
            k: job.k,
            filter: job.candidates.among(),
        })
        .collect();
    Ok(first.live.served().top(&windows, &prompts, &wanted)?)
}
