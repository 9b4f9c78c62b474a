//! Local execution of an experiment: several runs at a time. Finished runs are skipped, interrupted
//! runs resume, and a failed run does not stop the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::experiment::Experiment;
use crate::outcome::{Failure, Outcome, RunResults};
use crate::prl_binary::PrlBinary;
use crate::progress::Progress;

/// Minimum time between two reports while runs are in progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Options of the runner; none of them changes a result.
pub struct RunnerOptions {
    /// Threads of each run.
    pub threads: usize,
    /// Devices of the concurrent runs, one entry each, as `prl` names them.
    pub devices: Vec<String>,
    /// Whether to run again what failed before.
    pub retry_failed: bool,
}

/// Reads the outcome of every run from its directory.
pub fn load_outcomes(experiment: &Experiment) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for run in &experiment.runs {
        outcomes.push(match RunResults::read(&run.dir, &run.prompts) {
            Ok(results) => Outcome::Done(results.into()),
            Err(_) => match Failure::read(&run.dir) {
                Some(failure) => Outcome::Failed(failure),
                None => Outcome::Pending,
            },
        });
    }
    outcomes
}

/// Makes all pending runs. `report` is called with the outcomes of all runs at the start, at
/// intervals, and at the end. Returns the outcomes and the number of runs that failed now.
///
/// # Errors
/// If a report or the record of a failure cannot be written.
pub fn run(
    experiment: &Experiment,
    prl: &PrlBinary,
    options: &RunnerOptions,
    report: impl Fn(&[Outcome]) -> Result<()> + Sync,
) -> Result<(Vec<Outcome>, usize)> {
    let outcomes = load_outcomes(experiment);
    report(&outcomes)?;
    let pending = pending_runs(experiment, &outcomes, options.retry_failed);
    let pool = Pool {
        experiment,
        prl,
        threads: options.threads,
        progress: Progress::new(experiment, &pending, options.devices.len()),
        pending,
        next: AtomicUsize::new(0),
        outcomes: Mutex::new(outcomes),
        last_report: Mutex::new(Instant::now()),
        report,
    };
    let failed = thread::scope(|scope| {
        let mut workers = Vec::new();
        for device in &options.devices {
            workers.push(scope.spawn(|| pool.work(device)));
        }
        let mut failed = 0;
        for worker in workers {
            match worker.join() {
                Ok(count) => failed += count?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        anyhow::Ok(failed)
    })?;
    let outcomes = pool.outcomes.into_inner();
    let outcomes = outcomes.unwrap_or_else(PoisonError::into_inner);
    if !pool.pending.is_empty() {
        (pool.report)(&outcomes)?;
    }
    Ok((outcomes, failed))
}

/// Indices of the runs to make, in their order: those with the first seed come first, so that each
/// table has all its rows as early as possible.
pub fn pending_runs(experiment: &Experiment, outcomes: &[Outcome], retry: bool) -> Vec<usize> {
    let mut pending = Vec::new();
    for (i, outcome) in outcomes.iter().enumerate() {
        let is_pending = match outcome {
            Outcome::Pending => true,
            Outcome::Failed(_) => retry,
            Outcome::Done(_) => false,
        };
        if is_pending {
            pending.push(i);
        }
    }
    pending.sort_by_key(|&i| experiment.runs[i].spec.seed);
    pending
}

/// State that the workers share.
struct Pool<'a, F> {
    experiment: &'a Experiment,
    prl: &'a PrlBinary,
    threads: usize,
    progress: Progress<'a>,
    pending: Vec<usize>,
    /// Position in `pending` of the next run to start.
    next: AtomicUsize,
    outcomes: Mutex<Vec<Outcome>>,
    last_report: Mutex<Instant>,
    report: F,
}

impl<F: Fn(&[Outcome]) -> Result<()>> Pool<'_, F> {
    /// Makes pending runs on one device until none is left; returns how many failed.
    fn work(&self, device: &str) -> Result<usize> {
        let mut failed = 0;
        while let Some(&i) = self.pending.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            self.progress.start(i);
            let task = self.experiment.task(&self.experiment.runs[i]);
            let machine = &self.experiment.machine;
            let outcome = task.attempt(self.prl, machine, self.threads, device)?;
            self.progress.end(i, &outcome);
            failed += usize::from(matches!(outcome, Outcome::Failed(_)));
            let snapshot = {
                let mut outcomes = lock(&self.outcomes);
                outcomes[i] = outcome;
                outcomes.clone()
            };
            // A worker does not wait while another writes the report: that one is recent enough.
            if let Ok(mut last) = self.last_report.try_lock()
                && last.elapsed() >= REPORT_INTERVAL
            {
                (self.report)(&snapshot)?;
                *last = Instant::now();
            }
        }
        Ok(failed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
