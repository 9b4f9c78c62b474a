//! Errors of durable storage.

use std::path::{Path, PathBuf};

/// Result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Another process holds the directory's lock.
    #[error("{}: in use by {holder}; wait until it ends, or name another directory", path.display())]
    Busy {
        /// Locked directory.
        path: PathBuf,
        /// Description of the holder, as far as it is known.
        holder: String,
    },
    /// A file exceeds the size limit of its kind.
    #[error("{}: longer than {max} bytes; check that this is the right file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Size limit in bytes.
        max: u64,
    },
    /// Tensors that safetensors cannot serialise.
    #[error("{}: cannot serialise the tensors: {reason}", path.display())]
    Tensors {
        /// File that was to be written.
        path: PathBuf,
        /// Reason given by safetensors.
        reason: String,
    },
}

impl Error {
    /// Attaches a path to an I/O error: `result.map_err(Error::io(path))`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }
}
