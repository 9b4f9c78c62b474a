//! The `prl` command as a library: prepares data, trains, evaluates, recommends and serves.
//!
//! Each command is a file that parses its flags, calls a library and prints. Results go to stdout,
//! logs and progress to stderr. Exit codes: 0 success, 1 failure, 2 usage, 3 bad input data,
//! 130 interrupted (after a checkpoint).

pub mod api;
mod blend;
mod client;
#[cfg(all(feature = "data", feature = "serve"))]
mod demo;
mod docs;
mod evaluate;
mod exit;
mod export;
mod flags;
mod forecast;
mod hints;
mod import;
mod inspect;
#[cfg(feature = "serve")]
mod key;
mod models;
#[cfg(feature = "mpi")]
mod mpi;
mod ope;
mod output;
#[cfg(feature = "data")]
mod prepare;
mod program;
mod recommend;
mod remote;
#[cfg(feature = "serve")]
mod serve;
mod settings;
#[cfg(feature = "data")]
mod simulate;
#[cfg(feature = "serve")]
mod state;
#[cfg(feature = "data")]
mod synth;
mod train;
mod tune;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use program::{Program, set_program};

/// Session recommender that can be asked for value
///
/// Exit codes: 0 success, 1 failure, 2 usage, 3 bad input data, 130 interrupted (after a
/// checkpoint).
#[derive(Parser)]
#[command(name = "prl", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "data")]
    Prepare(Box<prepare::Args>),
    #[cfg(feature = "data")]
    Synth(synth::Args),
    #[cfg(feature = "data")]
    Simulate(Box<simulate::Args>),
    Inspect(inspect::Args),
    Train(Box<train::Args>),
    Tune(tune::Args),
    Blend(blend::Args),
    Evaluate(evaluate::Args),
    Forecast(forecast::Args),
    Recommend(Box<recommend::Args>),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    Models(models::Args),
    Export(export::Args),
    Import(import::Args),
    #[cfg(feature = "serve")]
    State(state::Args),
    #[cfg(feature = "serve")]
    Key(key::Args),
    Ope(ope::Args),
    #[cfg(all(feature = "data", feature = "serve"))]
    Demo(demo::Args),
    Completions(docs::CompletionsArgs),
    Man(docs::ManArgs),
}

impl Command {
    /// Whether the command reads or writes a raw log.
    fn is_preparation(&self) -> bool {
        match self {
            #[cfg(feature = "data")]
            Command::Prepare(_) | Command::Synth(_) => true,
            _ => false,
        }
    }

    /// Whether the log consists of JSON objects.
    fn logs_json(&self) -> bool {
        match self {
            #[cfg(feature = "serve")]
            Command::Serve(args) => args.log_format() == serve::web::LogFormat::Json,
            _ => false,
        }
    }
}

/// Runs the command of this process's arguments; the binary's `main`.
pub fn main() -> ExitCode {
    ExitCode::from(code_from(std::env::args_os()))
}

/// Runs the command of `args`, whose first one is the program's name, and returns its exit code. A
/// usage error, `--help` and `--version` print and end the process, as in any program.
pub fn code_from(args: impl IntoIterator<Item = OsString>) -> u8 {
    let given: Vec<OsString> = args.into_iter().collect();
    let command = Cli::parse_from(&given).command;
    // The allocator keeps what training frees for the next step. A preparation allocates its
    // largest arrays once, and returns them to the system.
    if command.is_preparation() {
        prl_kernels::runtime::prepare_for_logs();
    } else {
        prl_kernels::runtime::prepare();
    }
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("PRL_LOG").unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        // Errors of a closed stderr would be written to stderr, with a panic.
        .log_internal_errors(false);
    if command.logs_json() {
        log.json().flatten_event(true).with_span_list(false).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init();
    }
    let result = match command {
        #[cfg(feature = "data")]
        Command::Prepare(args) => prepare::run(*args, &given[1..]),
        #[cfg(feature = "data")]
        Command::Synth(args) => synth::run(args),
        #[cfg(feature = "data")]
        Command::Simulate(args) => simulate::run(*args),
        Command::Inspect(args) => inspect::run(args),
        Command::Train(args) => train::run(*args),
        Command::Tune(args) => tune::run(args),
        Command::Blend(args) => blend::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Forecast(args) => forecast::run(args),
        Command::Recommend(args) => recommend::run(*args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(*args),
        Command::Models(args) => models::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        #[cfg(feature = "serve")]
        Command::State(args) => state::run(args),
        #[cfg(feature = "serve")]
        Command::Key(args) => key::run(args),
        Command::Ope(args) => ope::run(args),
        #[cfg(all(feature = "data", feature = "serve"))]
        Command::Demo(args) => demo::run(args),
        Command::Completions(args) => docs::completions(args),
        Command::Man(args) => docs::man(args),
    };
    match result {
        Ok(()) => 0,
        Err(error) => exit::report(&error),
    }
}
