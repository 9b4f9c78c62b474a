//! The project's own chores, as `cargo xtask <task>`. Each task is a file; this one only names them.

mod bench;
mod ci;
mod pack;
mod programs;
mod reliability;
mod reproduce;
mod stand_in;
mod tidy;
mod timed;

use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::Result;
use clap::{Parser, Subcommand};
use prl_experiments::Workspace;

/// The project's own chores.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The paper's tables, from raw logs or synthetic stand-ins
    Reproduce(reproduce::Args),
    /// How the runs of `reproduce` stand: done, running, queued, failed
    Status(reproduce::Args),
    /// One task of a cluster's job array
    #[command(hide = true)]
    Perform(reproduce::Args),
    /// Speed, memory and growth: training steps, evaluation, preparation
    Bench(Box<bench::Args>),
    /// One folder for a machine with a GPU but neither Rust nor network: programs, data, and a script that starts them
    Pack(pack::Args),
    /// The tests that need a GPU, on a CPU in its place (needs x86-64 Linux, a CUDA toolkit, a C++ compiler)
    StandIn,
    /// What is promised of data and runs, tried: kills, failing and full disks, fuzzed readers, memory
    Reliability(reliability::Args),
    /// Formatting, lints, docs, tidy and every test: what a change must pass
    Ci,
    /// Checks of the repository itself: arrows between crates, module docs, links, file lengths
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    let task = Args::parse().task;
    match find_workspace().and_then(|()| perform(task)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Reproduce(args) => reproduce::run("reproduce", &args),
        Task::Status(args) => reproduce::run("status", &args),
        Task::Perform(args) => reproduce::run("perform", &args),
        Task::Bench(args) => bench::run(*args),
        Task::Pack(args) => pack::run(&args),
        Task::StandIn => stand_in::run(),
        Task::Reliability(args) => reliability::run(&args),
        Task::Ci => ci::run(),
        Task::Tidy(args) => tidy::run(&args),
    }
}

/// Workspace of this process; set once, at the start.
static WORKSPACE: OnceLock<Workspace> = OnceLock::new();

fn find_workspace() -> Result<()> {
    let workspace = Workspace::find()?;
    WORKSPACE.get_or_init(|| workspace);
    Ok(())
}

/// The repository or bundle that the tasks work in.
fn workspace() -> &'static Workspace {
    WORKSPACE.get_or_init(Workspace::repository)
}

/// Root directory of the [`workspace`].
fn root() -> &'static Path {
    &workspace().root
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
