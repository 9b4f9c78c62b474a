//! The datasets: the real logs where they are, stand-ins made up where they are not, prepared once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::prl_binary::{LockedLog, PrlBinary};
use crate::run_spec::fingerprint;
use crate::schedule::Scale;
use crate::workspace::Workspace;

/// A public log that the paper uses.
pub struct Source {
    /// As `prl` names it, and its folder.
    pub name: &'static str,
    /// As the paper names it.
    pub title: &'static str,
    /// The raw files, each with the flag of `prl prepare` that takes it.
    files: &'static [(&'static str, &'static str)],
    /// Sessions of the stand-in at quick scale.
    quick_sessions: u64,
}

/// The logs, in the order of the paper's tables.
pub const SOURCES: [Source; 2] = [
    Source {
        name: "rc15",
        title: "RC15",
        files: &[
            ("--clicks", "yoochoose-clicks.dat"),
            ("--buys", "yoochoose-buys.dat"),
        ],
        quick_sessions: 8000,
    },
    Source {
        name: "retailrocket",
        title: "RetailRocket",
        files: &[("--input", "events.csv")],
        quick_sessions: 8000,
    },
];

/// One of the logs, prepared.
pub struct Dataset {
    /// Which log it is, or stands in for.
    pub source: &'static Source,
    /// Where it lies.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

/// What is read of a prepared dataset's `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Its hash.
    pub dataset: String,
    /// Where the events come from.
    pub source: Origin,
    /// The paper's Table 1.
    pub counts: BeforeAndAfter,
    /// The same for each split.
    pub splits: BTreeMap<String, Counts>,
}

/// Where events come from.
#[derive(Clone, Debug, Deserialize)]
pub struct Origin {
    /// Whether they are made up.
    pub synthetic: bool,
}

/// Counts before and after the filter of long sessions.
#[derive(Clone, Debug, Deserialize)]
pub struct BeforeAndAfter {
    /// As the paper counts them.
    pub before_length_filter: Counts,
    /// What is learned from.
    pub after_length_filter: Counts,
}

/// A column of Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Counts {
    pub sessions: u64,
    pub items: u64,
    pub clicks: u64,
    pub purchases: u64,
}

impl Dataset {
    /// Finds or makes the raw files and prepares them under `data`, unless that is done. A pack has it prepared.
    pub fn open(
        workspace: &Workspace,
        source: &'static Source,
        raw: &Path,
        data: &Path,
        scale: Scale,
        prl: &PrlBinary,
    ) -> Result<Self> {
        let real = raw.join(source.name);
        let dir = if let Some(bundle) = workspace.bundle() {
            bundle.dataset(source.name)?
        } else if source.is_in(&real)? {
            let dir = data.join(format!(
                "{}-{}",
                source.name,
                fingerprint(&source.look(&real)?)
            ));
            source.prepare(&real, &dir, prl)?;
            dir
        } else {
            let flags = source.synth_flags(scale);
            let name = format!(
                "{}-synthetic-{}",
                source.name,
                fingerprint(&format!("{} {flags:?}", prl.code))
            );
            let (made, dir) = (data.join("raw").join(&name), data.join(name));
            source.make_up(&made, &dir, flags, prl)?;
            source.prepare(&made, &dir, prl)?;
            dir
        };
        let path = dir.join("manifest.json");
        let manifest =
            fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let manifest = serde_json::from_slice(&manifest);
        Ok(Self {
            source,
            manifest: manifest.with_context(|| format!("failed to read {}", path.display()))?,
            dir,
        })
    }

    /// Whether it is made up.
    pub fn is_synthetic(&self) -> bool {
        self.manifest.source.synthetic
    }

    /// `real` or `SYNTHETIC`.
    pub fn kind(&self) -> &'static str {
        if self.is_synthetic() {
            "SYNTHETIC"
        } else {
            "real"
        }
    }

    /// What is stamped on every page that it had a part in.
    pub fn stamp(&self) -> Option<String> {
        let title = self.source.title;
        self.is_synthetic().then(|| {
            format!("# SYNTHETIC DATA: made up by `prl synth`, NOT {title}. Nothing here is a result on {title}.\n\n")
        })
    }

    /// Rows to learn from.
    pub fn training_rows(&self) -> u64 {
        self.rows("train")
    }

    /// Rows of a split: every event is one.
    pub fn rows(&self, split: &str) -> u64 {
        self.manifest
            .splits
            .get(split)
            .map_or(0, |split| split.clicks + split.purchases)
    }
}

impl Source {
    /// Whether its raw files are in a folder: all, or none.
    fn is_in(&self, dir: &Path) -> Result<bool> {
        let (there, missing): (Vec<&str>, Vec<&str>) = self
            .files
            .iter()
            .map(|&(_, file)| file)
            .partition(|file| dir.join(file).exists());
        if !there.is_empty() && !missing.is_empty() {
            let (there, missing) = (there.join(", "), missing.join(", "));
            bail!(
                "{} holds {there} but not {missing}; put it there, or take the rest away",
                dir.display()
            );
        }
        Ok(missing.is_empty())
    }

    /// What tells a raw log from another without reading it.
    fn look(&self, dir: &Path) -> Result<String> {
        let mut look = String::new();
        for (_, file) in self.files {
            let path = dir.join(file);
            let at = || format!("failed to read {}", path.display());
            let about = path.metadata().with_context(at)?;
            let path = path.canonicalize().with_context(at)?;
            look.push_str(&format!(
                "{} {} {:?}\n",
                path.display(),
                about.len(),
                about.modified()?
            ));
        }
        Ok(look)
    }

    fn synth_flags(&self, scale: Scale) -> Vec<String> {
        let mut flags = vec!["--like".to_owned(), self.name.to_owned()];
        if scale == Scale::Quick {
            flags.extend(["--sessions".to_owned(), self.quick_sessions.to_string()]);
        }
        flags
    }

    /// Makes the raw files up, unless they or what is prepared from them are there.
    fn make_up(
        &self,
        made: &Path,
        prepared: &Path,
        flags: Vec<String>,
        prl: &PrlBinary,
    ) -> Result<()> {
        let mut log = LockedLog::open(&made.with_extension("log"))?;
        // A kill between two files leaves the first alone; making both again gives the same bytes.
        if is_prepared(prepared) || self.files.iter().all(|(_, file)| made.join(file).exists()) {
            return Ok(());
        }
        eprintln!("no {} log: making a SYNTHETIC stand-in", self.title);
        let mut args = vec!["synth".to_owned()];
        args.extend(flags);
        args.extend(["--out".to_owned(), made.display().to_string()]);
        prl.call(&mut log, args)
            .with_context(|| format!("failed to make a stand-in of {}", self.title))
            .map(drop)
    }

    fn prepare(&self, raw: &Path, out: &Path, prl: &PrlBinary) -> Result<()> {
        let mut log = LockedLog::open(&out.with_extension("log"))?;
        if is_prepared(out) {
            return Ok(());
        }
        eprintln!("preparing {}", self.title);
        let mut args = vec![
            "prepare".to_owned(),
            "--source".to_owned(),
            self.name.to_owned(),
        ];
        args.extend(
            self.files.iter().flat_map(|(flag, file)| {
                [(*flag).to_owned(), raw.join(file).display().to_string()]
            }),
        );
        args.extend(["--out".to_owned(), out.display().to_string()]);
        prl.call(&mut log, args)
            .with_context(|| format!("failed to prepare {}", self.title))
            .map(drop)
    }
}

/// The manifest comes last, so a dataset that has one is whole.
fn is_prepared(dir: &Path) -> bool {
    dir.join("manifest.json").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_log_is_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let rc15 = &SOURCES[0];
        assert!(!rc15.is_in(dir.path()).unwrap());
        fs::write(dir.path().join("yoochoose-buys.dat"), "").unwrap();
        let error = rc15.is_in(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("holds yoochoose-buys.dat but not yoochoose-clicks.dat"),
            "{error}"
        );
        fs::write(dir.path().join("yoochoose-clicks.dat"), "").unwrap();
        assert!(rc15.is_in(dir.path()).unwrap());
    }

    #[test]
    fn a_changed_log_is_another() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("events.csv"), "a").unwrap();
        let first = SOURCES[1].look(dir.path()).unwrap();
        assert_eq!(first, SOURCES[1].look(dir.path()).unwrap());
        fs::write(dir.path().join("events.csv"), "ab").unwrap();
        assert_ne!(first, SOURCES[1].look(dir.path()).unwrap());
    }
}
