//! A directory that is whole or absent: its files lie aside and synced, and take their place all at once.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;
use safetensors::tensor::View;

use crate::error::{Error, Result};
use crate::fault::{Operation, check};
use crate::files::{aside, parent, put, remove_any, sync_directory, write_synced};
use crate::lock::try_lock;
use crate::manifest::FileEntry;
use crate::map::map;

/// A directory being written; dropped before it is published, it is gone. One process at a time writes a directory; what a
/// killed one left is removed by the next.
pub struct Staged {
    to: PathBuf,
    dir: PathBuf,
    /// What lies aside is locked: the new directory, and the older one when they have changed places.
    locks: Vec<File>,
}

impl Staged {
    /// Begins the directory `to`, beside it.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process is writing it.
    pub fn begin(to: &Path) -> Result<Self> {
        let dir = aside(to);
        let open = || {
            check(Operation::Make)?;
            fs::create_dir_all(&dir)?;
            File::open(&dir)
        };
        let lock = open().map_err(Error::io(&dir))?;
        // Between the two lines another process may have ended its work and taken the directory away.
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

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<FileEntry> {
        let path = self.dir.join(name);
        write_synced(&path, |file| io::Write::write_all(file, bytes)).map_err(Error::io(&path))?;
        Ok(FileEntry::of(name, bytes))
    }

    /// Writes tensors as one safetensors file. Equal tensors give equal bytes.
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
            other => Error::Invalid(other.to_string()),
        })?;
        open_to_readers(&path).map_err(Error::io(&path))?;
        check(Operation::Sync)
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(Error::io(&path))?;
        let bytes = map(&path)?;
        Ok(FileEntry::of(name, &bytes))
    }

    /// Puts the directory in its place; an older one there is gone then. At no moment does a half-written directory carry the
    /// name, nor, where the system can exchange two names at once, none at all.
    pub fn publish(mut self) -> Result<()> {
        sync_directory(&self.dir)?;
        if !self.to.exists() {
            return put(&self.dir, &self.to);
        }
        let older = File::open(&self.to).map_err(Error::io(&self.to))?;
        if !try_lock(&older).map_err(Error::io(&self.to))? {
            return Err(busy(&self.to));
        }
        self.locks.push(older);
        check(Operation::Rename)
            .and_then(|()| exchange(&self.dir, &self.to))
            .map_err(Error::io(&self.to))?;
        sync_directory(&parent(&self.to))
        // What lies aside now is the older one, which goes with `self`.
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            check(Operation::Remove)?;
            remove_any(&entry?.path())?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    /// What cannot be removed now is removed by the next process that writes the directory.
    fn drop(&mut self) {
        _ = check(Operation::Remove).and_then(|()| remove_any(&self.dir));
    }
}

/// Gives a file the permissions of an ordinary one; safetensors closes its own to others.
#[cfg(unix)]
fn open_to_readers(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Gives a file the permissions of an ordinary one.
#[cfg(not(unix))]
fn open_to_readers(_: &Path) -> io::Result<()> {
    Ok(())
}

fn busy(to: &Path) -> Error {
    Error::Busy {
        path: to.to_owned(),
        holder: "another process that is writing it".into(),
    }
}

/// Whether an open directory is the one at this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    file.metadata().ok().map(id) == fs::metadata(path).ok().map(id)
}

/// Whether an open directory is the one at this path.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Gives each of two directories the other's name.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        // A file system that cannot.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            replace(a, b)
        }
        done => Ok(done?),
    }
}

/// Gives each of two directories the other's name.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    replace(a, b)
}

/// The same in three steps, between which [`recover`] knows what to do.
fn replace(a: &Path, b: &Path) -> io::Result<()> {
    let old = old(b);
    remove_any(&old)?;
    fs::rename(b, &old)?;
    fs::rename(a, b)?;
    fs::rename(&old, a)
}

/// Puts right what a process killed while it replaced a directory step by step may have left: the older one, if the newer one
/// did not arrive. For whoever writes the directory next.
pub fn recover(to: &Path) -> Result<()> {
    let old = old(to);
    if !to.exists() && old.exists() {
        fs::rename(&old, to).map_err(Error::io(&old))?;
    }
    remove_any(&old).map_err(Error::io(&old))
}

/// Where an older directory waits while the newer one takes its place.
fn old(to: &Path) -> PathBuf {
    to.with_file_name(format!(
        ".{}.old",
        to.file_name().unwrap_or_default().to_string_lossy()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Operation, with};
    use crate::files::sweep;

    /// A directory of two files that hold `text`.
    fn write(to: &Path, text: &str) -> Result<()> {
        let staged = Staged::begin(to)?;
        staged.write("a", text.as_bytes())?;
        staged.write("b", text.as_bytes())?;
        staged.publish()
    }

    fn read(dir: &Path) -> Option<[String; 2]> {
        dir.exists()
            .then(|| ["a", "b"].map(|name| fs::read_to_string(dir.join(name)).unwrap()))
    }

    #[test]
    fn whatever_fails_the_directory_is_the_old_one_or_the_new_one() {
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
                    // Removing the older one is tried once, and the next start's concern.
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
                    sweep(dir.path()).unwrap();
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
    fn step_by_step_is_recovered_between_the_steps() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("d");
        write(&to, "old").unwrap();
        fs::rename(&to, old(&to)).unwrap();
        recover(&to).unwrap();
        assert_eq!(read(&to).unwrap()[0], "old");
        write(&dir.path().join("e"), "new").unwrap();
        replace(&dir.path().join("e"), &to).unwrap();
        assert_eq!(
            (read(&to).unwrap()[0].as_str(), old(&to).exists()),
            ("new", false)
        );
    }

    #[test]
    fn one_process_writes_a_directory_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("d");
        let first = Staged::begin(&to).unwrap();
        assert!(matches!(write(&to, "second"), Err(Error::Busy { .. })));
        first.publish().unwrap();
        write(&to, "third").unwrap();
        assert_eq!(read(&to).unwrap()[0], "third");
    }
}
