//! What can be wrong with a prepared dataset, and what to do about it.

use std::path::{Path, PathBuf};

/// The result of reading or writing a prepared dataset.
pub type Result<T> = std::result::Result<T, Error>;

/// A prepared dataset that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory holds no prepared dataset.
    #[error("{}: no prepared dataset here (manifest.json is missing); make one with `prl prepare --out`", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A file is damaged, cut short or not the one the manifest names.
    #[error("{}: {what}; prepare the dataset again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Written by another version of the format.
    #[error(
        "{}: format version {found}, this build reads {supported}; prepare the dataset again, or use the prl that wrote it",
        path.display()
    )]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The version it carries.
        found: u64,
        /// The version this build reads.
        supported: u32,
    },
    /// Another process works there.
    #[error("{}: in use by {holder}; wait until it ends, or name another directory", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
        /// Who, as far as it is known.
        holder: String,
    },
    /// Arrays that do not describe sessions.
    #[error("these arrays are no dataset: {0}")]
    Invalid(String),
    /// A directory that holds something else is never overwritten.
    #[error("{}: already exists and holds something that this program did not write; name another --out", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}
