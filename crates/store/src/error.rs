//! Errors of session stores.

use std::path::Path;

use crate::FORMAT;

/// Result of an operation of a store.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation of a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A session would exceed the maximum number of events.
    #[error(
        "session too long: it would hold {events} events, the maximum is {max}; \
         delete it and start a new one"
    )]
    SessionTooLong {
        /// Number of events including the new ones.
        events: usize,
        /// Maximum number of events.
        max: usize,
    },
    /// The store cannot be reached, or cannot write at present.
    #[error("session store {store} is not available: {cause}; retry when it is")]
    Unavailable {
        /// File of the store, or address of Redis without its password.
        store: String,
        /// What failed.
        cause: String,
    },
    /// The store was written in another format.
    #[error(
        "session store {store} has format {found}, this program reads format {supported}; use the \
         program that wrote it, or name another place"
    )]
    Format {
        /// File of the store, or address of Redis without its password.
        store: String,
        /// Version found.
        found: String,
        /// Version that this program reads.
        supported: u64,
    },
    /// The store's content is not what this program writes.
    #[error("session store {store} is damaged: {cause}; restore a back-up, or name another place")]
    Damaged {
        /// File of the store, or address of Redis without its password.
        store: String,
        /// What was found.
        cause: String,
    },
    /// The address of Redis is invalid.
    #[error("{url}: {cause}; expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]")]
    Address {
        /// The address without its password.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The directory of the store cannot be used.
    #[error(transparent)]
    Directory(#[from] prl_fs::Error),
}

impl Error {
    /// Attaches a directory to an I/O error: `result.map_err(Error::directory(dir))`.
    pub fn directory(dir: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let failed = prl_fs::Error::io(dir);
        move |error| failed(error).into()
    }

    /// [`Error::Unavailable`] of the store in `file`.
    pub(crate) fn unavailable(file: &Path, cause: impl ToString) -> Self {
        Self::Unavailable {
            store: file.display().to_string(),
            cause: cause.to_string(),
        }
    }

    /// An error of redb about `file`.
    pub(crate) fn of_redb(file: &Path, error: impl Into<redb::Error>) -> Self {
        let store = file.display().to_string();
        match error.into() {
            redb::Error::Corrupted(cause) => Self::Damaged { store, cause },
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    // The last is of a file that was cut off.
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                let cause = error.to_string();
                Self::Damaged { store, cause }
            }
            redb::Error::UpgradeRequired(version) => Self::Format {
                store,
                found: format!("of redb {version}"),
                supported: FORMAT,
            },
            redb::Error::TableTypeMismatch { table, .. } => Self::Damaged {
                store,
                cause: format!("table {table} has another type"),
            },
            error => Self::unavailable(file, error),
        }
    }
}
