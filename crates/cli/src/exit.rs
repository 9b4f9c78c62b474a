//! Exit codes and error messages.

use crate::hints::hint;
use crate::output::errln;

/// Exit code of a failure of no other kind.
const FAILED: u8 = 1;
/// Exit code of wrong arguments.
pub const USAGE: u8 = 2;
/// Exit code of bad input.
pub const BAD_INPUT: u8 = 3;
/// Exit code of an interrupted training.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Training or a search was interrupted and can be resumed.
#[derive(Debug)]
pub struct Interrupted {
    /// Progress until then: `step 12`.
    pub after: String,
    /// What continues it.
    pub resume: String,
}

impl Interrupted {
    /// The interruption of a command that continues with `--resume`.
    pub fn after(progress: String) -> Self {
        Self {
            after: progress,
            resume: "the same command and --resume".into(),
        }
    }
}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "interrupted after {}; continue with {}",
            self.after, self.resume
        )
    }
}

impl std::error::Error for Interrupted {}

/// The error of a training that was interrupted after a step.
pub fn interrupted_after(step: u64) -> anyhow::Error {
    Interrupted::after(format!("step {step}")).into()
}

/// An invalid command line that the parser accepts.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints the error on stderr and returns the exit code. A closed output pipe is a success.
pub fn report(error: &anyhow::Error) -> u8 {
    // `prl .. | head` closes the pipe early.
    if error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    {
        return 0;
    }
    print(error)
}

/// Prints the error on stderr and returns its exit code.
pub fn print(error: &anyhow::Error) -> u8 {
    errln!("error: {}", message(error));
    code(error)
}

/// The error and its causes, except causes that the message already contains.
pub fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    if let Some(hint) = hint(error, &message) {
        message = format!("{message}; {hint}");
    }
    message
}

/// Exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Interrupted>() {
        return EXIT_INTERRUPTED;
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
    if let Some(error) = error.downcast_ref() {
        return match error {
            prl_synth::Error::Sessions(_)
            | prl_synth::Error::ShopSessions(_)
            | prl_synth::Error::World { .. }
            | prl_synth::Error::Like(_) => USAGE,
            _ => FAILED,
        };
    }
    if let Some(prl_model::Error::Config(_)) = error.downcast_ref() {
        return USAGE;
    }
    if let Some(error) = error.downcast_ref::<prl_runs::Error>() {
        return of_run(error);
    }
    if let Some(error) = error.downcast_ref::<prl_export::Error>() {
        return match error {
            prl_export::Error::NoNetwork { .. } => USAGE,
            prl_export::Error::Mismatch { .. } | prl_export::Error::Input { .. } => BAD_INPUT,
            prl_export::Error::Run(e) => of_run(e),
            prl_export::Error::Data(e) => of_data(e),
            prl_export::Error::Fs(e) => of_fs(e),
            _ => FAILED,
        };
    }
    if let Some(error) = error.downcast_ref::<prl_tune::Error>() {
        return match error {
            prl_tune::Error::Space { .. } => USAGE,
            prl_tune::Error::Log { .. } => BAD_INPUT,
            prl_tune::Error::Fs(e) => of_fs(e),
        };
    }
    if let Some(error) = error.downcast_ref::<prl_arms::Error>() {
        return match error {
            prl_arms::Error::Definition { .. } | prl_arms::Error::Experiment { .. } => USAGE,
            e if e.is_bad_input() => BAD_INPUT,
            _ => FAILED,
        };
    }
    if let Some(error) = error.downcast_ref::<prl_ope::Error>() {
        return if error.is_bad_input() {
            BAD_INPUT
        } else {
            USAGE
        };
    }
    if let Some(error) = error.downcast_ref::<prl_fs::Error>() {
        return of_fs(error);
    }
    #[cfg(feature = "serve")]
    if let Some(error) = error.downcast_ref::<prl_serve::StoreError>() {
        return match error {
            prl_serve::StoreError::Format { .. } | prl_serve::StoreError::Damaged { .. } => {
                BAD_INPUT
            }
            prl_serve::StoreError::Address { .. } => USAGE,
            prl_serve::StoreError::Directory(e) => of_fs(e),
            _ => FAILED,
        };
    }
    #[cfg(feature = "tables")]
    if let Some(error) = error.downcast_ref::<prl_tables::Error>() {
        return match error {
            prl_tables::Error::Fs(e) => of_fs(e),
            prl_tables::Error::Damaged { .. } | prl_tables::Error::Type { .. } => BAD_INPUT,
            _ => FAILED,
        };
    }
    return error.downcast_ref().map_or(FAILED, of_data);

    fn of_run(error: &prl_runs::Error) -> u8 {
        match error {
            prl_runs::Error::Config(_)
            | prl_runs::Error::Blend(_)
            | prl_runs::Error::Model(prl_model::Error::Config(_)) => USAGE,
            prl_runs::Error::Data(e) => of_data(e),
            prl_runs::Error::Fs(e) => of_fs(e),
            prl_runs::Error::EmptySplit { .. }
            | prl_runs::Error::NoDataset { .. }
            | prl_runs::Error::OtherDataset { .. } => BAD_INPUT,
            _ => FAILED,
        }
    }

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
