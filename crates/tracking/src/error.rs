//! Errors of trackers.

use std::path::{Path, PathBuf};

/// Result of an operation of a tracker.
pub type Result<T> = std::result::Result<T, Error>;

/// A tracker that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text that names no tracker.
    #[error(
        "invalid tracker {0:?}: {1}; expected tensorboard=DIR, mlflow=DIR or mlflow=http://HOST:PORT"
    )]
    Target(String, &'static str),
    /// A name that cannot be that of a tracked run.
    #[error(
        "invalid name of a tracked run {0:?}: expected folders of letters, digits, `.`, `_` and `-`, separated by /"
    )]
    Name(String),
    /// A file of a tracker cannot be read or written.
    #[error(transparent)]
    Fs(#[from] prl_fs::Error),
    /// A run cannot be read.
    #[error(transparent)]
    Run(#[from] prl_runs::Error),
    /// A file that does not have its format.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Description of the damage and its mend.
        what: String,
    },
    /// A server that does not answer, or with an error.
    #[error("{url}: {cause}; check that an MLflow server answers there")]
    Server {
        /// Address of the call.
        url: String,
        /// Cause of the failure.
        cause: String,
    },
}

impl Error {
    /// Attaches a path to an error of the operating system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Fs(prl_fs::Error::Io { path, source })
    }

    /// A file that does not have its format.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}
