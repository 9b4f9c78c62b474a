//! Directory of a search: `search.json`, `trials.jsonl`, `trials/`, `best` and `index.html`.

use std::fs;
use std::path::{Path, PathBuf};

use prl_dataset::Dataset;
use prl_fs::{DirLock, read_at_most, remove_temp_files, write_atomic};
use prl_runs::{Error, Run};
use prl_tracking::name_of_folder;
use prl_tune::{Pruner, Status, Trial, TrialLog, ranking};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::candidates::Candidates;
use crate::exit::Usage;

const IDENTITY: &str = "search.json";
const MAX_BYTES: u64 = 1 << 24;
const VERSION: u32 = 1;

/// Identity of a search, `search.json`: with another one it is another search.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchIdentity {
    format: String,
    format_version: u32,
    /// Hash of the dataset.
    dataset: String,
    metric: String,
    pruner: String,
    seed: u64,
    space: Table,
}

impl SearchIdentity {
    pub(super) fn new(
        data: &Dataset,
        candidates: &Candidates,
        pruner: Pruner,
        seed: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            format: "prl-search".into(),
            format_version: VERSION,
            dataset: data.manifest().dataset.clone(),
            metric: candidates.metric.clone(),
            pruner: pruner.name().into(),
            seed,
            space: candidates.space.table().clone(),
        })
    }

    /// Reads the identity of the search in a directory.
    fn read(dir: &Path) -> anyhow::Result<Self> {
        let file = dir.join(IDENTITY);
        match serde_json::from_slice(&read_at_most(&file, MAX_BYTES)?) {
            Ok(identity) => Ok(identity),
            Err(error) => {
                let what = format!("{error}; start the search in another --out");
                Err(Error::run(&file, what).into())
            }
        }
    }

    /// The first flag by which two searches differ.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let flags = [
            (self.dataset != other.dataset, "--data"),
            (self.metric != other.metric, "--select"),
            (self.pruner != other.pruner, "--pruner"),
            (self.seed != other.seed, "--seed"),
            (self.space != other.space, "--space"),
            (self != other, "its format"),
        ];
        let different = flags.into_iter().find(|(is_different, _)| *is_different);
        different.map(|(_, flag)| flag)
    }
}

/// The space of the search in a directory, as TOML; `None` if there is no search.
pub(super) fn stored_space(dir: &Path) -> anyhow::Result<Option<String>> {
    if !dir.join(IDENTITY).exists() {
        return Ok(None);
    }
    let identity = SearchIdentity::read(dir)?;
    Ok(Some(toml::to_string(&identity.space)?))
}

/// The locked directory of a search.
pub(super) struct SearchDir {
    path: PathBuf,
    pub(super) log: TrialLog,
    _lock: DirLock,
}

impl SearchDir {
    /// Locks the directory and creates the search in it, or with `resume` opens the existing one;
    /// returns it with its trials.
    pub(super) fn open(
        path: &Path,
        identity: &SearchIdentity,
        resume: bool,
    ) -> anyhow::Result<(Self, Vec<Trial>)> {
        let file = path.join(IDENTITY);
        if file.exists() {
            check_resumption(path, identity, resume)?;
        } else {
            Run::check_is_free(path)?;
        }
        let trials = path.join("trials");
        fs::create_dir_all(&trials).map_err(Error::io(&trials))?;
        let lock = DirLock::acquire(path)?;
        remove_temp_files(path)?;
        // Once more, since another process may have begun a search before the lock.
        if file.exists() {
            check_resumption(path, identity, resume)?;
        } else {
            write_atomic(&file, serde_json::to_vec_pretty(identity)?)?;
        }
        let (log, trials) = TrialLog::open(&path.join("trials.jsonl"))?;
        let dir = Self {
            path: path.to_owned(),
            log,
            _lock: lock,
        };
        dir.link_best(&trials)?;
        Ok((dir, trials))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Run directory of a trial.
    pub(super) fn run(&self, number: u64) -> PathBuf {
        self.path.join(run_name(number))
    }

    /// Name of a trial in trackers: the search's directory and the trial's number.
    pub(super) fn trial_name(&self, number: u64) -> String {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.file_name().unwrap_or_default().to_string_lossy();
        format!("{}/{number:04}", name_of_folder(&folder))
    }

    /// Points `best` to the best finished trial, if there is one.
    pub(super) fn link_best(&self, trials: &[Trial]) -> anyhow::Result<()> {
        if let Some(best) = ranking(trials).first() {
            let (target, link) = (run_name(best.number), self.path.join("best"));
            if fs::read_link(&link).ok().as_deref() != Some(Path::new(&target)) {
                prl_fs::link_dir_atomic(Path::new(&target), &link)?;
            }
        }
        Ok(())
    }

    /// Removes what an ended trial has no further use for: the checkpoint, and the weights of one
    /// that was stopped.
    pub(super) fn clear(&self, trial: &Trial) -> anyhow::Result<()> {
        let unused: &[&str] = match trial.status {
            Status::Incomplete => &[],
            Status::Finished => &["checkpoint"],
            Status::Stopped | Status::Failed => &["checkpoint", "best"],
        };
        for name in unused {
            let path = self.run(trial.number).join(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}

fn run_name(number: u64) -> String {
    format!("trials/{number:04}")
}

/// Fails if the search in a directory is not to be continued, or is another one.
fn check_resumption(path: &Path, identity: &SearchIdentity, resume: bool) -> anyhow::Result<()> {
    let shown = path.display();
    if !resume {
        return Err(Usage(format!(
            "{shown} already holds a search; go on with --resume, or name another --out"
        ))
        .into());
    }
    if let Some(flag) = SearchIdentity::read(path)?.difference(identity) {
        return Err(Usage(format!(
            "{shown} holds a search that differs in {flag}; continue it with its own, or name another --out"
        ))
        .into());
    }
    Ok(())
}
