//! A directory that one process works in at a time. The lock is the system's own on an open file, so it ends with its
//! process, however that ends; who holds it is written in the file, for whoever is refused.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const NAME: &str = ".lock";

/// A directory held until this is dropped or the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the directory, which must be there.
    ///
    /// # Errors
    /// [`Error::Busy`] with who holds it.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = file.map_err(Error::io(&path))?;
        if !try_lock(&file).map_err(Error::io(&path))? {
            return Err(Error::Busy {
                path: dir.to_owned(),
                holder: Holder::read(&mut file),
            });
        }
        Holder::here().write(&mut file).map_err(Error::io(&path))?;
        Ok(Self { _file: file })
    }
}

/// Whether the file was free and is now locked by this process.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Who holds a lock.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    /// Seconds since 1970.
    since: u64,
}

impl Holder {
    fn here() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .or_else(|| std::env::var("HOSTNAME").ok());
        let host = host.map_or_else(|| "this host".into(), |name| name.trim().to_owned());
        Self {
            pid: std::process::id(),
            host,
            since: now(),
        }
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(self)?)
    }

    /// What the file says of the holder, who may not have written it yet.
    fn read(file: &mut File) -> String {
        let mut text = String::new();
        let read = file
            .read_to_string(&mut text)
            .ok()
            .and_then(|_| serde_json::from_str::<Self>(&text).ok());
        read.map_or_else(
            || "another process".into(),
            |Self { pid, host, since }| {
                format!(
                    "process {pid} on {host}, for {} s now",
                    now().saturating_sub(since)
                )
            },
        )
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_by_name_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let message = DirLock::take(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_of_junk_is_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), b"\xff{").unwrap();
        let _first = DirLock::take(dir.path()).unwrap();
        assert!(matches!(DirLock::take(dir.path()), Err(Error::Busy { .. })));
    }
}
