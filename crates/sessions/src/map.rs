//! The one place outside the kernels that needs `unsafe`: mapping a file into memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Maps a file read-only.
#[allow(unsafe_code)]
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io(path))?;
    // SAFETY: the mapping is read-only and private to this process. A prepared dataset is written under a temporary name
    // and renamed, never changed in place; whoever truncates it under a running program breaks that contract and gets SIGBUS.
    unsafe { Mmap::map(&file) }.map_err(Error::io(path))
}
