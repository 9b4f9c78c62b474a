//! What is done for one run: trained and evaluated, in its directory. A task knows nothing of the study that it is of, so it
//! can be written down and carried out by another process, on another machine of a cluster.

use std::path::PathBuf;

use anyhow::Result;
use prl_dataset::Split;
use prl_eval::Report;
use serde::{Deserialize, Serialize};

use crate::files::write_file;
use crate::machine::Machine;
use crate::outcome::{
    CASES, Failure, Finished, MACHINE, MANIFEST, Outcome, SPLITS, read_json, report_path,
};
use crate::prl_binary::{CommandFailed, LockedLog, PrlBinary};
use crate::prompt_sweep::Ask;

/// One run, as whoever makes it must know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its directory.
    pub dir: PathBuf,
    /// The prepared dataset.
    pub data: PathBuf,
    /// The flags of `prl train` that shape it.
    pub flags: Vec<String>,
    /// The prompts it is asked beside that of the tables.
    pub asks: Vec<Ask>,
}

impl Task {
    /// Makes the run as far as it is not done. A failure is recorded, so that it is not tried for ever; a run that a signal
    /// ended is tried again next time.
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
        Failure::forget(&self.dir)?;
        let error = match self.perform(prl, machine, threads, device) {
            Ok(finished) => return Ok(Outcome::Done(finished.into())),
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

    fn perform(
        &self,
        prl: &PrlBinary,
        machine: &Machine,
        threads: usize,
        device: &str,
    ) -> Result<Finished> {
        let mut log = LockedLog::open(&self.dir.join("log.txt"))?;
        let (dir, data) = (
            self.dir.display().to_string(),
            self.data.display().to_string(),
        );
        let threads = threads.to_string();
        let common = ["--data", &data, "--device", device, "--threads", &threads];
        if !self.dir.join(MANIFEST).exists() {
            write_file(&self.dir.join(MACHINE), serde_json::to_vec_pretty(machine)?)?;
            let mut args = vec!["train", "--resume", "--out", &dir];
            args.extend(common);
            args.extend(self.flags.iter().map(String::as_str));
            prl.call(&mut log, args)?;
        }
        // A report is there only if the cases are: they are written first.
        let mut evaluate = |path: &std::path::Path, split: Split, more: &[&str]| -> Result<()> {
            if read_json::<Report>(path).is_ok() {
                return Ok(());
            }
            let mut args = vec!["evaluate", "--json", "--run", &dir, "--split", split.name()];
            args.extend(common);
            args.extend(more);
            write_file(path, prl.call(&mut log, args)?)
        };
        let cases = self.dir.join(CASES).display().to_string();
        for split in SPLITS {
            let more: &[&str] = if split == Split::Test {
                &["--cases", &cases]
            } else {
                &[]
            };
            evaluate(&report_path(&self.dir, split), split, more)?;
        }
        for (ask, path) in self
            .asks
            .iter()
            .filter_map(|ask| Some((ask, ask.path(&self.dir)?)))
        {
            let flags = ask.flags();
            evaluate(&path, Split::Test, &flags.each_ref().map(String::as_str))?;
        }
        Finished::read(&self.dir, &self.asks)
    }
}
