//! The `prl` binary, used as anybody would: by its command line and the files it writes.
//!
//! Every call works on a directory under a lock that is a lock on its log file. The child holds it too, as its standard
//! error, so when this process is killed and started again, it waits for a child that is still at work.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::code;
use crate::{binary, packed, root};

/// Its exit code when it was interrupted: a signal asked it to stop, and it can go on.
const INTERRUPTED: i32 = 130;

/// The binary.
#[derive(Clone)]
pub struct Prl {
    program: PathBuf,
    /// What `prl --version` says.
    pub version: String,
    /// What tells its code from any other's.
    pub code: String,
}

/// A command that came to its own end, and failed: it would fail again.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl Prl {
    /// The binary that the environment variable `PRL_BIN` names, or else one built now, or packed.
    pub fn find(device: &str) -> Result<Self> {
        match std::env::var_os("PRL_BIN") {
            Some(program) => {
                let program = std::path::absolute(program)?;
                let code = code::of_file(&program)?;
                Self::at(program, code)
            }
            None => {
                let program = binary::prl(device)?;
                let packed = packed::here().map(|pack| Ok(pack.built.code.clone()));
                let code = packed.unwrap_or_else(|| code::of_source_or(&program))?;
                Self::at(program, code)
            }
        }
    }

    /// The binary at this path.
    fn at(program: PathBuf, code: String) -> Result<Self> {
        let output = Command::new(&program).arg("--version").output();
        let output = output.with_context(|| format!("failed to run {}", program.display()))?;
        ensure!(
            output.status.success(),
            "{} --version failed; is it the prl binary?",
            program.display()
        );
        Ok(Self {
            program,
            version: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            code,
        })
    }

    /// The same binary, for the runs of another version of the code.
    pub fn of_code(self, code: String) -> Self {
        Self { code, ..self }
    }

    /// Where it lies.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// The last line it logged; a [`Failed`] unless a signal ended it.
    pub fn call<S: AsRef<OsStr>>(
        &self,
        log: &mut Log,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>> {
        let start = log.file.seek(SeekFrom::End(0))?;
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.file.try_clone()?);
        // The log is read as text.
        command.env("NO_COLOR", "1");
        let child = command
            .spawn()
            .with_context(|| format!("failed to run {}", self.program.display()))?;
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let last = log.last_line(start)?;
        let last =
            last.unwrap_or_else(|| format!("prl said nothing and ended with {}", output.status));
        match output.status.code() {
            None | Some(INTERRUPTED) => bail!("{last}"),
            Some(_) => Err(Failed(last).into()),
        }
    }
}

/// The log of one directory, locked: nobody else works there while it lives.
pub struct Log {
    file: File,
}

impl Log {
    /// Opens the log and waits until nobody else has it.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .open(path)?;
            if file.try_lock().is_err() {
                eprintln!(
                    "waiting for another process that works on {}",
                    path.display()
                );
                file.lock()?;
            }
            Ok(file)
        };
        let file: std::io::Result<File> = open();
        Ok(Self {
            file: file.with_context(|| format!("failed to open {}", path.display()))?,
        })
    }

    /// The last line since a position, without the folder of this repository.
    fn last_line(&mut self, start: u64) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        Ok(last.map(|line| line.replace(&format!("{}/", root().display()), "")))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell() -> Prl {
        Prl {
            program: "sh".into(),
            version: String::new(),
            code: String::new(),
        }
    }

    #[test]
    fn a_failure_is_its_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("run/log.txt")).unwrap();
        assert_eq!(
            shell()
                .call(&mut log, ["-c", "echo out; echo error: old >&2"])
                .unwrap(),
            b"out\n"
        );
        let inside = format!(
            "echo first >&2; echo 'error: {}/runs/a is gone' >&2; echo >&2; exit 3",
            root().display()
        );
        let error = shell().call(&mut log, ["-c", &inside]).unwrap_err();
        assert_eq!(error.to_string(), "error: runs/a is gone");
        assert!(error.is::<Failed>());
        let silent = shell()
            .call(&mut log, ["-c", "kill -9 $$"])
            .unwrap_err()
            .to_string();
        assert!(
            silent.starts_with("prl said nothing and ended with signal: 9"),
            "{silent}"
        );
    }

    #[test]
    fn a_signal_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("log.txt")).unwrap();
        for interrupted in ["kill -9 $$", "exit 130"] {
            assert!(
                !shell()
                    .call(&mut log, ["-c", interrupted])
                    .unwrap_err()
                    .is::<Failed>(),
                "{interrupted}"
            );
        }
    }

    #[test]
    fn a_child_that_outlives_its_parent_keeps_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let log = Log::open(&path).unwrap();
        let mut child = Command::new("sleep")
            .arg("30")
            .stderr(log.file.try_clone().unwrap())
            .spawn()
            .unwrap();
        drop(log);
        assert!(File::open(&path).unwrap().try_lock().is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        Log::open(&path).unwrap();
    }
}
