//! `prl`: from a raw click log to a recommendation that can be asked for value.
//!
//! Thin glue: each command is a file that parses its flags, calls a library and prints. Results go to stdout, logs and
//! progress to stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 bad input data, 130 interrupted (after a checkpoint).

mod evaluate;
mod exit;
mod flags;
mod inspect;
#[cfg(feature = "mpi")]
mod mpi;
mod output;
#[cfg(feature = "data")]
mod prepare;
mod recommend;
#[cfg(feature = "data")]
mod reexec;
mod remote;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "data")]
mod synth;
mod train;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A session recommender that can be asked for value.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 bad input data, 130 interrupted (after a checkpoint).
#[derive(Parser)]
#[command(name = "prl", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "data")]
    Prepare(prepare::Args),
    #[cfg(feature = "data")]
    Synth(synth::Args),
    Inspect(inspect::Args),
    Train(Box<train::Args>),
    Evaluate(evaluate::Args),
    Recommend(recommend::Args),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
}

fn main() -> ExitCode {
    prl_kernels::runtime::prepare();
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("PRL_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_env_filter(filter)
        .with_target(false)
        // What it would say of a closed stderr goes to stderr, in a panic.
        .log_internal_errors(false)
        .init();
    let done = match Cli::parse().command {
        #[cfg(feature = "data")]
        Command::Prepare(args) => prepare::run(args),
        #[cfg(feature = "data")]
        Command::Synth(args) => synth::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Train(args) => train::run(*args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Recommend(args) => recommend::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
