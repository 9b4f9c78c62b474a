//! Atomic directory replacement: files are written to a temporary directory and fsynced, then the
//! directory is renamed into place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;
use safetensors::tensor::View;

use crate::atomic::{
    parent_dir, remove_any, rename_synced, sync_dir, sync_path, temp_path, write_synced,
};
use crate::dir_lock::try_lock;
use crate::error::{Error, Result};
use crate::failpoint::{Operation, check};
use crate::file_entry::FileEntry;
use crate::mmap::map_file;

/// Directory under construction. [`publish`](Self::publish) puts it in place; dropping it removes
/// it. One process at a time can write a directory; the next one removes what a killed one left.
pub struct StagedDir {
    to: PathBuf,
    dir: PathBuf,
    /// Locks on the temporary directory, and on the replaced one after the exchange.
    locks: Vec<File>,
}

impl StagedDir {
    /// Creates an empty temporary directory next to `to`, its final path.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process is writing `to`, [`Error::Io`] if an operation fails.
    pub fn create(to: &Path) -> Result<Self> {
        let dir = temp_path(to);
        let lock = create_and_open(&dir).map_err(Error::io(&dir))?;
        // Another process may have published or removed the directory since it was opened: the lock
        // counts only if the path still names the locked directory.
        if !try_lock(&lock).map_err(Error::io(&dir))? || !is_at(&lock, &dir) {
            return Err(busy(to));
        }
        let staged = Self {
            to: to.to_owned(),
            dir,
            locks: vec![lock],
        };
        staged.clear().map_err(Error::io(&staged.dir))?;
        Ok(staged)
    }

    /// The temporary directory, for other writers. They must sync what they write into directories
    /// below it.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Writes and fsyncs a file.
    ///
    /// # Errors
    /// [`Error::Io`] if an operation fails.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<FileEntry> {
        let path = self.dir.join(name);
        write_synced(&path, |file| io::Write::write_all(file, bytes)).map_err(Error::io(&path))?;
        Ok(FileEntry::new(name, bytes))
    }

    /// Writes and fsyncs tensors as one safetensors file. Equal tensors give equal bytes.
    ///
    /// # Errors
    /// [`Error::Tensors`] if they cannot be serialised, [`Error::Io`] if an operation fails.
    pub fn write_tensors<S, V>(
        &self,
        name: &str,
        tensors: impl IntoIterator<Item = (S, V)>,
    ) -> Result<FileEntry>
    where
        S: AsRef<str> + Ord + std::fmt::Display,
        V: View,
    {
        let path = self.dir.join(name);
        check(Operation::Write).map_err(Error::io(&path))?;
        safetensors::serialize_to_file(tensors, None, &path).map_err(|e| match e {
            SafeTensorError::IoError(source) => Error::Io {
                path: path.clone(),
                source,
            },
            other => Error::Tensors {
                path: path.clone(),
                reason: other.to_string(),
            },
        })?;
        make_readable(&path).map_err(Error::io(&path))?;
        sync_path(&path).map_err(Error::io(&path))?;
        // Tensors may be larger than memory allows twice: the checksum is taken from a mapping.
        let bytes = map_file(&path)?;
        Ok(FileEntry::new(name, &bytes))
    }

    /// Renames the directory into place and removes an older one there. The final path never names
    /// an incomplete directory; where the system can exchange two names atomically, it is never
    /// absent either.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process holds a lock on the older directory,
    /// [`Error::Io`] if an operation fails; the final path then holds the old or the new directory.
    pub fn publish(mut self) -> Result<()> {
        sync_dir(&self.dir)?;
        if !self.to.exists() {
            return rename_synced(&self.dir, &self.to);
        }
        let older = File::open(&self.to).map_err(Error::io(&self.to))?;
        if !try_lock(&older).map_err(Error::io(&self.to))? {
            return Err(busy(&self.to));
        }
        self.locks.push(older);
        check(Operation::Rename).map_err(Error::io(&self.to))?;
        exchange(&self.dir, &self.to).map_err(Error::io(&self.to))?;
        // The temporary name now belongs to the older directory: dropping `self` removes it.
        sync_dir(&parent_dir(&self.to))
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            check(Operation::Remove)?;
            remove_any(&entry?.path())?;
        }
        Ok(())
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        // An error is ignored: the next process that writes the directory removes what is left.
        if check(Operation::Remove).is_ok() {
            _ = remove_any(&self.dir);
        }
    }
}

fn create_and_open(dir: &Path) -> io::Result<File> {
    check(Operation::Make)?;
    fs::create_dir_all(dir)?;
    File::open(dir)
}

/// Sets mode 0644: safetensors creates its files readable by their owner only.
#[cfg(unix)]
fn make_readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Does nothing: modes are a concept of Unix.
#[cfg(not(unix))]
fn make_readable(_: &Path) -> io::Result<()> {
    Ok(())
}

fn busy(to: &Path) -> Error {
    Error::Busy {
        path: to.to_owned(),
        holder: "another process that is writing it".into(),
    }
}

/// Whether `path` still names the open directory `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(found)) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

/// Whether `path` still exists, as an approximation.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Exchanges the names of two directories.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        // File systems without an atomic exchange.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            replace(a, b)
        }
        done => Ok(done?),
    }
}

/// Exchanges the names of two directories.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    replace(a, b)
}

/// Exchanges two names in three renames; [`finish_interrupted_rename`] repairs an interruption.
fn replace(a: &Path, b: &Path) -> io::Result<()> {
    let backup = backup_path(b);
    remove_any(&backup)?;
    fs::rename(b, &backup)?;
    fs::rename(a, b)?;
    fs::rename(&backup, a)
}

/// Completes a replacement of `to` that was interrupted between two renames: restores the older
/// directory if the new one did not arrive, and removes the backup. The caller must be the only
/// writer of `to`.
///
/// # Errors
/// [`Error::Io`] if a rename or a removal fails.
pub fn finish_interrupted_rename(to: &Path) -> Result<()> {
    let backup = backup_path(to);
    if !to.exists() && backup.exists() {
        fs::rename(&backup, to).map_err(Error::io(&backup))?;
    }
    remove_any(&backup).map_err(Error::io(&backup))
}

/// Name of the older directory during a replacement in three renames.
fn backup_path(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default();
    to.with_file_name(format!(".{}.old", name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::remove_temp_files;
    use crate::failpoint::{Fault, with};

    /// Writes a directory of two files with content `text`.
    fn write(to: &Path, text: &str) -> Result<()> {
        let staged = StagedDir::create(to)?;
        staged.write("a", text.as_bytes())?;
        staged.write("b", text.as_bytes())?;
        staged.publish()
    }

    fn read(dir: &Path) -> Option<[String; 2]> {
        dir.exists()
            .then(|| ["a", "b"].map(|name| fs::read_to_string(dir.join(name)).unwrap()))
    }

    #[test]
    fn staged_dir_any_fault_leaves_old_or_new() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("d");
        let (old, new) = (
            ["old", "old"].map(str::to_owned),
            ["new", "new"].map(str::to_owned),
        );
        for there_before in [false, true] {
            for fault in [Fault::Once(5), Fault::Once(28), Fault::Dead] {
                let mut n = 0;
                loop {
                    remove_any(&to).unwrap();
                    let before = there_before
                        .then(|| write(&to, "old").unwrap())
                        .map(|()| old.clone());
                    let (written, operations) = with(n, fault, || write(&to, "new"));
                    let found = read(&to);
                    // A failed removal of the older directory is silent: the next writer removes
                    // it.
                    let is_reached = n < operations.len() && operations[n] != Operation::Remove;
                    assert!(
                        written.is_err() || !is_reached,
                        "{fault:?} at {n} was silent"
                    );
                    assert!(
                        found == before || found.as_ref() == Some(&new),
                        "{fault:?} at {n}: {found:?}"
                    );
                    assert!(written.is_err() || found.as_ref() == Some(&new));
                    remove_temp_files(dir.path()).unwrap();
                    assert!(fs::read_dir(dir.path()).unwrap().count() <= 1);
                    if n >= operations.len() {
                        break;
                    }
                    n += 1;
                }
                assert!(n > 7, "{n} operations");
            }
        }
    }

    #[test]
    fn interrupted_rename_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("d");
        write(&to, "old").unwrap();
        fs::rename(&to, backup_path(&to)).unwrap();
        finish_interrupted_rename(&to).unwrap();
        assert_eq!(read(&to).unwrap()[0], "old");
        write(&dir.path().join("e"), "new").unwrap();
        replace(&dir.path().join("e"), &to).unwrap();
        assert_eq!(
            (read(&to).unwrap()[0].as_str(), backup_path(&to).exists()),
            ("new", false)
        );
    }

    #[test]
    fn staged_dir_second_writer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("d");
        let first = StagedDir::create(&to).unwrap();
        assert!(matches!(write(&to, "second"), Err(Error::Busy { .. })));
        first.publish().unwrap();
        write(&to, "third").unwrap();
        assert_eq!(read(&to).unwrap()[0], "third");
    }
}
