//! Datasets of the experiments: real logs if they are present, synthetic stand-ins otherwise, each
//! prepared once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::files::read_json;
use crate::fingerprint::fingerprint;
use crate::prl_binary::{LockedLog, PrlBinary};
use crate::schedule::Scale;
use crate::workspace::Workspace;

/// File of a prepared dataset that is written last: a dataset that has it is complete.
const MANIFEST: &str = "manifest.json";

/// A public log that the paper uses.
pub struct Source {
    /// Name in the flags of `prl`, and of its directory.
    pub name: &'static str,
    /// Name in the paper.
    pub title: &'static str,
    /// Raw files as (flag of `prl prepare`, file name).
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

/// A prepared dataset of a log.
pub struct Dataset {
    /// Log that it is, or stands in for.
    pub source: &'static Source,
    /// Directory.
    pub dir: PathBuf,
    /// Contents.
    pub manifest: Manifest,
}

/// Fields of a prepared dataset's `manifest.json` that reports need.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Hash of the dataset.
    pub dataset: String,
    /// Origin of the events.
    pub source: Origin,
    /// Counts of the whole dataset: the paper's Table 1.
    pub counts: BeforeAndAfter,
    /// Counts of each split, by name.
    pub splits: BTreeMap<String, Counts>,
}

/// Origin of a dataset's events.
#[derive(Clone, Debug, Deserialize)]
pub struct Origin {
    /// Whether `prl synth` generated them.
    pub synthetic: bool,
}

/// Counts before and after the filter of long sessions.
#[derive(Clone, Debug, Deserialize)]
pub struct BeforeAndAfter {
    /// Counts as the paper reports them.
    pub before_length_filter: Counts,
    /// Counts of the data that is trained on.
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

/// Directories of raw and of prepared data.
pub struct DatasetDirs {
    /// Real raw files, in one directory per log.
    pub raw: PathBuf,
    /// Prepared datasets, and the raw files of stand-ins.
    pub prepared: PathBuf,
}

impl DatasetDirs {
    /// Opens the prepared dataset of a log. In a repository, raw files are synthesized and prepared
    /// first if necessary; a bundle contains prepared datasets only.
    ///
    /// # Errors
    /// If raw files are incomplete, or synthesis or preparation fails.
    pub fn open(
        &self,
        workspace: &Workspace,
        source: &'static Source,
        scale: Scale,
        prl: &PrlBinary,
    ) -> Result<Dataset> {
        let dir = match workspace.bundle() {
            Some(bundle) => bundle.dataset(source.name)?,
            None => self.prepare(source, scale, prl)?,
        };
        Ok(Dataset {
            source,
            manifest: read_json(&dir.join(MANIFEST))?,
            dir,
        })
    }

    /// Fails if [`open`](Self::open) would refuse the files of a log under `raw`, or the bundle
    /// lacks it.
    ///
    /// # Errors
    /// See above.
    pub fn check(workspace: &Workspace, source: &Source, raw: &Path) -> Result<()> {
        match workspace.bundle() {
            Some(bundle) => bundle.dataset(source.name).map(drop),
            None => source.is_in(&raw.join(source.name)).map(drop),
        }
    }

    /// Prepares a log unless that is done; returns the dataset's directory.
    fn prepare(&self, source: &Source, scale: Scale, prl: &PrlBinary) -> Result<PathBuf> {
        let raw = self.raw.join(source.name);
        if source.is_in(&raw)? {
            let state = fingerprint(&source.file_state(&raw)?);
            let dir = self.prepared.join(format!("{}-{state}", source.name));
            source.prepare(&raw, &dir, prl)?;
            return Ok(dir);
        }
        let flags = source.synth_flags(scale);
        let settings = fingerprint(&format!("{} {flags:?}", prl.code));
        let name = format!("{}-synthetic-{settings}", source.name);
        let synthesized = self.prepared.join("raw").join(&name);
        let dir = self.prepared.join(name);
        source.synthesize(&synthesized, &dir, flags, prl)?;
        source.prepare(&synthesized, &dir, prl)?;
        Ok(dir)
    }
}

impl Dataset {
    /// Whether its events are synthetic.
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

    /// Warning at the top of every page with results on synthetic data.
    pub fn stamp(&self) -> Option<String> {
        let title = self.source.title;
        self.is_synthetic().then(|| {
            format!(
                "# SYNTHETIC DATA: made up by `prl synth`, NOT {title}. Nothing here is a result \
                 on {title}.\n\n"
            )
        })
    }

    /// Examples of a split: one per event.
    pub fn rows(&self, split: &str) -> u64 {
        match self.manifest.splits.get(split) {
            Some(counts) => counts.clicks + counts.purchases,
            None => 0,
        }
    }
}

impl Source {
    /// Whether a directory contains its raw files.
    ///
    /// # Errors
    /// If it contains some of them only.
    fn is_in(&self, dir: &Path) -> Result<bool> {
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for &(_, file) in self.files {
            if dir.join(file).exists() {
                present.push(file);
            } else {
                missing.push(file);
            }
        }
        if !present.is_empty() && !missing.is_empty() {
            bail!(
                "{} holds {} but not {}; add it, or remove the rest",
                dir.display(),
                present.join(", "),
                missing.join(", ")
            );
        }
        Ok(missing.is_empty())
    }

    /// Paths, sizes and modification times of the raw files: identify a log without reading it.
    fn file_state(&self, dir: &Path) -> Result<String> {
        let mut state = String::new();
        for (_, file) in self.files {
            let path = dir.join(file);
            let failed = || format!("failed to read {}", path.display());
            let metadata = path.metadata().with_context(failed)?;
            state += &format!(
                "{} {} {:?}\n",
                path.canonicalize().with_context(failed)?.display(),
                metadata.len(),
                metadata.modified()?
            );
        }
        Ok(state)
    }

    fn synth_flags(&self, scale: Scale) -> Vec<String> {
        let mut flags = vec!["--like".to_owned(), self.name.to_owned()];
        if scale == Scale::Quick {
            flags.extend(["--sessions".to_owned(), self.quick_sessions.to_string()]);
        }
        flags
    }

    /// Generates raw files in `raw`, unless they exist or `prepared` is complete.
    fn synthesize(
        &self,
        raw: &Path,
        prepared: &Path,
        flags: Vec<String>,
        prl: &PrlBinary,
    ) -> Result<()> {
        let mut log = LockedLog::open(&raw.with_extension("log"))?;
        // A kill between two files leaves only the first. Generating both again is safe: the same
        // flags give the same bytes.
        let is_complete = self.files.iter().all(|(_, file)| raw.join(file).exists());
        if is_prepared(prepared) || is_complete {
            return Ok(());
        }
        eprintln!("no {} log: making a SYNTHETIC stand-in", self.title);
        let mut args = vec!["synth".to_owned()];
        args.extend(flags);
        args.extend(["--out".to_owned(), raw.display().to_string()]);
        prl.call(&mut log, args)
            .with_context(|| format!("failed to make a stand-in of {}", self.title))?;
        Ok(())
    }

    /// Prepares raw files into `out`, unless that is done.
    fn prepare(&self, raw: &Path, out: &Path, prl: &PrlBinary) -> Result<()> {
        let mut log = LockedLog::open(&out.with_extension("log"))?;
        if is_prepared(out) {
            return Ok(());
        }
        eprintln!("preparing {}", self.title);
        let mut args = vec!["prepare".to_owned(), "--source".to_owned()];
        args.push(self.name.to_owned());
        for (flag, file) in self.files {
            args.extend([(*flag).to_owned(), raw.join(file).display().to_string()]);
        }
        args.extend(["--out".to_owned(), out.display().to_string()]);
        prl.call(&mut log, args)
            .with_context(|| format!("failed to prepare {}", self.title))?;
        Ok(())
    }
}

fn is_prepared(dir: &Path) -> bool {
    dir.join(MANIFEST).exists()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn incomplete_raw_files_are_an_error() {
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
    fn file_state_changes_with_content() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("events.csv"), "a").unwrap();
        let first = SOURCES[1].file_state(dir.path()).unwrap();
        assert_eq!(first, SOURCES[1].file_state(dir.path()).unwrap());
        fs::write(dir.path().join("events.csv"), "ab").unwrap();
        assert_ne!(first, SOURCES[1].file_state(dir.path()).unwrap());
    }
}
