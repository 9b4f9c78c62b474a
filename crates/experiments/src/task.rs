//! The work of one run: training and evaluation in the run's directory. A task is independent of
//! the experiment that it belongs to, so it can be stored and executed by another process, on
//! another machine of a cluster.

use std::path::{Path, PathBuf};

use anyhow::Result;
use prl_dataset::Split;
use prl_eval::Report;
use serde::{Deserialize, Serialize};

use crate::files::{read_json, write_file};
use crate::machine::Machine;
use crate::outcome::{CASES, Failure, MACHINE, MANIFEST, Outcome, RunResults, SPLITS, report_path};
use crate::prl_binary::{CommandFailed, LockedLog, PrlBinary};
use crate::prompt_sweep::PromptSetting;

/// Everything that is needed to make one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Directory of the run.
    pub dir: PathBuf,
    /// Directory of the prepared dataset.
    pub data: PathBuf,
    /// Flags of `prl train` that determine its result.
    pub flags: Vec<String>,
    /// Prompts to evaluate, that of the tables included.
    #[serde(rename = "asks")]
    pub prompts: Vec<PromptSetting>,
}

/// A task being executed: the locked log and the flags common to all commands.
struct Execution<'a> {
    prl: &'a PrlBinary,
    log: LockedLog,
    dir: String,
    common: Vec<String>,
}

impl Task {
    /// Executes the parts of the task that are not done. A failure is recorded, so that the task is
    /// not repeated forever; a run that a signal interrupted resumes at the next call.
    ///
    /// # Errors
    /// If the failure cannot be recorded.
    pub fn attempt(
        &self,
        prl: &PrlBinary,
        machine: &Machine,
        threads: usize,
        device: &str,
    ) -> Result<Outcome> {
        Failure::remove(&self.dir)?;
        let error = match self.execute(prl, machine, threads, device) {
            Ok(results) => return Ok(Outcome::Done(results.into())),
            Err(error) => error,
        };
        let failure = Failure {
            message: format!("{error:#}"),
        };
        if error.is::<CommandFailed>() {
            failure.write(&self.dir)?;
        }
        Ok(Outcome::Failed(failure))
    }

    fn execute(
        &self,
        prl: &PrlBinary,
        machine: &Machine,
        threads: usize,
        device: &str,
    ) -> Result<RunResults> {
        let data = self.data.display().to_string();
        let threads = threads.to_string();
        let common = ["--data", &data, "--device", device, "--threads", &threads];
        let mut execution = Execution {
            prl,
            log: LockedLog::open(&self.dir.join("log.txt"))?,
            dir: self.dir.display().to_string(),
            common: common.map(str::to_owned).into(),
        };
        if !self.dir.join(MANIFEST).exists() {
            write_file(&self.dir.join(MACHINE), serde_json::to_vec_pretty(machine)?)?;
            execution.train(&self.flags)?;
        }
        let cases = self.dir.join(CASES).display().to_string();
        for split in SPLITS {
            // `prl evaluate` writes the cases before it prints the report, so a report implies
            // that its cases exist.
            let more = match split {
                Split::Test => vec!["--cases".to_owned(), cases.clone()],
                _ => Vec::new(),
            };
            execution.evaluate(&report_path(&self.dir, split), split, &more)?;
        }
        for prompt in &self.prompts {
            if let Some(path) = prompt.report_path(&self.dir) {
                execution.evaluate(&path, Split::Test, &prompt.flags())?;
            }
        }
        RunResults::read(&self.dir, &self.prompts)
    }
}

impl Execution<'_> {
    fn train(&mut self, flags: &[String]) -> Result<()> {
        let mut args = vec!["train", "--resume", "--recipe", "paper", "--out", &self.dir];
        args.extend(self.common.iter().map(String::as_str));
        args.extend(flags.iter().map(String::as_str));
        self.prl.call(&mut self.log, args)?;
        Ok(())
    }

    /// Evaluates a split and writes the report to `path`, unless a readable one exists.
    fn evaluate(&mut self, path: &Path, split: Split, flags: &[String]) -> Result<()> {
        if read_json::<Report>(path).is_ok() {
            return Ok(());
        }
        let mut args = vec!["evaluate", "--json", "--run", &self.dir, "--split"];
        args.push(split.name());
        args.extend(self.common.iter().map(String::as_str));
        args.extend(flags.iter().map(String::as_str));
        write_file(path, self.prl.call(&mut self.log, args)?)
    }
}
