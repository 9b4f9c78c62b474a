//! Errors of experiments and their logs.

use std::path::{Path, PathBuf};

/// Result of an operation on an experiment or its log.
pub type Result<T> = std::result::Result<T, Error>;

/// An invalid experiment, or a log that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The definition of an experiment is invalid.
    #[error("{file}:{line}: {what}")]
    Definition {
        /// Name of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Setting, cause and remedy.
        what: String,
    },
    /// A line of a log is not a record.
    #[error(
        "{}:{line}: {what}; move the file out of the log's directory, or remove the line",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Cause.
        what: String,
    },
    /// A record that no reader would accept.
    #[error("invalid record: {what}")]
    Record {
        /// Field and cause.
        what: String,
    },
    /// There is no log at the path.
    #[error(
        "{}: no log of an experiment, which is files *.jsonl; name the directory of `prl serve \
         --experiment-log`. The log of a shop's events alone, such as RetailRocket's, does not say \
         what was shown, nor with what probability, so it has no estimate of another list's value",
        path.display()
    )]
    NoLog {
        /// The path.
        path: PathBuf,
    },
    /// The answers of a log have no arms.
    #[error(
        "{}: the log has no propensities: none of its {answers} answers has an arm with its \
         probability, so what another arm would have earned cannot be told; serve with \
         `--experiment`",
        path.display()
    )]
    NoPropensities {
        /// The log.
        path: PathBuf,
        /// Answers of the log.
        answers: u64,
    },
    /// The log does not say which experiment is meant.
    #[error("{}: {what}; name one of its experiments: {}", path.display(), names.join(", "))]
    Experiment {
        /// The log.
        path: PathBuf,
        /// Cause.
        what: String,
        /// Experiments of the log.
        names: Vec<String>,
    },
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
}

impl Error {
    /// Attaches a path to an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }

    /// Whether the content of a log is the cause.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Error::Line { .. } | Error::NoLog { .. } | Error::NoPropensities { .. }
        )
    }
}
