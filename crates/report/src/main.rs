//! `prl-reproduce`: makes the runs of the paper's tables and figures, from raw logs or synthetic
//! stand-ins, and writes their report.
//!
//! All work is done by the `prl` binary, in one directory per run, and the report is a function of
//! these directories. So finished runs are skipped, a kill loses the last steps of one run, and a
//! second call with nothing left to do writes the same report again. A failed run is repeated only
//! on request. A second process on the same directories is refused.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use prl_experiments::outcome::Outcome;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::runner::{self, RunnerOptions};
use prl_experiments::selection::{PlannedExperiment, Selection};
use prl_experiments::significance::TestCache;
use prl_experiments::slurm::{self, Profile, SubmitOptions};
use prl_experiments::{Machine, Workspace, devices, paper};
use prl_report::pages::ReportWriter;
use prl_report::provenance::RunCounts;
use prl_report::status;

/// Makes and reports the runs of the paper's experiments.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the runs of the paper's tables, from raw logs or synthetic stand-ins, and the report
    Reproduce(Box<ReproduceArgs>),
    /// States of the runs of `reproduce`: done, running, queued, failed
    Status(Box<status::Args>),
    /// Make one run of a job array of a cluster
    #[command(hide = true)]
    Perform(PerformArgs),
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Reproduce(args) => reproduce(&workspace, &args),
        Command::Status(args) => status::run(&workspace, &args),
        Command::Perform(args) => perform(&workspace, &args),
    }
}

/// Flags of `reproduce`.
#[derive(clap::Args)]
struct ReproduceArgs {
    #[command(flatten)]
    selection: Selection,
    /// Concurrent runs
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// auto, cpu, cuda or cuda:N; cuda spreads the runs over all GPUs
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of all runs together [default: one for each core]
    #[arg(long)]
    threads: Option<usize>,
    /// Repeat runs that have failed
    #[arg(long, conflicts_with = "code")]
    retry_failed: bool,
    /// Place of execution: this machine, or a Slurm cluster (a job array, and a job after
    /// it for the pages)
    #[arg(long, value_enum, default_value = "local")]
    launcher: Launcher,
    /// Resources of each run on the cluster: partition, time, cpus, memory, gpus, at_once, .. in a
    /// TOML file
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Print the cluster's scripts and submit nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Launcher {
    Local,
    Slurm,
}

/// Makes the pending runs and writes the report, or submits them to a cluster.
fn reproduce(workspace: &Workspace, args: &ReproduceArgs) -> Result<()> {
    ensure!(args.jobs > 0, "--jobs must be at least 1");
    let profile = match &args.profile {
        Some(path) => Profile::read(path)?,
        None => Profile::default(),
    };
    let device = match args.launcher {
        Launcher::Local => &args.device,
        Launcher::Slurm => profile.device(),
    };
    args.selection.check(workspace)?;
    let _locks = args.selection.lock(workspace)?;
    let planned = args.selection.plan(workspace, device)?;
    match args.launcher {
        Launcher::Local => run_here(&planned, args),
        Launcher::Slurm => {
            let experiment = &planned.experiment;
            let outcomes = runner::load_outcomes(experiment);
            let pending = runner::pending_runs(experiment, &outcomes, args.retry_failed);
            let options = SubmitOptions {
                profile: &profile,
                selection: &args.selection.flags(workspace)?,
                dry_run: args.dry_run,
            };
            slurm::submit(&planned, &pending, &options)
        }
    }
}

/// Makes the pending runs on this machine and writes the report.
fn run_here(planned: &PlannedExperiment, args: &ReproduceArgs) -> Result<()> {
    let experiment = &planned.experiment;
    let writer = ReportWriter {
        experiment,
        paper: &paper::load()?,
        cache: TestCache::default(),
        out: &planned.out,
    };
    let threads = args.threads.unwrap_or(experiment.machine.cores);
    let options = RunnerOptions {
        threads: (threads / args.jobs).max(1),
        devices: devices::assign(&args.device, args.jobs),
        retry_failed: args.retry_failed,
    };
    let (outcomes, failed) = if args.selection.is_report_only() {
        let outcomes = runner::load_outcomes(experiment);
        writer.write(&outcomes)?;
        (outcomes, 0)
    } else {
        let report = |outcomes: &[Outcome]| writer.write(outcomes);
        runner::run(experiment, &planned.prl, &options, report)?
    };
    print_summary(&planned.out, RunCounts::of(&outcomes).failed, failed)
}

/// Prints where the report is. Fails if runs failed now.
fn print_summary(out: &Path, all_failed: usize, failed_now: usize) -> Result<()> {
    println!("{}", out.join("README.md").display());
    let before = all_failed - failed_now;
    if before > 0 {
        eprintln!("{before} runs failed before and were not repeated; --retry-failed repeats them");
    }
    ensure!(
        failed_now == 0,
        "{failed_now} runs failed; the report contains their messages"
    );
    Ok(())
}

/// Flags of `perform`.
#[derive(clap::Args)]
struct PerformArgs {
    /// tasks.jsonl of a submission
    #[arg(long)]
    tasks: PathBuf,
    /// Index of the task
    #[arg(long)]
    index: usize,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    device: String,
}

/// Executes one task of a submission; each index of a job array does this.
fn perform(workspace: &Workspace, args: &PerformArgs) -> Result<()> {
    let task = slurm::read_task(&args.tasks, args.index)?;
    let prl = PrlBinary::find(workspace, &args.device)?;
    let machine = Machine::detect(workspace);
    match task.attempt(&prl, &machine, args.threads, &args.device)? {
        Outcome::Failed(failure) => bail!("{}: {}", task.dir.display(), failure.message),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_definition_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
