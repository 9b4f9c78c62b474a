//! Errors of a prepared dataset.

use std::path::{Path, PathBuf};

/// Result of reading or writing a prepared dataset.
pub type Result<T> = std::result::Result<T, Error>;

/// A prepared dataset that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A storage operation failed.
    #[error(transparent)]
    Fs(#[from] prl_fs::Error),
    /// The directory holds no prepared dataset.
    #[error("{}: no prepared dataset here (manifest.json is missing); make one with `prl prepare --out`", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A file is damaged, truncated or not the one that the manifest names.
    #[error("{}: {what}; prepare the dataset again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Cause.
        what: String,
    },
    /// The format version is not supported.
    #[error(
        "{}: format version {found}, this build reads {supported}; prepare the dataset again, or use the prl that wrote it",
        path.display()
    )]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Version in the manifest.
        found: u64,
        /// Version that this build reads.
        supported: u32,
    },
    /// The arrays do not describe sessions.
    #[error("these arrays are no dataset: {0}")]
    Invalid(String),
    /// The directory holds another dataset, which is replaced only on request.
    #[error(
        "{}: holds dataset {older}, and this one is {newer}: runs of the older one could no longer be evaluated or \
         resumed; name another --out, or give --replace",
        path.display()
    )]
    OtherDataset {
        /// The directory.
        path: PathBuf,
        /// Hash of the dataset there.
        older: String,
        /// Hash of the dataset to write.
        newer: String,
    },
    /// The directory holds other files, which are never overwritten.
    #[error("{}: already exists and holds something that this program did not write; name another --out", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}
