//! The runs, some at a time: what is done is skipped, what was begun goes on, what fails does not stop the rest.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::experiment::{Run, Study};
use crate::outcome::{Failure, Finished, Outcome};
use crate::prl_binary::PrlBinary;
use crate::progress::Progress;

/// Pages are written at most so often while runs are made.
const BETWEEN_PAGES: Duration = Duration::from_secs(10);

/// Where and how fast runs are made; none of it shapes a result.
pub struct Compute {
    /// Threads of each run.
    pub threads: usize,
    /// The device of each of the runs at a time, as `prl` names it.
    pub devices: Vec<String>,
    /// Whether what failed before is tried again.
    pub retry_failed: bool,
}

/// Every run as it stands, from its directory.
pub fn look(study: &Study) -> Vec<Outcome> {
    let read = |run: &Run| match Finished::read(&run.dir, &run.asks) {
        Ok(finished) => Outcome::Done(finished.into()),
        Err(_) => Failure::read(&run.dir).map_or(Outcome::Pending, Outcome::Failed),
    };
    study.runs.iter().map(read).collect()
}

/// Makes every run that is not done, and calls `changed` with how all of them stand: at first, now and then, and in the end.
/// Returns how they stand and how many failed now.
pub fn run(
    study: &Study,
    prl: &PrlBinary,
    compute: &Compute,
    changed: impl Fn(&[Outcome]) -> Result<()> + Sync,
) -> Result<(Vec<Outcome>, usize)> {
    let outcomes = look(study);
    changed(&outcomes)?;
    let todo = todo(study, &outcomes, compute.retry_failed);
    let progress = Progress::new(study, &todo, compute.devices.len());
    let (next, board, page) = (
        AtomicUsize::new(0),
        Mutex::new(outcomes),
        Mutex::new(Instant::now()),
    );
    let worker = |device: &str| -> Result<usize> {
        let mut failed = 0;
        while let Some(&i) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
            progress.start(i);
            let outcome =
                study
                    .task(&study.runs[i])
                    .attempt(prl, &study.machine, compute.threads, device)?;
            progress.end(i, &outcome);
            failed += usize::from(matches!(outcome, Outcome::Failed(_)));
            let snapshot = {
                let mut board = lock(&board);
                board[i] = outcome;
                board.clone()
            };
            // Whoever finds another at the pages leaves them to it.
            if let Ok(mut written) = page.try_lock()
                && written.elapsed() >= BETWEEN_PAGES
            {
                changed(&snapshot)?;
                *written = Instant::now();
            }
        }
        Ok(failed)
    };
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = compute
            .devices
            .iter()
            .map(|device| scope.spawn(|| worker(device)))
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Result<usize>>| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).sum::<Result<usize>>()
    })?;
    let outcomes = board
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if !todo.is_empty() {
        changed(&outcomes)?;
    }
    Ok((outcomes, failed))
}

/// What is to be made: first everything with its first seed, so that each table is whole as early as it can be.
pub fn todo(study: &Study, outcomes: &[Outcome], retry_failed: bool) -> Vec<usize> {
    let is_wanted = |outcome: &Outcome| match outcome {
        Outcome::Pending => true,
        Outcome::Failed(_) => retry_failed,
        Outcome::Done(_) => false,
    };
    let mut todo: Vec<usize> = (0..outcomes.len())
        .filter(|&i| is_wanted(&outcomes[i]))
        .collect();
    todo.sort_by_key(|&i| study.runs[i].spec.seed);
    todo
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
