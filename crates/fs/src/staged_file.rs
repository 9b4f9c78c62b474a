//! Atomic replacement of a file that is written as a stream.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::atomic::{TEMP_PREFIX, parent_dir, rename_synced};
use crate::error::{Error, Result};
use crate::failpoint::{Operation, check};

/// File under a temporary name in the directory of its path, for content that is written piece by
/// piece. Dropped without [`publish`](Self::publish), it is removed and the path is left as it was.
#[derive(Debug)]
pub struct StagedFile {
    out: BufWriter<File>,
    temp: PathBuf,
    path: PathBuf,
}

impl StagedFile {
    /// Creates the temporary file. The directory of `path` must exist.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temp = format!("{TEMP_PREFIX}{}.{name}", std::process::id());
        let temp = parent_dir(path).join(temp);
        let file = File::create(&temp).map_err(Error::io(path))?;
        Ok(Self {
            out: BufWriter::new(file),
            temp,
            path: path.to_owned(),
        })
    }

    /// Path of the finished file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second handle on the temporary file, for a writer that owns its file.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses it.
    pub fn handle(&self) -> Result<File> {
        let file = self.out.get_ref().try_clone();
        file.map_err(Error::io(&self.path))
    }

    /// Syncs the file and renames it to its path, replacing an older file.
    ///
    /// # Errors
    /// [`Error::Io`] if an operation fails; the path is left as it was.
    pub fn publish(mut self) -> Result<()> {
        self.sync().map_err(Error::io(&self.path))?;
        rename_synced(&self.temp, &self.path)
    }

    fn sync(&mut self) -> io::Result<()> {
        check(Operation::Write)?;
        self.out.flush()?;
        check(Operation::Sync)?;
        self.out.get_ref().sync_all()
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // After `publish` the temporary name is gone, and there is nothing to remove.
        _ = std::fs::remove_file(&self.temp);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::failpoint::{Fault, with};

    #[test]
    fn staged_file_leaves_old_or_new_content_at_every_fault() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let write = || -> Result<()> {
            let mut file = StagedFile::create(&path)?;
            file.write_all(b"ne").unwrap();
            file.write_all(b"w").unwrap();
            file.publish()
        };
        for n in 0..5 {
            fs::write(&path, "old").unwrap();
            let (written, operations) = with(n, Fault::Once(28), write);
            let found = fs::read_to_string(&path).unwrap();
            assert!(found == "old" || found == "new", "at {n}: {found}");
            assert_eq!(written.is_err(), n < operations.len(), "at {n}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        drop(StagedFile::create(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
