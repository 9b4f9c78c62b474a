//! Read-only memory maps. The only file outside the kernels that contains `unsafe`.

use std::fs::File;
use std::path::Path;

pub use memmap2::Mmap;

use crate::error::{Error, Result};

/// Maps a file into memory, read-only.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened or mapped.
#[allow(unsafe_code)]
pub fn map_file(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io(path))?;
    // SAFETY: the mapping is read-only and private to this process. Files of this project are
    // written under a temporary name and renamed, never changed in place; a user who truncates one
    // while it is mapped breaks that contract, and the process gets SIGBUS.
    unsafe { Mmap::map(&file) }.map_err(Error::io(path))
}
