//! Durable storage: files and directories that hold either their old content or their new content,
//! whenever the process or the machine stops.
//!
//! - [`write_atomic`] replaces a file, [`StagedDir`] a directory: content is written to a temporary
//!   name, fsynced, then renamed into place; the parent directory is fsynced last.
//! - [`link_dir_atomic`] points a symbolic link to another directory.
//! - [`StagedFile`] replaces a file that is written as a stream.
//! - [`DirLock`] is an exclusive lock on a directory that the operating system releases when the
//!   process ends.
//! - [`FileEntry`] is the name, size and checksum of a file, as manifests record it.
//! - [`map_file`] maps a file into memory.
//! - [`failpoint`] makes any of these operations fail, for tests.
//!
//! ```
//! # fn main() -> prl_fs::Result<()> {
//! # let tmp = tempfile::tempdir().unwrap();
//! let dir = tmp.path().join("model");
//! let staged = prl_fs::StagedDir::create(&dir)?;
//! let entry = staged.write("weights.bin", &[1, 2, 3])?;
//! staged.publish()?; // `dir` appears with all of its files, or not at all
//!
//! prl_fs::write_atomic(&dir.join("note.txt"), "trained")?;
//! assert_eq!(entry.bytes, 3);
//! assert_eq!(prl_fs::read_at_most(&dir.join("note.txt"), 100)?, b"trained");
//! # Ok(())
//! # }
//! ```

mod atomic;
mod dir_lock;
mod error;
pub mod failpoint;
mod file_entry;
mod mmap;
mod staged_dir;
mod staged_file;

pub use atomic::{
    append_synced, link_dir_atomic, parent_dir, read_at_most, remove_temp_files, write_atomic,
};
pub use dir_lock::DirLock;
pub use error::{Error, Result};
pub use file_entry::{FileEntry, sha256_hex};
pub use mmap::{Mmap, map_file};
pub use staged_dir::{StagedDir, finish_interrupted_rename};
pub use staged_file::StagedFile;
