//! Exclusive lock on a directory.
//!
//! An advisory lock of the operating system on an open file in the directory: it is released when
//! the process ends, also after a crash. The file holds the PID, host and start time of the holder
//! for the error message of other processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of the lock file.
const NAME: &str = ".lock";

/// Exclusive lock on a directory, released on drop or when the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks `dir`, which must exist.
    ///
    /// # Errors
    /// [`Error::Busy`] with the holder if another process holds the lock, [`Error::Io`] if the lock
    /// file cannot be opened or written.
    pub fn acquire(dir: &Path) -> Result<Self> {
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
                holder: Holder::describe(&mut file),
            });
        }
        Holder::current()
            .write(&mut file)
            .map_err(Error::io(&path))?;
        Ok(Self { _file: file })
    }
}

/// Tries to lock an open file or directory without waiting; `false` if another process holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Holder of a lock, as written in the lock file.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    /// Unix time in seconds.
    since: u64,
}

impl Holder {
    fn current() -> Self {
        Self {
            pid: std::process::id(),
            host: host_name().unwrap_or_else(|| "this host".into()),
            since: now(),
        }
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(self)?)
    }

    /// Description of the holder for an error message. The holder may not have written it yet.
    fn describe(file: &mut File) -> String {
        let mut text = String::new();
        let read = file.read_to_string(&mut text);
        match (read, serde_json::from_str::<Self>(&text)) {
            (Ok(_), Ok(Self { pid, host, since })) => {
                let seconds = now().saturating_sub(since);
                format!("process {pid} on {host}, for {seconds} s now")
            }
            _ => "another process".into(),
        }
    }
}

fn host_name() -> Option<String> {
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) => Some(name.trim().to_owned()),
        Err(_) => std::env::var("HOSTNAME").ok(),
    }
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_lock_refuses_a_second_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        let message = DirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn corrupt_lock_file_names_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), b"\xff{").unwrap();
        let _first = DirLock::acquire(dir.path()).unwrap();
        assert!(matches!(
            DirLock::acquire(dir.path()),
            Err(Error::Busy { .. })
        ));
    }
}
