//! The commands as functions, for a program that calls them in its own process: arguments as on the
//! command line, results as values, nothing printed but warnings on stderr.

use std::any::TypeId;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, FromArgMatches};
use prl_model::{ProcessGroup, SingleProcess};
use prl_runs::RunManifest;
use prl_train::{Observer, Outcome};
use serde_json::Value;

use crate::exit::{self, Usage};
use crate::{Cli, evaluate, ope, train, tune};

/// Kind of a failure, by the exit code that the command line gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The machine, or anything else (1).
    Failed,
    /// Arguments or settings (2).
    Usage,
    /// A log, dataset, run or file (3).
    BadInput,
    /// A requested end, after a checkpoint (130).
    Interrupted,
}

/// A failure, with the message of the command line.
#[derive(Clone, Debug)]
pub struct Error {
    /// Kind.
    pub kind: Kind,
    /// The message, without `error: `.
    pub message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        let kind = match exit::code(&error) {
            exit::USAGE => Kind::Usage,
            exit::BAD_INPUT => Kind::BadInput,
            exit::EXIT_INTERRUPTED => Kind::Interrupted,
            _ => Kind::Failed,
        };
        Self {
            kind,
            message: exit::message(&error),
        }
    }
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, Error>;

/// One flag of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name, without the dashes.
    pub name: String,
    /// Whether it takes a value; otherwise it is set or not.
    pub takes_value: bool,
    /// Whether it can be given several times, or takes several values.
    pub is_list: bool,
    /// Separator of several values in one text.
    pub separator: Option<char>,
    /// Type of its values.
    pub of: ValueType,
    /// Names of its values, if they are few.
    pub values: Vec<String>,
    /// Help text.
    pub help: String,
}

/// Type of a flag's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A path.
    Path,
    /// Text with a syntax of its own.
    Text,
}

impl ValueType {
    fn of(argument: &clap::Arg) -> Self {
        let own = argument.get_value_parser().type_id();
        let is_one_of = |types: &[TypeId]| types.iter().any(|of| own == *of);
        if is_one_of(&[
            TypeId::of::<u64>(),
            TypeId::of::<u32>(),
            TypeId::of::<usize>(),
        ]) {
            Self::Integer
        } else if is_one_of(&[TypeId::of::<f64>()]) {
            Self::Number
        } else if is_one_of(&[TypeId::of::<PathBuf>()]) {
            Self::Path
        } else {
            Self::Text
        }
    }
}

/// The flags of a command, in the order of its help; `None` if there is no such command. A
/// subcommand follows its command's name: `models list`.
pub fn flags(command: &str) -> Option<Vec<Flag>> {
    let cli = Cli::command();
    let mut command_words = command.split_whitespace();
    let mut command = cli.find_subcommand(command_words.next()?)?;
    for word in command_words {
        command = command.find_subcommand(word)?;
    }
    let mut flags = Vec::new();
    for argument in command.get_arguments() {
        let Some(name) = argument.get_long() else {
            continue;
        };
        let action = argument.get_action();
        let most = argument.get_num_args().map_or(1, |n| n.max_values());
        let mut values = Vec::new();
        for value in argument.get_possible_values() {
            values.push(value.get_name().to_owned());
        }
        flags.push(Flag {
            name: name.to_owned(),
            takes_value: action.takes_values(),
            is_list: action.takes_values()
                && (matches!(action, clap::ArgAction::Append) || most > 1),
            separator: argument.get_value_delimiter(),
            of: ValueType::of(argument),
            values,
            help: argument
                .get_help()
                .map(|h| h.to_string())
                .unwrap_or_default(),
        });
    }
    Some(flags)
}

/// Prepares a dataset from a frame in memory: one row an event, columns as `--columns` maps them.
/// Returns the manifest as JSON.
///
/// # Errors
/// As of the command, with rows counted from 1.
#[cfg(feature = "data")]
pub fn prepare_frame(frame: prl_data::LazyFrame, arguments: &[String]) -> Result<Value> {
    // The parser demands a source; that of the frame replaces it.
    let mut all = vec!["--source".to_owned(), "csv".to_owned()];
    all.extend_from_slice(arguments);
    let manifest = crate::prepare::of_frame(parse("prepare", &all)?, frame)?;
    json(&manifest)
}

/// Trains a run. `observer` receives its progress on the calling thread; `stop` ends it with a
/// checkpoint.
///
/// # Errors
/// As of the command; [`Kind::Interrupted`] after a requested end.
pub fn train(
    arguments: &[String],
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<RunManifest> {
    let args: train::Args = parse("train", arguments)?;
    let alone: Arc<dyn ProcessGroup> = Arc::new(SingleProcess);
    match train::train_observed(&args, &alone, stop, observer)? {
        Outcome::Finished(manifest) => Ok(*manifest),
        Outcome::Interrupted(step) => Err(exit::interrupted_after(step).into()),
    }
}

/// Evaluates a run; returns what `--json` prints. `stop` ends it, unless it is of a curve.
///
/// # Errors
/// As of the command, and after a requested end.
pub fn evaluate(arguments: &[String], stop: &AtomicBool) -> Result<Value> {
    let args: evaluate::Args = parse("evaluate", arguments)?;
    let evaluated = evaluate::evaluated(&args, stop)?;
    Ok(evaluated.value().map_err(anyhow::Error::from)?)
}

/// Searches for settings; returns what `--json` prints. Trials are processes of
/// [`set_program`](crate::set_program)'s program.
///
/// # Errors
/// As of the command.
pub fn tune(arguments: &[String], stop: &AtomicBool) -> Result<Value> {
    let args: tune::Args = parse("tune", arguments)?;
    Ok(tune::searched(&args, stop)?)
}

/// Estimates the returns of an experiment's arms; returns what `--json` prints.
///
/// # Errors
/// As of the command.
pub fn ope(arguments: &[String]) -> Result<Value> {
    let args: ope::Args = parse("ope", arguments)?;
    json(&ope::report(&args)?)
}

/// Configures this process for training, as the command line does: thresholds of the allocator, and
/// candle's threads if no other thread runs yet.
pub fn prepare_process() {
    prl_kernels::runtime::prepare();
}

/// Starts the thread pool of this process and opens a device, as `--threads` and `--device` do.
///
/// # Errors
/// An unknown device, or another number of threads than the process has.
pub fn open_device(device: &str, threads: Option<usize>) -> Result<prl_runs::Device> {
    let compute = crate::flags::Compute {
        device: device.to_owned(),
        threads,
    };
    Ok(compute.open()?)
}

/// Parses the flags of a command.
pub(crate) fn parse<A: clap::Args + FromArgMatches>(
    command: &'static str,
    arguments: &[String],
) -> Result<A> {
    let mut tokens = vec![command];
    for argument in arguments {
        tokens.push(argument);
    }
    let matches = A::augment_args(clap::Command::new(command)).try_get_matches_from(tokens);
    let args = matches.and_then(|matches| A::from_arg_matches(&matches));
    args.map_err(|error| {
        let text = error.render().to_string();
        // Usage and the hint at --help are of a command line.
        let end = ["\n\nUsage:", "\n\nFor more information"];
        let mut text = text.as_str();
        for end in end {
            text = text.split(end).next().unwrap_or_default();
        }
        let text = text.strip_prefix("error: ").unwrap_or(text).trim_end();
        anyhow::Error::from(Usage(text.to_owned())).into()
    })
}

fn json(value: &impl serde::Serialize) -> Result<Value> {
    Ok(serde_json::to_value(value).map_err(anyhow::Error::from)?)
}
