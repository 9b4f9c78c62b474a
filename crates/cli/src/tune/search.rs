//! The search: starts trials, follows their validations, stops and records them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Instant;

use prl_tune::{Pruner, Status, Trial};

use super::candidates::Candidates;
use super::output::Output;
use super::process::{Launcher, POLL, Training, wait_for_orphan};
use super::search_dir::SearchDir;
use crate::exit::EXIT_INTERRUPTED;

/// Trials that fail one after the other before the search ends: their cause is not the settings.
const MAX_FAILURES: usize = 10;

/// Ends of a search.
pub(super) struct Limits {
    /// Time at which the trials are interrupted.
    pub(super) deadline: Option<Instant>,
    /// Number of trials.
    pub(super) trials: Option<u64>,
    /// Trials at a time.
    pub(super) jobs: usize,
}

/// Reason why a search has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The time is over, or the trials are made, or the space has no other.
    Done,
    /// A signal.
    Interrupted,
}

/// A search in progress.
pub(super) struct Search<'a> {
    pub(super) candidates: &'a Candidates,
    pub(super) dir: &'a SearchDir,
    pub(super) launcher: Launcher,
    pub(super) pruner: Pruner,
    pub(super) seed: u64,
    pub(super) limits: Limits,
    pub(super) stop: &'a AtomicBool,
    pub(super) trials: Vec<Trial>,
}

/// A trial whose process is running.
struct Running {
    number: usize,
    training: Training,
    /// Validations that the pruner has seen.
    judged: usize,
    /// Whether it has stopped the trial, at the last of them.
    is_stopped: bool,
}

impl Search<'_> {
    /// Runs trials until a limit is reached. The trials that are running then are interrupted; they
    /// write checkpoints and stay incomplete.
    ///
    /// # Errors
    /// If files cannot be written or processes not started. A trial that fails is no error.
    pub(super) fn run(&mut self, output: &mut Output<'_>) -> anyhow::Result<End> {
        let mut pending: Vec<usize> = Vec::new();
        for trial in &self.trials {
            if trial.status == Status::Incomplete {
                wait_for_orphan(self.dir, trial.number, || self.end().is_some())?;
                pending.push(trial.number as usize);
            }
        }
        pending.reverse();
        output.report(&self.trials)?;
        let mut running = Vec::new();
        let ended = self.run_trials(&mut pending, &mut running, output);
        // Also after an error: no process is left behind.
        for Running { training, .. } in &mut running {
            training.terminate();
        }
        for Running { training, .. } in &mut running {
            training.wait()?;
        }
        ended
    }

    fn run_trials(
        &mut self,
        pending: &mut Vec<usize>,
        running: &mut Vec<Running>,
        output: &mut Output<'_>,
    ) -> anyhow::Result<End> {
        let max_epochs = self.candidates.max_epochs()?;
        let mut failures = 0;
        loop {
            if let Some(end) = self.end() {
                return Ok(end);
            }
            let mut is_exhausted = false;
            while running.len() < self.limits.jobs && !is_exhausted {
                match self.next(pending)? {
                    Some(started) => running.push(started),
                    None => is_exhausted = true,
                }
            }
            if running.is_empty() || failures >= MAX_FAILURES {
                return Ok(End::Done);
            }
            sleep(POLL);
            for i in (0..running.len()).rev() {
                if self.has_ended(&mut running[i], max_epochs)? {
                    let number = running.remove(i).number;
                    let status = self.trials[number].status;
                    failures = match status {
                        Status::Failed => failures + 1,
                        _ => 0,
                    };
                    if status != Status::Incomplete {
                        self.record(number, output)?;
                    }
                }
            }
        }
    }

    /// The end of the search, if a signal or the time has brought it.
    fn end(&self) -> Option<End> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(End::Interrupted);
        }
        match self.limits.deadline {
            Some(deadline) if Instant::now() >= deadline => Some(End::Done),
            _ => None,
        }
    }

    /// Starts an incomplete trial, or a new one; `None` if there is none.
    fn next(&mut self, pending: &mut Vec<usize>) -> anyhow::Result<Option<Running>> {
        let number = match pending.pop() {
            Some(number) => number,
            None => {
                let made = self.trials.len() as u64;
                if self.limits.trials.is_some_and(|limit| made >= limit) {
                    return Ok(None);
                }
                let Some(settings) = self.candidates.propose(&self.trials, self.seed)? else {
                    return Ok(None);
                };
                let trial = Trial::new(made, settings);
                self.dir.log.start(&trial)?;
                self.trials.push(trial);
                made as usize
            }
        };
        let trial = &self.trials[number];
        let config = self.candidates.config(&trial.settings);
        let config = config.map_err(anyhow::Error::msg)?;
        let training = self.launcher.start(self.dir, trial, &config)?;
        Ok(Some(Running {
            number,
            training,
            judged: 0,
            is_stopped: false,
        }))
    }

    /// Follows a running trial; `true` if its process has ended. The trial then has its state.
    fn has_ended(&mut self, running: &mut Running, max_epochs: u64) -> anyhow::Result<bool> {
        // Before the metrics are read, so that those of an ended process are complete.
        let exit = running.training.exit_status()?;
        let (mut curve, seconds) = running.training.curve();
        while running.judged < curve.len() && !running.is_stopped {
            running.judged += 1;
            let so_far = &curve[..running.judged];
            let number = running.number as u64;
            running.is_stopped = self.pruner.stops(number, so_far, &self.trials, max_epochs);
        }
        if running.is_stopped {
            running.training.terminate();
            // The result does not depend on how far the process went meanwhile.
            curve.truncate(running.judged);
        }
        let trial = &mut self.trials[running.number];
        (trial.curve, trial.seconds) = (curve, seconds);
        let Some(exit) = exit else {
            return Ok(false);
        };
        (trial.status, trial.message) = match exit.code() {
            _ if running.is_stopped => (Status::Stopped, None),
            Some(0) => (Status::Finished, None),
            Some(code) if code == i32::from(EXIT_INTERRUPTED) => (Status::Incomplete, None),
            _ => (Status::Failed, Some(running.training.message(exit))),
        };
        Ok(true)
    }

    /// Records a trial that has ended.
    fn record(&self, number: usize, output: &mut Output<'_>) -> anyhow::Result<()> {
        let trial = &self.trials[number];
        self.dir.log.end(trial)?;
        self.dir.clear(trial)?;
        self.dir.link_best(&self.trials)?;
        output.ended(trial, &self.trials)
    }
}
