//! Files that are whole or absent, and the one way by which datasets and runs reach the disk: what is written lies aside
//! until it is synced, then takes its name in one step. Each operation can be made to fail ([`fault`](crate::fault)).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::fault::{Operation, check};

/// What the name of everything begins with that is not yet in its place.
const ASIDE: &str = ".staged.";

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Writes a file aside, forces it to the disk and renames it: a kill leaves the old one or the new one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = aside(path);
    write_synced(&part, |file| file.write_all(bytes)).map_err(Error::io(&part))?;
    put(&part, path)
}

/// Reads a file that is small if it is what it should be, without taking in one that is not.
pub fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(Error::io(path))?;
    if bytes.len() as u64 > most {
        return Err(Error::damaged(path, format!("longer than {most} bytes")));
    }
    Ok(bytes)
}

/// Adds to the end of a file and forces it to the disk.
pub fn append_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let append = || {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        checked_write(&mut file, |file| file.write_all(bytes))?;
        check(Operation::Sync)?;
        file.sync_all()
    };
    append().map_err(Error::io(path))
}

/// Removes what killed processes left in a directory that nobody else writes to. Returns how many files and directories.
pub fn sweep(dir: &Path) -> Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        if !entry.file_name().to_string_lossy().starts_with(ASIDE) {
            continue;
        }
        let path = entry.path();
        check(Operation::Remove)
            .and_then(|()| remove_any(&path))
            .map_err(Error::io(&path))?;
        swept += 1;
    }
    Ok(swept)
}

/// Where a file or a directory lies until it is in its place: beside it.
pub(crate) fn aside(path: &Path) -> PathBuf {
    path.with_file_name(format!(
        "{ASIDE}{}",
        path.file_name().unwrap_or_default().to_string_lossy()
    ))
}

/// The directory a path lies in.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes a file by `write` and forces it to the disk.
pub(crate) fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = File::create(path)?;
    checked_write(&mut file, write)?;
    check(Operation::Sync)?;
    file.sync_all()
}

/// A write that fails has written a part, as on a full disk.
fn checked_write(
    file: &mut File,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let before = file.metadata()?.len();
    let may = check(Operation::Write);
    write(file)?;
    if may.is_err() {
        let written = file.metadata()?.len() - before;
        file.set_len(before + written / 2)?;
    }
    may
}

/// Gives the finished file or directory `from` the name `to`, which holds nothing or a file, and forces that to the disk.
pub(crate) fn put(from: &Path, to: &Path) -> Result<()> {
    check(Operation::Rename)
        .and_then(|()| fs::rename(from, to))
        .map_err(Error::io(to))?;
    sync_directory(&parent(to))
}

/// Forces a directory's entries to the disk.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    check(Operation::Sync)
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(Error::io(path))
}

/// Removes a file, or a directory and all in it; what is not there is no error.
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
