//! `status`: states of the runs, read without changing anything.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use prl_experiments::Workspace;
use prl_experiments::experiment::{Experiment, PlannedRun};
use prl_experiments::outcome::{Outcome, read_curve};
use prl_experiments::runner::load_outcomes;
use prl_experiments::selection::Selection;
use prl_experiments::slurm::{self, QueuedRuns};

use crate::markdown_table::markdown_table;

/// Flags of `status`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// auto, cpu, cuda or cuda:N: device that `prl` is built for if it is not built yet
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Prints the number of runs in each state, and a line for each that is running or has failed.
///
/// # Errors
/// If the experiment cannot be planned, or the cluster does not answer.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let planned = args.selection.plan(workspace, &args.device)?;
    let queued = slurm::queued_runs(&planned.runs)?;
    print!("{}", report(&planned.experiment, &queued));
    Ok(())
}

fn report(experiment: &Experiment, queued: &QueuedRuns) -> String {
    const STATES: [&str; 5] = ["done", "running", "queued", "failed", "waiting"];
    let mut counts = [0; STATES.len()];
    let mut rows = Vec::new();
    let outcomes = load_outcomes(experiment);
    for (run, outcome) in experiment.runs.iter().zip(&outcomes) {
        let state = State::of(run, outcome, queued);
        for (count, name) in counts.iter_mut().zip(STATES) {
            *count += usize::from(state.name() == name);
        }
        if let Some(note) = state.note(run) {
            rows.push(vec![
                experiment.run_title(run),
                state.name().into(),
                note,
                run.dir.join("log.txt").display().to_string(),
            ]);
        }
    }
    let mut summary = Vec::new();
    for (count, name) in counts.into_iter().zip(STATES) {
        summary.push(format!("{count} {name}"));
    }
    let mut text = format!("{} runs: {}\n", outcomes.len(), summary.join(", "));
    if !rows.is_empty() {
        text += &format!("\n{}", markdown_table(&["run", "", "", "log"], 4, &rows));
    }
    text
}

/// State of a run.
enum State {
    Done,
    /// A process works on it, here or on the cluster.
    Running,
    /// In the queue of the cluster.
    Queued,
    Failed(String),
    /// Neither started nor queued.
    Waiting,
}

impl State {
    fn of(run: &PlannedRun, outcome: &Outcome, queued: &QueuedRuns) -> Self {
        match (outcome, queued.get(&run.dir).map(String::as_str)) {
            (Outcome::Done(_), _) => State::Done,
            (_, Some("RUNNING" | "COMPLETING")) => State::Running,
            (_, Some(_)) => State::Queued,
            (Outcome::Failed(failure), None) => State::Failed(failure.message.clone()),
            (Outcome::Pending, None) if is_locked(&run.dir.join("log.txt")) => State::Running,
            (Outcome::Pending, None) => State::Waiting,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            State::Done => "done",
            State::Running => "running",
            State::Queued => "queued",
            State::Failed(_) => "failed",
            State::Waiting => "waiting",
        }
    }

    /// Note on a run that is listed: its failure, or its progress.
    fn note(&self, run: &PlannedRun) -> Option<String> {
        match self {
            State::Failed(message) => Some(message.clone()),
            State::Running => match read_curve(&run.dir).ok()?.last() {
                Some(point) => Some(format!("validated at step {}", point.step)),
                None => Some("no validation yet".into()),
            },
            State::Done | State::Queued | State::Waiting => None,
        }
    }
}

/// Whether a process holds the lock of a run's log.
fn is_locked(log: &Path) -> bool {
    File::open(log).is_ok_and(|file| file.try_lock_shared().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::fixture;
    use prl_experiments::outcome::Failure;

    #[test]
    fn report_distinguishes_all_states() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = fixture::experiment(dir.path(), 1, true, Default::default());
        Failure {
            message: "error: the loss is NaN".into(),
        }
        .write(&experiment.runs[0].dir)
        .unwrap();
        let held = &experiment.runs[1].dir;
        std::fs::create_dir_all(held).unwrap();
        let log = File::create(held.join("log.txt")).unwrap();
        log.lock().unwrap();
        std::fs::write(held.join("metrics.jsonl"), "").unwrap();
        let queued = [(2, "RUNNING"), (3, "PENDING")]
            .map(|(i, state)| (experiment.runs[i].dir.clone(), state.to_owned()));
        std::fs::create_dir_all(&experiment.runs[2].dir).unwrap();
        std::fs::write(experiment.runs[2].dir.join("metrics.jsonl"), "").unwrap();
        let text = report(&experiment, &queued.into());
        let counts = format!(
            "{} runs: 0 done, 2 running, 1 queued, 1 failed, ",
            experiment.runs.len()
        );
        assert!(text.starts_with(&counts), "{text}");
        assert!(
            text.contains("| failed | error: the loss is NaN | "),
            "{text}"
        );
        // Closing the file would not do: a child that another test is starting has it open too,
        // until it executes its program.
        log.unlock().unwrap();
        assert!(report(&experiment, &QueuedRuns::new()).contains(" 0 running"));
    }
}
