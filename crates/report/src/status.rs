//! `cargo xtask status`: how the runs stand, without touching one.

use std::fs::File;
use std::path::Path;

use anyhow::Result;

use crate::markdown_table::markdown_table;
use prl_experiments::Workspace;
use prl_experiments::experiment::{Run, Study};
use prl_experiments::outcome::{Outcome, read_curve};
use prl_experiments::runner;
use prl_experiments::selection::Choice;
use prl_experiments::slurm::{self, Queued};

/// Flags of `status`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    choice: Choice,
    /// auto, cpu, cuda or cuda:N: what `prl` is built for where it is not built yet
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Prints how the runs stand: a count of each state, and a line for each that is at work or has failed.
///
/// # Errors
/// If the study cannot be planned, or the cluster does not answer.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let planned = args.choice.plan(workspace, &args.device)?;
    print!("{}", report(&planned.study, &slurm::queued(&planned.runs)?));
    Ok(())
}

fn report(study: &Study, queued: &Queued) -> String {
    let outcomes = runner::look(study);
    let states: Vec<State> = study
        .runs
        .iter()
        .zip(&outcomes)
        .map(|(run, o)| State::of(run, o, queued))
        .collect();
    let count = |name: &str| states.iter().filter(|state| state.name() == name).count();
    let counts = ["done", "running", "queued", "failed", "waiting"]
        .map(|name| format!("{} {name}", count(name)));
    let mut text = format!("{} runs: {}\n", states.len(), counts.join(", "));
    let rows: Vec<Vec<String>> = study
        .runs
        .iter()
        .zip(&states)
        .filter_map(|(run, state)| {
            let note = match state {
                State::Failed(message) => message.clone(),
                State::Running => read_curve(&run.dir)
                    .ok()?
                    .last()
                    .map_or("no validation yet".into(), |point| {
                        format!("validated at step {}", point.step)
                    }),
                _ => return None,
            };
            let title = format!("{} {}", study.dataset(run).source.title, run.spec.title());
            Some(vec![
                title,
                state.name().into(),
                note,
                run.dir.join("log.txt").display().to_string(),
            ])
        })
        .collect();
    if !rows.is_empty() {
        text += &format!("\n{}", markdown_table(&["run", "", "", "log"], 4, &rows));
    }
    text
}

/// How a run stands.
enum State {
    Done,
    /// A process works on it, on this machine or as the cluster says.
    Running,
    /// The cluster will.
    Queued,
    Failed(String),
    Waiting,
}

impl State {
    fn of(run: &Run, outcome: &Outcome, queued: &Queued) -> Self {
        match (outcome, queued.get(&run.dir).map(String::as_str)) {
            (Outcome::Done(_), _) => State::Done,
            (_, Some("RUNNING" | "COMPLETING")) => State::Running,
            (_, Some(_)) => State::Queued,
            (Outcome::Failed(failure), None) => State::Failed(failure.message.clone()),
            (Outcome::Pending, None) if is_held(&run.dir.join("log.txt")) => State::Running,
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
}

/// Whether a process holds the lock of a run's log.
fn is_held(log: &Path) -> bool {
    File::open(log).is_ok_and(|file| file.try_lock_shared().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::fixture;
    use prl_experiments::outcome::Failure;

    #[test]
    fn every_state_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let study = fixture::study(dir.path(), 1, true, Default::default());
        Failure {
            message: "error: the loss is NaN".into(),
        }
        .write(&study.runs[0].dir)
        .unwrap();
        let held = &study.runs[1].dir;
        std::fs::create_dir_all(held).unwrap();
        let log = File::create(held.join("log.txt")).unwrap();
        log.lock().unwrap();
        std::fs::write(held.join("metrics.jsonl"), "").unwrap();
        let queued = [(2, "RUNNING"), (3, "PENDING")]
            .map(|(i, state)| (study.runs[i].dir.clone(), state.to_owned()));
        std::fs::create_dir_all(&study.runs[2].dir).unwrap();
        std::fs::write(study.runs[2].dir.join("metrics.jsonl"), "").unwrap();
        let text = report(&study, &queued.into());
        let counts = format!(
            "{} runs: 0 done, 2 running, 1 queued, 1 failed, ",
            study.runs.len()
        );
        assert!(text.starts_with(&counts), "{text}");
        assert!(
            text.contains("| failed | error: the loss is NaN | "),
            "{text}"
        );
        // Not by closing it: a child that another test is just starting has it open too until it runs its program.
        log.unlock().unwrap();
        assert!(report(&study, &Queued::new()).contains(" 0 running"));
    }
}
