//! Trials as processes: `prl train` of this program, so that one that fails cannot end the search.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use anyhow::Context;
use prl_fs::write_atomic;
use prl_runs::{Config, Selection};
use prl_tracking::Target;
use prl_train::Evaluation;
use prl_tune::{CurvePoint, Trial};

use super::search_dir::SearchDir;
use crate::output::errln;
use crate::program::program;

/// Time between two polls of a process.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// Longest end of a log that is searched for its last line, in bytes.
const LOG_TAIL: u64 = 1 << 16;

/// Starts the trainings of a search.
pub(super) struct Launcher {
    device: String,
    threads: usize,
    tracking: Vec<Target>,
}

/// A training in progress.
pub(super) struct Training {
    child: Child,
    run: PathBuf,
    log: PathBuf,
    select: Selection,
    /// Whether its end was requested.
    pub(super) is_terminated: bool,
}

impl Launcher {
    pub(super) fn new(device: String, jobs: u64, tracking: Vec<Target>) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            device,
            threads: (cores / jobs as usize).max(1),
            tracking,
        }
    }

    /// Starts or resumes the training of a trial.
    ///
    /// # Errors
    /// If its files cannot be written or the process cannot be started.
    pub(super) fn start(
        &self,
        dir: &SearchDir,
        trial: &Trial,
        config: &Config,
    ) -> anyhow::Result<Training> {
        let run = dir.run(trial.number);
        let (settings, log) = (run.with_extension("toml"), run.with_extension("log"));
        write_atomic(&settings, config.to_toml()?)?;
        let file = open_log(&log)?;
        // The child inherits the lock with the file, for `wait_for_orphan`.
        _ = file.try_lock();
        let mut command = program()?;
        command.args(["train", "--resume", "--device", &self.device]);
        command.args(["--threads", &self.threads.to_string()]);
        command.arg("--config").arg(settings).arg("--out").arg(&run);
        for target in &self.tracking {
            command.args(["--track", &target.to_string()]);
        }
        if !self.tracking.is_empty() {
            command.args(["--track-name", &dir.trial_name(trial.number)]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(file).env("NO_COLOR", "1");
        // Ctrl-C must reach a training once, by way of the search: twice would end it without a
        // checkpoint.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn();
        let failed = || format!("failed to run {}", command.get_program().display());
        Ok(Training {
            child: child.with_context(failed)?,
            run,
            log,
            select: config.select,
            is_terminated: false,
        })
    }
}

impl Training {
    /// Exit status, if it has ended.
    pub(super) fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Requests the end of the training, which writes a checkpoint.
    pub(super) fn terminate(&mut self) {
        if !std::mem::replace(&mut self.is_terminated, true) {
            terminate(&mut self.child);
        }
    }

    /// Waits until the process has ended.
    pub(super) fn wait(&mut self) -> anyhow::Result<()> {
        self.child.wait()?;
        Ok(())
    }

    /// Validations so far, and the seconds trained until the last one.
    pub(super) fn curve(&self) -> (Vec<CurvePoint>, f64) {
        let text = fs::read_to_string(self.run.join("metrics.jsonl")).unwrap_or_default();
        let (mut curve, mut seconds) = (Vec::new(), 0.0);
        for line in text.lines() {
            // A line that is being written is not yet whole.
            let Ok(evaluation) = serde_json::from_str::<Evaluation>(line) else {
                break;
            };
            seconds = evaluation.seconds;
            if let Some(val) = evaluation.val {
                curve.push(CurvePoint {
                    epoch: evaluation.epoch,
                    value: self.select.score(&val),
                });
            }
        }
        (curve, seconds)
    }

    /// Error message of a training that failed: the last line of its log, or its status.
    pub(super) fn message(&self, status: ExitStatus) -> String {
        let line = last_line(&self.log).unwrap_or_default();
        match line.strip_prefix("error: ") {
            Some(message) => message.to_owned(),
            None => format!("the training ended with {status}"),
        }
    }
}

#[cfg(unix)]
fn terminate(child: &mut Child) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    // A process that has ended is not waited for yet, so its number is not another's.
    _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
}

/// Without signals the last checkpoint is that of the latest validation.
#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    _ = child.kill();
}

/// Waits until no process trains the trial any more: the training of a search that was killed goes
/// on until its end. `is_over` ends the wait.
pub(super) fn wait_for_orphan(
    dir: &SearchDir,
    number: u64,
    is_over: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let log = open_log(&dir.run(number).with_extension("log"))?;
    let mut is_reported = false;
    while log.try_lock().is_err() && !is_over() {
        if !is_reported {
            errln!("waiting for trial {number}, which still trains since the search was killed");
            is_reported = true;
        }
        sleep(POLL);
    }
    Ok(())
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path);
    file.with_context(|| format!("failed to open {}", path.display()))
}

/// Last line of a file that is not blank.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))
        .ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map(str::to_owned)
}
