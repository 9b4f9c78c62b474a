//! `prl-bench`: speed, memory use and growth of the system. Every page names the machine that it
//! was measured on. `cargo xtask bench` builds and runs it.

mod benchmarks;
mod cells;
mod compare;
mod grow;
mod growth;
mod host;
mod index;
mod matrix_cost;
mod neighbours;
mod peers;
mod prepare;
mod programs;
mod recipes;
mod rectools;
mod roofline;
mod rounding;
mod serve;
mod steps;
mod value;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use prl_experiments::Workspace;

/// Benches; without a subcommand: training steps and ranking of each encoder and method.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    steps: steps::StepsArgs,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Training steps in PyTorch, in turn with ours (installs PyTorch under target/)
    Peers(peers::Args),
    /// Preparation of raw logs in turn with pandas and polars; batch cutting; time to the first
    /// step
    Prepare(prepare::Args),
    /// Time and memory against events, items, window length and hidden size
    Growth(growth::Args),
    /// Latency and memory of the neighbour searches against the size of the log
    Neighbours(neighbours::Args),
    /// Daily retraining from the run of the day before, beside training from nothing
    Grow(grow::Args),
    /// SASRec of RecTools beside ours on a prepared dataset (installs RecTools under target/)
    Rectools(rectools::Args),
    /// Both recipes and the baselines on real logs with clicks and purchases
    Recipes(recipes::Args),
    /// Effect of `--bf16-head` on the metrics: runs with and without it on a prepared dataset
    Rounding(rounding::Args),
    /// Public click benchmarks beside published results: every encoder, both recipes, baselines
    Benchmarks(benchmarks::Args),
    /// Returns of prompts, tilts and adaptive prompts in the simulated shop
    Value(value::Args),
    /// Latency of a server at rising request rates, up to saturation
    Serve(serve::Args),
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    let workspace = &Workspace::find()?;
    match args.task {
        None => steps::run(workspace, &args.steps),
        Some(Task::Peers(args)) => peers::run(workspace, &args),
        Some(Task::Prepare(args)) => prepare::run(workspace, &args),
        Some(Task::Growth(args)) => growth::run(workspace, &args),
        Some(Task::Neighbours(args)) => neighbours::run(workspace, &args),
        Some(Task::Grow(args)) => grow::run(workspace, &args),
        Some(Task::Rounding(args)) => rounding::run(workspace, &args),
        Some(Task::Benchmarks(args)) => benchmarks::run(workspace, &args),
        Some(Task::Rectools(args)) => rectools::run(workspace, &args),
        Some(Task::Recipes(args)) => recipes::run(workspace, &args),
        Some(Task::Value(args)) => value::run(workspace, &args),
        Some(Task::Serve(args)) => serve::run(workspace, &args),
    }
}

/// Directory of the machines' folders.
fn results(workspace: &Workspace) -> PathBuf {
    workspace.root.join("results/bench")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
