//! Execution of an experiment on a Slurm cluster: one job array with an index per run, and a job
//! after it that writes the pages.
//!
//! A submission is a directory below that of the runs, with its tasks, its scripts and the number
//! of its job. A later call reads these numbers, queries the state of the jobs, and submits only
//! runs that are neither done nor queued.

mod profile;
mod scripts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

pub use profile::Profile;
use scripts::Submission;

use crate::files::write_file;
use crate::selection::PlannedExperiment;
use crate::task::Task;

/// Slurm states (`PENDING`, `RUNNING`, ..) of unfinished array indices, by the run's directory.
pub type QueuedRuns = BTreeMap<PathBuf, String>;

/// Options of a submission.
pub struct SubmitOptions<'a> {
    /// Resources of each run.
    pub profile: &'a Profile,
    /// Flags of `reproduce` that selected the experiment.
    pub selection: &'a [String],
    /// Print the scripts instead of submitting them.
    pub dry_run: bool,
}

/// Submits the runs with these indices, without those that are queued already.
///
/// # Errors
/// If the scripts cannot be written, or Slurm is missing or refuses them.
pub fn submit(
    planned: &PlannedExperiment,
    pending: &[usize],
    options: &SubmitOptions<'_>,
) -> Result<()> {
    let experiment = &planned.experiment;
    let queued = if options.dry_run {
        QueuedRuns::new()
    } else {
        queued_runs(&planned.runs)?
    };
    let mut tasks = Vec::new();
    for &i in pending {
        let task = experiment.task(&experiment.runs[i]);
        if !queued.contains_key(&task.dir) {
            tasks.push(task);
        }
    }
    if tasks.is_empty() {
        println!(
            "nothing to submit: {} runs are in the queue, the others are done or failed",
            queued.len()
        );
        return Ok(());
    }
    let dir = next_submission(&planned.runs)?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let submission = Submission {
        dir: &dir,
        program: &program,
        prl: planned.prl.program(),
        code: &experiment.code,
        tasks: tasks.len(),
        selection: options.selection,
    };
    let array = submission.array(options.profile);
    let gather = submission.gather(options.profile);
    if options.dry_run {
        println!("{array}\n{gather}");
        return Ok(());
    }
    let mut lines = String::new();
    for task in &tasks {
        lines += &serde_json::to_string(task)?;
        lines.push('\n');
    }
    write_file(&dir.join("tasks.jsonl"), lines)?;
    write_file(&dir.join("array.sh"), array)?;
    write_file(&dir.join("gather.sh"), gather)?;
    let job = sbatch(&[], &dir.join("array.sh"))?;
    write_file(&dir.join("job"), &job)?;
    let after = format!("--dependency=afterany:{job}");
    sbatch(&[&after], &dir.join("gather.sh"))?;
    println!(
        "job {job}: {} runs, then the pages; `cargo xtask status` prints their states",
        tasks.len()
    );
    Ok(())
}

/// Reads one task of a submission's task file.
///
/// # Errors
/// If the file cannot be read or has no such line.
pub fn read_task(path: &Path, index: usize) -> Result<Task> {
    let task = read_tasks(path)?.into_iter().nth(index);
    task.with_context(|| format!("{} has no line {}", path.display(), index + 1))
}

/// The unfinished runs of all submissions.
///
/// # Errors
/// If a submission cannot be read, or Slurm does not answer.
pub fn queued_runs(runs: &Path) -> Result<QueuedRuns> {
    let mut queued = QueuedRuns::new();
    for dir in submissions(runs)? {
        // Without this file, the submission was interrupted before `sbatch`.
        let Ok(job) = fs::read_to_string(dir.join("job")) else {
            continue;
        };
        let tasks = read_tasks(&dir.join("tasks.jsonl"))?;
        for (index, state) in job_states(job.trim())? {
            if let Some(task) = tasks.get(index) {
                queued.insert(task.dir.clone(), state);
            }
        }
    }
    Ok(queued)
}

fn read_tasks(path: &Path) -> Result<Vec<Task>> {
    let failed = || format!("failed to read {}", path.display());
    let text = fs::read_to_string(path).with_context(failed)?;
    let mut tasks = Vec::new();
    for line in text.lines() {
        tasks.push(serde_json::from_str(line).with_context(failed)?);
    }
    Ok(tasks)
}

/// Numbers of the submissions so far, in ascending order.
fn submission_numbers(dir: &Path) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    if dir.exists() {
        for entry in fs::read_dir(dir)? {
            numbers.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<u32>().ok()),
            );
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Directories of the submissions so far, oldest first.
fn submissions(runs: &Path) -> Result<Vec<PathBuf>> {
    let dir = runs.join("slurm");
    let numbers = submission_numbers(&dir)?;
    Ok(numbers.iter().map(|n| dir.join(n.to_string())).collect())
}

/// Directory of the next submission, as an absolute path.
fn next_submission(runs: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(runs)?.join("slurm");
    let last = submission_numbers(&dir)?.pop().unwrap_or(0);
    Ok(dir.join((last + 1).to_string()))
}

/// States of the unfinished indices of a job array.
fn job_states(job: &str) -> Result<Vec<(usize, String)>> {
    let mut squeue = Command::new("squeue");
    squeue.args(["--noheader", "--array", "--format=%K %T", "--jobs", job]);
    let output = squeue
        .output()
        .context("failed to run squeue; is this a machine of a Slurm cluster?")?;
    // Slurm forgets a job some time after its end, and then fails with this message.
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() || message.contains("Invalid job id"),
        "squeue failed: {}",
        message.trim()
    );
    let mut states = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((index, state)) = line.trim().split_once(' ')
            && let Ok(index) = index.parse()
        {
            states.push((index, state.to_owned()));
        }
    }
    Ok(states)
}

/// Submits a script and returns the number of its job.
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
    // The output is `job`, or `job;cluster`.
    let text = String::from_utf8_lossy(&output.stdout);
    let job = text.trim().split(';').next().unwrap_or_default();
    Ok(job.to_owned())
}
