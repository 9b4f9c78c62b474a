//! `prl-reproduce`: the paper's tables and figures from raw logs, or from synthetic stand-ins where there are none.
//!
//! Everything is done by the `prl` binary, in a directory a run; results are read from those directories alone. So what is
//! done is skipped, a kill loses one run's last steps, and a second call with nothing left only writes the pages again. A run
//! that failed is not tried again unless that is asked for. Two at once on the same directories: the second is refused.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand};

use prl_experiments::outcome::Outcome;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::runner::{self, Compute};
use prl_experiments::selection::{Choice, Planned};
use prl_experiments::significance::Tests;
use prl_experiments::{Machine, Workspace, devices, paper, slurm};
use prl_report::provenance::Count;
use prl_report::{pages, status};

#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The paper's tables, from raw logs or synthetic stand-ins
    Reproduce(Box<Args>),
    /// How the runs of `reproduce` stand: done, running, queued, failed
    Status(Box<status::Args>),
    /// One task of a cluster's job array
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
        Command::Reproduce(args) => run(&workspace, *args),
        Command::Status(args) => status::run(&workspace, &args),
        Command::Perform(args) => perform(&workspace, &args),
    }
}

/// Flags of `reproduce`.
#[derive(clap::Args)]
struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Runs at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// auto, cpu, cuda or cuda:N; cuda spreads the runs over all GPUs
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of all runs together [default: one for each core]
    #[arg(long)]
    threads: Option<usize>,
    /// Try again what failed before
    #[arg(long, conflicts_with = "code")]
    retry_failed: bool,
    /// What makes the runs: this machine, or a Slurm cluster (a job array, and a job after it for the pages)
    #[arg(long, value_enum, default_value = "local")]
    launcher: Launcher,
    /// What the cluster gives each run: partition, time, cpus, memory, gpus, at_once, .. in a TOML file
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Print the cluster's scripts and submit nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Launcher {
    Local,
    Slurm,
}

/// Runs what is not done and writes the pages.
fn run(workspace: &Workspace, args: Args) -> Result<()> {
    ensure!(args.jobs > 0, "--jobs must be at least 1");
    let profile = args
        .profile
        .as_deref()
        .map(slurm::Profile::read)
        .transpose()?
        .unwrap_or_default();
    let device = if args.launcher == Launcher::Slurm {
        profile.device()
    } else {
        &args.device
    };
    let _held = args.choice.hold(workspace)?;
    let planned = args.choice.plan(workspace, device)?;
    let Planned {
        study,
        prl,
        runs,
        out,
    } = &planned;
    if args.launcher == Launcher::Slurm {
        let todo = runner::todo(study, &runner::look(study), args.retry_failed);
        return slurm::submit(
            study,
            &todo,
            prl,
            &profile,
            runs,
            &args.choice.flags(workspace)?,
            args.dry_run,
        );
    }
    let (paper, tests) = (paper::rows()?, Tests::default());
    let write = |outcomes: &[_]| pages::write(study, outcomes, &paper, &tests, out);
    let threads = args
        .threads
        .unwrap_or(study.machine.cores)
        .div_euclid(args.jobs)
        .max(1);
    let compute = Compute {
        threads,
        devices: devices::of_jobs(&args.device, args.jobs),
        retry_failed: args.retry_failed,
    };
    let (outcomes, failed) = if args.choice.is_of_the_past() {
        let outcomes = runner::look(study);
        write(&outcomes)?;
        (outcomes, 0)
    } else {
        runner::run(study, prl, &compute, write)?
    };
    println!("{}", out.join("README.md").display());
    let before = Count::of(&outcomes).failed - failed;
    if before > 0 {
        eprintln!(
            "{before} runs failed before and were not tried again; --retry-failed tries them"
        );
    }
    if failed > 0 {
        bail!("{failed} runs failed; their cells say why")
    } else {
        Ok(())
    }
}

/// Flags of `perform`.
#[derive(clap::Args)]
struct PerformArgs {
    /// A submission's tasks.jsonl
    #[arg(long)]
    tasks: PathBuf,
    /// Which of them
    #[arg(long)]
    index: usize,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    device: String,
}

/// Carries out one task of a submission: what each index of a job array does.
fn perform(workspace: &Workspace, args: &PerformArgs) -> Result<()> {
    let task = slurm::task(&args.tasks, args.index)?;
    match task.attempt(
        &PrlBinary::find(workspace, &args.device)?,
        &Machine::detect(workspace),
        args.threads,
        &args.device,
    )? {
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
