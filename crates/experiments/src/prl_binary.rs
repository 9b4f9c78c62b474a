//! The `prl` binary, used through its command line and the files that it writes.
//!
//! Every call works on one directory and holds a lock on the log file there. The child process
//! inherits the locked file as its standard error: if this process is killed and started again, it
//! waits for a child that is still running.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::code_version;
use crate::programs;
use crate::workspace::Workspace;

/// Exit code of `prl` after an interrupt by a signal; the command can be resumed.
const INTERRUPTED: i32 = 130;

/// The `prl` binary and its versions.
#[derive(Clone)]
pub struct PrlBinary {
    program: PathBuf,
    /// Workspace root, removed from the paths in error messages.
    root: PathBuf,
    /// Output of `prl --version`.
    pub version: String,
    /// Code version, which names the runs that this binary makes.
    pub code: String,
}

/// Failure of a command by itself, as opposed to one by a signal: it would fail again.
#[derive(Debug)]
pub struct CommandFailed(String);

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CommandFailed {}

impl PrlBinary {
    /// The binary that the environment variable `PRL_BIN` names; otherwise that of the workspace,
    /// built if necessary.
    ///
    /// # Errors
    /// If it does not build or does not run.
    pub fn find(workspace: &Workspace, device: &str) -> Result<Self> {
        let (program, code) = match std::env::var_os("PRL_BIN") {
            Some(program) => {
                let program = std::path::absolute(program)?;
                let code = code_version::of_file(&program)?;
                (program, code)
            }
            None => {
                let program = programs::prl(workspace, device)?;
                let code = match workspace.bundle() {
                    Some(bundle) => bundle.built.code.clone(),
                    None => code_version::of_build(&workspace.root, &program)?,
                };
                (program, code)
            }
        };
        let output = Command::new(&program).arg("--version").output();
        let output = output.with_context(|| format!("failed to run {}", program.display()))?;
        ensure!(
            output.status.success(),
            "{} --version failed; is it the prl binary?",
            program.display()
        );
        Ok(Self {
            program,
            root: workspace.root.clone(),
            version: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            code,
        })
    }

    /// Replaces the code version, to name the runs of older code.
    pub fn with_code(self, code: String) -> Self {
        Self { code, ..self }
    }

    /// Its path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command and returns its standard output; standard error is appended to the log.
    ///
    /// # Errors
    /// The last line of the log; a [`CommandFailed`] unless a signal ended the command.
    pub fn call<S: AsRef<OsStr>>(
        &self,
        log: &mut LockedLog,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>> {
        let start = log.file.seek(SeekFrom::End(0))?;
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.file.try_clone()?);
        // The last line of the log becomes an error message: no escape sequences.
        command.env("NO_COLOR", "1");
        let child = command
            .spawn()
            .with_context(|| format!("failed to run {}", self.program.display()))?;
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let message = match log.last_line_since(start)? {
            Some(line) => line.replace(&format!("{}/", self.root.display()), ""),
            None => format!("prl printed no error and ended with {}", output.status),
        };
        match output.status.code() {
            None | Some(INTERRUPTED) => bail!("{message}"),
            Some(_) => Err(CommandFailed(message).into()),
        }
    }
}

/// The log file of one directory, locked: no other process works there while this value lives.
pub struct LockedLog {
    file: File,
}

impl LockedLog {
    /// Opens the log, creating its directory, and waits until no other process holds its lock.
    ///
    /// # Errors
    /// If it cannot be opened or locked.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            open_locked(path).with_context(|| format!("failed to open {}", path.display()))?;
        Ok(Self { file })
    }

    /// Last line that is not blank, from a byte offset on.
    fn last_line_since(&mut self, start: u64) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        Ok(last.map(str::to_owned))
    }
}

fn open_locked(path: &Path) -> io::Result<File> {
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
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell() -> PrlBinary {
        PrlBinary {
            program: "sh".into(),
            root: "/repository".into(),
            version: String::new(),
            code: String::new(),
        }
    }

    #[test]
    fn failed_call_returns_last_log_line_without_root() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LockedLog::open(&dir.path().join("run/log.txt")).unwrap();
        let output = shell().call(&mut log, ["-c", "echo out; echo error: old >&2"]);
        assert_eq!(output.unwrap(), b"out\n");
        let script =
            "echo first >&2; echo 'error: /repository/runs/a is gone' >&2; echo >&2; exit 3";
        let error = shell().call(&mut log, ["-c", script]).unwrap_err();
        assert_eq!(error.to_string(), "error: runs/a is gone");
        assert!(error.is::<CommandFailed>());
        let silent = shell().call(&mut log, ["-c", "kill -9 $$"]).unwrap_err();
        assert!(
            silent
                .to_string()
                .starts_with("prl printed no error and ended with signal: 9"),
            "{silent}"
        );
    }

    #[test]
    fn interrupted_call_is_not_a_command_failure() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LockedLog::open(&dir.path().join("log.txt")).unwrap();
        for script in ["kill -9 $$", "exit 130"] {
            let error = shell().call(&mut log, ["-c", script]).unwrap_err();
            assert!(!error.is::<CommandFailed>(), "{script}");
        }
    }

    #[test]
    fn child_that_outlives_its_parent_keeps_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let log = LockedLog::open(&path).unwrap();
        let mut child = Command::new("sleep")
            .arg("30")
            .stderr(log.file.try_clone().unwrap())
            .spawn()
            .unwrap();
        drop(log);
        assert!(File::open(&path).unwrap().try_lock().is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        LockedLog::open(&path).unwrap();
    }
}
