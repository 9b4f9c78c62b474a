//! `cargo xtask bench`: how fast it is, how much memory it takes, and how both grow; each page with the machine it is of.

mod growth;
mod peers;
mod prepare;
mod rounding;
mod serve;
mod steps;
pub(crate) use std::path::PathBuf;

use anyhow::Result;

use crate::root;

/// Flags of `bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    steps: steps::StepsArgs,
}

#[derive(clap::Subcommand)]
enum Task {
    /// The same steps in PyTorch, in turn with ours, in one run: installs PyTorch in an environment under target/
    Peers(peers::Args),
    /// Preparing raw logs, in turn with pandas and polars; batches cut, and the time to the first step
    Prepare(prepare::Args),
    /// Cost and memory against events, items, window and width
    Growth(growth::Args),
    /// What `--bf16-head` does to the metrics: runs with it and without on a prepared dataset
    Rounding(rounding::Args),
    /// A server under load, up to the rate at which it falls behind
    Serve(serve::Args),
}

/// Runs one of the benches.
pub fn run(args: Args) -> Result<()> {
    match args.task {
        None => steps::run(args.steps),
        Some(Task::Peers(args)) => peers::run(&args),
        Some(Task::Prepare(args)) => prepare::run(&args),
        Some(Task::Growth(args)) => growth::run(&args),
        Some(Task::Rounding(args)) => rounding::run(&args),
        Some(Task::Serve(args)) => serve::run(&args),
    }
}

/// Where the figures go unless told.
fn results() -> PathBuf {
    root().join("results/bench")
}
