//! Exit codes, and how an error is told.

use std::process::ExitCode;

use crate::output::errln;

/// Training was interrupted, and has left a checkpoint.
#[derive(Debug)]
pub struct Interrupted {
    /// The step after which it stopped.
    pub step: u64,
}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "interrupted after step {}; go on with the same command and --resume",
            self.step
        )
    }
}

impl std::error::Error for Interrupted {}

/// A command line that means nothing, beyond what the parser sees.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints the error on stderr and says what to exit with.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // A reader that has seen enough is no failure.
    if error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(tell(error))
}

/// Prints the error on stderr; its exit code.
pub fn tell(error: &anyhow::Error) -> u8 {
    errln!("error: {}", message(error));
    code(error)
}

/// The error and its causes, those left out that the message before them holds already.
fn message(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |message, cause| {
            if message.contains(&cause) {
                message
            } else {
                format!("{message}: {cause}")
            }
        })
}

fn code(error: &anyhow::Error) -> u8 {
    const FAILED: u8 = 1;
    const USAGE: u8 = 2;
    const BAD_INPUT: u8 = 3;
    const INTERRUPTED: u8 = 130;
    if error.is::<Interrupted>() {
        return INTERRUPTED;
    }
    if error.is::<Usage>() {
        return USAGE;
    }
    #[cfg(feature = "data")]
    if let Some(error) = error.downcast_ref::<prl_data::Error>() {
        return match error {
            prl_data::Error::Options(_) => USAGE,
            e if e.is_bad_input() => BAD_INPUT,
            _ => FAILED,
        };
    }
    #[cfg(feature = "data")]
    if let Some(prl_synth::Error::Sessions(_) | prl_synth::Error::Like(_)) = error.downcast_ref() {
        return USAGE;
    }
    if let Some(prl_model::Error::Config(_)) = error.downcast_ref() {
        return USAGE;
    }
    if let Some(error) = error.downcast_ref::<prl_runs::Error>() {
        return match error {
            prl_runs::Error::Config(_) | prl_runs::Error::Model(prl_model::Error::Config(_)) => {
                USAGE
            }
            prl_runs::Error::Data(e) => of_data(e),
            prl_runs::Error::Fs(e) => of_fs(e),
            prl_runs::Error::EmptySplit { .. } | prl_runs::Error::OtherDataset { .. } => BAD_INPUT,
            _ => FAILED,
        };
    }
    if let Some(error) = error.downcast_ref::<prl_fs::Error>() {
        return of_fs(error);
    }
    return error.downcast_ref().map_or(FAILED, of_data);

    fn of_data(error: &prl_dataset::Error) -> u8 {
        match error {
            prl_dataset::Error::Fs(e) => of_fs(e),
            prl_dataset::Error::Occupied { .. } => FAILED,
            _ => BAD_INPUT,
        }
    }

    fn of_fs(error: &prl_fs::Error) -> u8 {
        match error {
            prl_fs::Error::Io { .. } | prl_fs::Error::Busy { .. } => FAILED,
            _ => BAD_INPUT,
        }
    }
}
