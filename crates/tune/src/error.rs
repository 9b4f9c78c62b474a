//! Errors of a search.

use std::path::PathBuf;

/// Result of an operation of a search.
pub type Result<T> = std::result::Result<T, Error>;

/// An invalid space, or a trial log that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting of a space is invalid.
    #[error("{file}:{line}: {what}")]
    Space {
        /// Name of the file.
        file: String,
        /// Line of the setting, from 1.
        line: usize,
        /// Setting, cause and remedy.
        what: String,
    },
    /// The trial log is damaged.
    #[error("{}:{line}: {what}; remove the line, or start a search in another --out", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Cause.
        what: String,
    },
    /// A storage operation failed.
    #[error(transparent)]
    Fs(#[from] prl_fs::Error),
}
