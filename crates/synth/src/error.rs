//! Why a synthetic log could not be made.

use std::path::{Path, PathBuf};

use crate::shape::{MAX_SESSIONS, MIN_SESSIONS};

/// The result of making a synthetic log.
pub type Result<T> = std::result::Result<T, Error>;

/// A synthetic log that could not be made.
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
    /// Raw data that this crate did not write is never overwritten.
    #[error("{}: already exists and {marker} does not stand beside it, so it may be real data; name another --out", path.display())]
    Occupied {
        /// The raw file in the way.
        path: PathBuf,
        /// The name of the marker that synthetic data carries.
        marker: &'static str,
    },
    /// Too few or too many sessions.
    #[error("--sessions {0}: expected {MIN_SESSIONS} to {MAX_SESSIONS}")]
    Sessions(u64),
    /// A name that is none of the kinds.
    #[error("unknown kind of log {0:?}: expected tiny, retailrocket or rc15")]
    Like(String),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }
}
