//! The thread that infers: batches of whatever waits.
//!
//! There is no timer. An idle engine answers a question at once; while it does, others arrive, and they are the next batch.
//! So batches grow exactly with the load, and nobody waits for company.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::live::Keep;
use crate::queue::{Job, Queue, Top};
use crate::stats::Stats;

/// Who asks for more than this many best items, with those left out, is answered alone: the lists of a batch are as long as
/// its longest.
const LONG: usize = 1_000;

/// Answers until the queue is closed and empty, at most `batch` questions at once.
pub(crate) fn run(queue: &Queue, batch: usize, within: Duration, stats: &Stats) {
    while let Some(jobs) = queue.take(batch) {
        let now = Instant::now();
        let mut groups: Vec<Vec<Job>> = Vec::new();
        for job in jobs {
            // Those who have gone need no answer.
            if job.reply.is_closed() {
                continue;
            }
            if job.due <= now {
                _ = job.reply.send(Err(Error::Late { within }));
                continue;
            }
            match groups.last_mut() {
                Some(group) if share(&group[0], &job) => group.push(job),
                _ => groups.push(vec![job]),
            }
        }
        for group in groups {
            answer(group, stats);
        }
    }
}

/// Whether two questions can be answered in one batch.
fn share(a: &Job, b: &Job) -> bool {
    let is_short = |job: &Job| matches!(&job.keep, Keep::Without(items) if job.k + items.len() <= LONG);
    Arc::ptr_eq(&a.live, &b.live) && is_short(a) && is_short(b)
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

/// The best items for each of a group, filtered.
fn rank(group: &[Job]) -> Result<Vec<Top>> {
    let Some(first) = group.first() else { return Ok(Vec::new()) };
    let (windows, prompts) = first.live.batch(group.iter().map(|job| (job.known.as_slice(), job.prompt)));
    if let Keep::Only(items) = &first.keep {
        let scores = first.live.trained().scores(&windows, &prompts, items)?;
        return Ok(vec![best(items.iter().copied().zip(scores).collect(), first.k)]);
    }
    let room = |job: &Job| match &job.keep {
        Keep::Without(items) => job.k + items.len(),
        Keep::Only(_) => job.k,
    };
    let k = group.iter().map(room).max().unwrap_or(0);
    let ranking = first.live.trained().rank(&windows, &prompts, None, k)?;
    let filtered = |(top, job): (Top, &Job)| {
        let may = |item: &u32| match &job.keep {
            Keep::Without(items) => items.binary_search(item).is_err(),
            Keep::Only(items) => items.binary_search(item).is_ok(),
        };
        top.into_iter().filter(|(item, _)| may(item)).take(job.k).collect()
    };
    Ok(ranking.top.into_iter().zip(group).map(filtered).collect())
}

/// The `k` best, best first, equal scores by lower index.
fn best(mut scored: Top, k: usize) -> Top {
    scored.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored.truncate(k);
    scored
}
