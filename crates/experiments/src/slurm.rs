//! The matrix on a Slurm cluster: one job array, an index a run, and a job after it that writes the pages.
//!
//! A submission is a directory under the runs': its tasks, its scripts, the number of its job. What a later call finds there it
//! asks the cluster about, and submits only what is neither done nor in the queue.

mod profile;
mod scripts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::experiment::Study;
use crate::files::write_file;
use crate::prl_binary::PrlBinary;
use crate::task::Task;
pub use profile::Profile;
use scripts::Submission;

/// What the cluster says of an index that it has not finished: `PENDING`, `RUNNING` and so on, by the run's directory.
pub type Queued = BTreeMap<PathBuf, String>;

/// Writes the scripts for some runs of a study and submits them; with `dry_run` prints them. `choice` are the flags of
/// `reproduce` that chose the study.
pub fn submit(
    study: &Study,
    todo: &[usize],
    prl: &PrlBinary,
    profile: &Profile,
    runs: &Path,
    choice: &[String],
    dry_run: bool,
) -> Result<()> {
    let queued = if dry_run {
        Queued::new()
    } else {
        queued(runs)?
    };
    let tasks: Vec<Task> = todo.iter().map(|&i| study.task(&study.runs[i])).collect();
    let tasks: Vec<Task> = tasks
        .into_iter()
        .filter(|task| !queued.contains_key(&task.dir))
        .collect();
    if tasks.is_empty() {
        println!(
            "nothing to submit: {} runs are in the queue, the others are done or failed",
            queued.len()
        );
        return Ok(());
    }
    let dir = next(runs)?;
    let xtask = std::env::current_exe().context("failed to find this program")?;
    let submission = Submission {
        dir: &dir,
        xtask: &xtask,
        prl: prl.program(),
        code: &study.code,
        tasks: tasks.len(),
        choice,
    };
    let (array, gather) = (submission.array(profile), submission.gather(profile));
    if dry_run {
        println!("{array}\n{gather}");
        return Ok(());
    }
    let lines = tasks
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<Vec<_>, _>>()?;
    write_file(&dir.join("tasks.jsonl"), lines.join("\n") + "\n")?;
    write_file(&dir.join("array.sh"), array)?;
    write_file(&dir.join("gather.sh"), gather)?;
    let job = sbatch(&[], &dir.join("array.sh"))?;
    write_file(&dir.join("job"), &job)?;
    sbatch(
        &[&format!("--dependency=afterany:{job}")],
        &dir.join("gather.sh"),
    )?;
    println!(
        "job {job}: {} runs, then the pages; `cargo xtask status` says how they stand",
        tasks.len()
    );
    Ok(())
}

/// A task that a submission wrote down.
pub fn task(path: &Path, index: usize) -> Result<Task> {
    let line = read_lines(path)?.into_iter().nth(index);
    line.with_context(|| format!("{} has no line {}", path.display(), index + 1))
}

/// The runs that the cluster still has, of all submissions.
pub fn queued(runs: &Path) -> Result<Queued> {
    let mut queued = Queued::new();
    for dir in submissions(runs)? {
        let Ok(job) = fs::read_to_string(dir.join("job")) else {
            continue;
        };
        let tasks = read_lines(&dir.join("tasks.jsonl"))?;
        let still = states(job.trim())?.into_iter();
        queued.extend(
            still.filter_map(|(index, state)| Some((tasks.get(index)?.dir.clone(), state))),
        );
    }
    Ok(queued)
}

fn read_lines(path: &Path) -> Result<Vec<Task>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let parse = |line| {
        serde_json::from_str(line).with_context(|| format!("failed to read {}", path.display()))
    };
    text.lines().map(parse).collect()
}

/// The submissions so far, oldest first.
fn submissions(runs: &Path) -> Result<Vec<PathBuf>> {
    let dir = runs.join("slurm");
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let names = fs::read_dir(&dir)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut numbers: Vec<u32> = names.collect();
    numbers.sort_unstable();
    Ok(numbers
        .into_iter()
        .map(|number| dir.join(number.to_string()))
        .collect())
}

/// Where the next submission goes.
fn next(runs: &Path) -> Result<PathBuf> {
    let last = submissions(runs)?.pop();
    let number = last
        .and_then(|dir| dir.file_name()?.to_str()?.parse::<u32>().ok())
        .map_or(1, |last| last + 1);
    Ok(std::path::absolute(runs)?
        .join("slurm")
        .join(number.to_string()))
}

/// The indices of an array that are not finished, with their states.
fn states(job: &str) -> Result<Vec<(usize, String)>> {
    let mut squeue = Command::new("squeue");
    squeue.args(["--noheader", "--array", "--format=%K %T", "--jobs", job]);
    let output = squeue
        .output()
        .context("failed to run squeue; is this a machine of a Slurm cluster?")?;
    // It knows nothing any more of a job that ended a while ago, and says so as a failure.
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() || said.contains("Invalid job id"),
        "squeue failed: {}",
        said.trim()
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let state = |line: &str| {
        let (index, state) = line.trim().split_once(' ')?;
        Some((index.parse().ok()?, state.to_owned()))
    };
    Ok(text.lines().filter_map(state).collect())
}

/// Submits a script and returns its job's number.
fn sbatch(flags: &[&str], script: &Path) -> Result<String> {
    let mut sbatch = Command::new("sbatch");
    let output = sbatch.arg("--parsable").args(flags).arg(script).output();
    let output = output.context("failed to run sbatch; is this a machine of a Slurm cluster?")?;
    if !output.status.success() {
        bail!(
            "sbatch refused {}: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // `job` or `job;cluster`.
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(text.split(';').next().unwrap_or_default().to_owned())
}
