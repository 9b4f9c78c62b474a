//! Atomic file replacement and the other disk operations that datasets and runs use.
//!
//! Content goes to a temporary file in the same directory, is fsynced, then renamed. Each operation
//! passes a [failpoint](crate::failpoint).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::failpoint::{Operation, check};

/// Name prefix of files and directories that are not yet renamed into place.
pub(crate) const TEMP_PREFIX: &str = ".staged.";

/// Replaces the content of a file atomically: after a crash the file holds its old or its new
/// content. The directory of `path` must exist.
///
/// # Errors
/// [`Error::Io`] if an operation fails; the old file is then unchanged.
pub fn write_atomic(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let temp = temp_path(path);
    write_synced(&temp, |file| file.write_all(bytes.as_ref())).map_err(Error::io(&temp))?;
    rename_synced(&temp, path)
}

/// Makes `link` a symbolic link to the directory `target`, a path relative to the link's directory.
/// An existing link is replaced atomically.
///
/// # Errors
/// [`Error::Io`] if an operation fails, or if `link` is a directory; an old link is then unchanged.
pub fn link_dir_atomic(target: &Path, link: &Path) -> Result<()> {
    let temp = temp_path(link);
    check(Operation::Make).map_err(Error::io(&temp))?;
    remove_any(&temp).map_err(Error::io(&temp))?;
    symlink_dir(target, &temp).map_err(Error::io(&temp))?;
    rename_synced(&temp, link)
}

#[cfg(unix)]
fn symlink_dir(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink_dir(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_dir(target, link)
}

/// Reads a file of at most `max` bytes. At most `max + 1` bytes are read.
///
/// # Errors
/// [`Error::TooLong`] for a longer file, [`Error::Io`] if it cannot be read.
pub fn read_at_most(path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    let read = file.take(max + 1).read_to_end(&mut bytes);
    read.map_err(Error::io(path))?;
    if bytes.len() as u64 > max {
        return Err(Error::TooLong {
            path: path.to_owned(),
            max,
        });
    }
    Ok(bytes)
}

/// Appends to a file, created if absent, and fsyncs it.
///
/// # Errors
/// [`Error::Io`] if an operation fails; a part of `bytes` may then have been appended.
pub fn append_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    try_append_synced(path, bytes).map_err(Error::io(path))
}

fn try_append_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    checked_write(&mut file, |file| file.write_all(bytes))?;
    check(Operation::Sync)?;
    file.sync_all()
}

/// Removes the temporary files and directories that killed processes left in `dir`; returns their
/// number. No other process may be writing to `dir`.
///
/// # Errors
/// [`Error::Io`] if `dir` cannot be listed or an entry cannot be removed.
pub fn remove_temp_files(dir: &Path) -> Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        if !entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            continue;
        }
        let path = entry.path();
        check(Operation::Remove).map_err(Error::io(&path))?;
        remove_any(&path).map_err(Error::io(&path))?;
        removed += 1;
    }
    Ok(removed)
}

/// Directory that contains `path`; `.` for a bare file name.
pub fn parent_dir(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Temporary name of a file or directory, in the same directory as its final name.
pub(crate) fn temp_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    path.with_file_name(format!("{TEMP_PREFIX}{}", name.to_string_lossy()))
}

/// Creates a file, fills it by `write` and fsyncs it.
pub(crate) fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = File::create(path)?;
    checked_write(&mut file, write)?;
    check(Operation::Sync)?;
    file.sync_all()
}

/// Fills a file by `write`. An injected fault keeps the first half, as a full disk would.
fn checked_write(
    file: &mut File,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let before = file.metadata()?.len();
    let fault = check(Operation::Write);
    write(file)?;
    if fault.is_err() {
        let written = file.metadata()?.len() - before;
        file.set_len(before + written / 2)?;
    }
    fault
}

/// Renames `from` to `to`, which is absent or a file, and fsyncs the directory.
pub(crate) fn rename_synced(from: &Path, to: &Path) -> Result<()> {
    check(Operation::Rename).map_err(Error::io(to))?;
    fs::rename(from, to).map_err(Error::io(to))?;
    sync_dir(&parent_dir(to))
}

/// Fsyncs a file or a directory by path.
pub(crate) fn sync_path(path: &Path) -> io::Result<()> {
    check(Operation::Sync)?;
    File::open(path)?.sync_all()
}

/// Fsyncs the entries of a directory.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    sync_path(path).map_err(Error::io(path))
}

/// Removes a file, or a directory with its content. Not an error if `path` is absent.
pub(crate) fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failpoint::{Fault, with};

    #[test]
    fn write_atomic_leaves_old_or_new_content_at_every_fault() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for fault in [Fault::Once(28), Fault::Dead] {
            for n in 0..6 {
                write_atomic(&path, "old").unwrap();
                let (written, operations) = with(n, fault, || write_atomic(&path, "new"));
                let found = fs::read_to_string(&path).unwrap();
                assert!(
                    found == "old" || found == "new",
                    "{fault:?} at {n}: {found}"
                );
                assert_eq!(written.is_err(), n < operations.len(), "{fault:?} at {n}");
                remove_temp_files(dir.path()).unwrap();
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn link_dir_atomic_leaves_old_or_new_target_at_every_fault() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("best");
        for n in 0..4 {
            link_dir_atomic(Path::new("old"), &link).unwrap();
            let linked = || link_dir_atomic(Path::new("new"), &link);
            let (linked, operations) = with(n, Fault::Once(28), linked);
            let found = fs::read_link(&link).unwrap();
            // The last operation, fsync of the directory, follows the rename.
            let expected = if n < 2 { "old" } else { "new" };
            assert_eq!(found, Path::new(expected), "at {n}");
            assert_eq!(linked.is_err(), n < operations.len(), "at {n}");
            remove_temp_files(dir.path()).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn read_at_most_longer_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, [7; 10]).unwrap();
        assert_eq!(read_at_most(&path, 10).unwrap(), [7; 10]);
        let error = read_at_most(&path, 9).unwrap_err();
        assert!(matches!(error, Error::TooLong { max: 9, .. }), "{error}");
    }
}
