//! Errors of the generator.

use std::path::{Path, PathBuf};

/// Minimum number of sessions: below it a category has too few items for the favoured successors.
pub(crate) const MIN_SESSIONS: u64 = 200;
/// Maximum number of sessions: above it item and session ids would outgrow the real ones.
pub(crate) const MAX_SESSIONS: u64 = 100_000_000;

/// Result of generating a synthetic log.
pub type Result<T> = std::result::Result<T, Error>;

/// A synthetic log that could not be generated.
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
    /// A raw file exists that this crate did not write; it is never overwritten.
    #[error("{}: already exists without {marker} beside it, so it may be real data; name another --out", path.display())]
    Occupied {
        /// The existing raw file.
        path: PathBuf,
        /// Name of the marker file of synthetic data.
        marker: &'static str,
    },
    /// Number of sessions out of range.
    #[error("--sessions {0}: expected {MIN_SESSIONS} to {MAX_SESSIONS}")]
    Sessions(u64),
    /// Number of a shop's sessions out of range.
    #[error("--sessions {0}: expected 1 to {MAX_SESSIONS}")]
    ShopSessions(u64),
    /// Unknown name of a shop's world.
    #[error("--world {name}: unknown world; expected one of {names}")]
    World {
        /// The name.
        name: String,
        /// The names of the range.
        names: String,
    },
    /// The committed parameters of the shop cannot be read.
    #[error("shop/{file}: {why}")]
    Parameters {
        /// Name of the file.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Unknown name of a log.
    #[error("unknown kind of log {0:?}: expected tiny, retailrocket or rc15")]
    Like(String),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }
}
