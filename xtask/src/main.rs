//! Chores of this repository, as `cargo xtask TASK`: one file per task. Nothing of it ships.

mod book;
mod ci;
mod clean_root;
mod cuda_emulator;
mod dist;
mod docs_check;
mod forward;
mod licenses;
mod package;
mod programs;
mod release;
mod reliability;
mod tidy;

use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::Result;
use clap::{Parser, Subcommand};
use prl_experiments::Workspace;

/// Chores of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The paper's tables, from raw logs or synthetic ones
    Reproduce(forward::Args),
    /// State of the runs of `reproduce`: done, running, queued, failed
    Status(forward::Args),
    /// One task of a cluster's job array
    #[command(hide = true)]
    Perform(forward::Args),
    /// Speed, memory and growth: training steps, evaluation, preparation, serving
    Bench(forward::Args),
    /// Public click benchmarks beside published results
    Benchmarks(forward::Args),
    /// A directory with programs and data for a machine that has a GPU but neither Rust nor a
    /// network
    #[command(alias = "pack")]
    Dist(dist::Args),
    /// The GPU tests on a CPU (needs x86-64 Linux, a CUDA toolkit and a C++ compiler)
    #[command(alias = "stand-in")]
    CudaEmulator,
    /// Tests of the guarantees for data and runs: kills, failing and full disks, fuzzed readers,
    /// memory
    Reliability(reliability::Args),
    /// All checks of a change: format, lints, docs, tidy and every test
    Ci,
    /// Package the libraries that other programs use, and build them from their archives
    Package(package::Args),
    /// The files of a release for one target: archive, bill of materials, notes, checksums
    Release(release::Args),
    /// The first minutes in a system with nothing installed: the program, `prl demo`, a browser
    /// (needs root and debootstrap)
    CleanRoot(clean_root::Args),
    /// The crates in the `prl` binary with their licences, which deny.toml must allow
    Licenses(licenses::Args),
    /// The reference pages and the book as a site (needs Zensical)
    Book(book::Args),
    /// The commands of the README and of the book's first pages, run in an empty directory
    DocsCheck(docs_check::Args),
    /// Repository rules: dependencies between crates, module docs, links, file lengths, copied
    /// numbers
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    match perform(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Reproduce(args) => forward::reproduce("reproduce", &args),
        Task::Status(args) => forward::reproduce("status", &args),
        Task::Perform(args) => forward::reproduce("perform", &args),
        Task::Bench(args) => forward::bench(&args),
        Task::Benchmarks(args) => forward::benchmarks(&args),
        Task::Dist(args) => dist::run(&args),
        Task::CudaEmulator => cuda_emulator::run(),
        Task::Reliability(args) => reliability::run(&args),
        Task::Ci => ci::run(),
        Task::Package(args) => package::run(&args),
        Task::CleanRoot(args) => clean_root::run(&args),
        Task::Release(args) => release::run(&args),
        Task::Licenses(args) => licenses::run(&args),
        Task::Book(args) => book::run(&args),
        Task::DocsCheck(args) => docs_check::run(&args),
        Task::Tidy(args) => tidy::run(&args),
    }
}

/// This repository, in which every task works.
fn workspace() -> &'static Workspace {
    static WORKSPACE: LazyLock<Workspace> = LazyLock::new(Workspace::repository);
    &WORKSPACE
}

/// Root directory of this repository.
fn root() -> &'static Path {
    &workspace().root
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        super::Args::command().debug_assert();
    }

    #[test]
    fn former_task_names_are_accepted() {
        let command = super::Args::command();
        for (former, name) in [("pack", "dist"), ("stand-in", "cuda-emulator")] {
            let found = command.find_subcommand(former).unwrap();
            assert_eq!(found.get_name(), name);
        }
    }
}
