//! Registry of runs: a directory with one run a subdirectory, and a pointer to the one that is
//! served.
//!
//! `current` is a symbolic link that is replaced atomically, so a server that follows it finds the
//! old run or the new one. `history.jsonl` has a line for each promotion; its last lines say what to
//! go back to.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use candle_core::Device;
use prl_fs::{DirLock, append_synced, link_dir_atomic, read_at_most};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::MAX_TEXT;
use crate::manifest::RunManifest;
use crate::run_dir::Run;

/// Name of the pointer to the served run.
pub const CURRENT: &str = "current";
const HISTORY: &str = "history.jsonl";

/// A registry of runs.
pub struct Registry {
    dir: PathBuf,
}

/// A run of a registry.
#[derive(Debug)]
pub struct RegisteredRun {
    /// Name of its directory.
    pub name: String,
    /// Whether it is the promoted one.
    pub is_current: bool,
    /// Its manifest, or why it cannot be promoted.
    pub manifest: std::result::Result<RunManifest, String>,
}

/// A change of the pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Seconds since the Unix epoch.
    pub time: u64,
    /// Name of the run's directory.
    pub run: String,
    /// Name of the model: the first 12 digits of its weights' SHA-256.
    pub model: String,
    /// Whether it was a rollback.
    pub rollback: bool,
}

impl Registry {
    /// The registry in an existing directory.
    ///
    /// # Errors
    /// [`Error::Run`] if there is no directory.
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            let what = "no registry here; create the directory and train runs into it: \
                        `prl train --out REGISTRY/NAME`";
            return Err(Error::run(dir, what));
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Name of the promoted run; `None` before the first promotion.
    ///
    /// # Errors
    /// [`Error::Run`] if the pointer points out of the registry.
    pub fn current(&self) -> Result<Option<String>> {
        let link = self.dir.join(CURRENT);
        let target = match std::fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(prl_fs::Error::io(&link)(error).into()),
        };
        let is_name = target.components().count() == 1;
        match target.to_str().filter(|_| is_name) {
            Some(name) => Ok(Some(name.to_owned())),
            None => {
                let target = target.display();
                let what = format!("points to {target}; promote a run of this registry");
                Err(Error::run(&link, what))
            }
        }
    }

    /// Its runs by name. Directories without a run are not listed.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn runs(&self) -> Result<Vec<RegisteredRun>> {
        let current = self.current()?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(prl_fs::Error::io(&self.dir))? {
            let entry = entry.map_err(prl_fs::Error::io(&self.dir))?;
            if let Some(name) = entry.file_name().to_str()
                && name != CURRENT
                && Run::is_in(&entry.path())
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        let mut runs = Vec::with_capacity(names.len());
        for name in names {
            runs.push(RegisteredRun {
                is_current: current.as_ref() == Some(&name),
                manifest: self.manifest(&name).map_err(|error| error.to_string()),
                name,
            });
        }
        Ok(runs)
    }

    /// Promotes a run, after loading it as a server would.
    ///
    /// # Errors
    /// If the registry has no such run, it is not finished, or its model cannot be loaded; the
    /// promoted run stays what it was.
    pub fn promote(&self, name: &str) -> Result<Promotion> {
        self.point_to(name, false)
    }

    /// Promotes the run that was promoted before the present one.
    ///
    /// # Errors
    /// [`Error::Run`] if there is none, and as [`promote`](Self::promote).
    pub fn rollback(&self) -> Result<Promotion> {
        let history = self.history()?;
        // A rollback undoes the promotion before it: going back twice goes two runs back.
        let mut promoted: Vec<&str> = Vec::new();
        for promotion in &history {
            if promotion.rollback {
                promoted.pop();
            } else {
                promoted.push(&promotion.run);
            }
        }
        promoted.pop();
        match promoted.last() {
            Some(&name) => self.point_to(name, true),
            None => Err(Error::run(&self.dir, "no earlier promotion to go back to")),
        }
    }

    /// All promotions, the oldest first.
    ///
    /// # Errors
    /// If the history cannot be read.
    pub fn history(&self) -> Result<Vec<Promotion>> {
        let path = self.dir.join(HISTORY);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let mut history = Vec::new();
        // Without its line break the last line is one that a killed process did not finish.
        for line in read_at_most(&path, MAX_TEXT)?.split_inclusive(|&byte| byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            let damaged = |error: serde_json::Error| Error::run(&path, error.to_string());
            history.push(serde_json::from_slice(line).map_err(damaged)?);
        }
        Ok(history)
    }

    fn manifest(&self, name: &str) -> Result<RunManifest> {
        let dir = self.dir.join(name);
        let manifest = Run::open(&dir)?.manifest()?;
        manifest.ok_or_else(|| Error::run(&dir, "training has not finished"))
    }

    fn point_to(&self, name: &str, rollback: bool) -> Result<Promotion> {
        let dir = self.dir.join(name);
        let is_name = Path::new(name).components().count() == 1 && !name.starts_with('.');
        if !is_name || name == CURRENT || !Run::is_in(&dir) {
            let names: Vec<String> = self.runs()?.into_iter().map(|run| run.name).collect();
            let what = format!("no run {name:?}; there are {}", names.join(", "));
            return Err(Error::run(&self.dir, what));
        }
        let _lock = DirLock::acquire(&self.dir)?;
        let manifest = self.manifest(name)?;
        let run = Run::open(&dir)?;
        run.load(&Device::Cpu)?;
        let promotion = Promotion {
            time: now(),
            run: name.to_owned(),
            model: run.model_name()?,
            rollback,
        };
        if promotion.model != manifest.model {
            let what = "the weights are not those of its manifest; train it again";
            return Err(Error::run(&dir, what));
        }
        // The history first: a promotion that it lacks could not be undone.
        let mut line = serde_json::to_vec(&promotion).map_err(std::io::Error::from);
        if let Ok(line) = &mut line {
            line.push(b'\n');
        }
        let path = self.dir.join(HISTORY);
        let line = line.map_err(prl_fs::Error::io(&path))?;
        append_synced(&path, &line)?;
        link_dir_atomic(Path::new(name), &self.dir.join(CURRENT))?;
        Ok(promotion)
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
