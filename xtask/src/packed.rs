//! A folder that `pack` made, where this program runs in one: what cargo, git and the compiler say elsewhere lies there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::reproduce::code;

/// The variable in which the folder's script says where it lies.
pub const FOLDER: &str = "PRL_PACK";
/// The one in which it keeps the search path for libraries that it found, before it added the GPU's.
pub const LIBRARIES: &str = "PRL_PACK_LIBRARIES";
/// The folder's programs.
pub const PROGRAMS: &str = "bin";
/// The folder's prepared datasets.
pub const DATA: &str = "data";
/// What it was built from.
pub const BUILT: &str = "built.json";

/// Where this program runs, if it is such a folder.
static PACK: OnceLock<Pack> = OnceLock::new();

/// A folder that `pack` made.
#[derive(Debug)]
pub struct Pack {
    /// Where it lies.
    pub folder: PathBuf,
    /// What it was built from.
    pub built: Built,
}

/// What a folder was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// `rustc --version`.
    pub rustc: String,
    /// The commit, with `+ changes` if the files differed from it.
    pub commit: String,
    /// What tells the code of its `prl` from any other.
    pub code: String,
}

/// Looks once, at the start, whether this program runs in such a folder.
///
/// # Errors
/// If it is told so of a folder that is none.
pub fn find() -> Result<()> {
    if let Some(folder) = env::var_os(FOLDER) {
        let _ = PACK.set(Pack::open(Path::new(&folder))?);
    }
    Ok(())
}

/// The folder in which this program runs.
pub fn here() -> Option<&'static Pack> {
    PACK.get()
}

/// A program that is none of ours, to find its libraries as if the folder's script had not started us.
pub fn foreign(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(libraries) = env::var_os(LIBRARIES).filter(|_| here().is_some()) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

impl Built {
    /// What is built here and now.
    ///
    /// # Errors
    /// If the sources have no name and the binary cannot be read.
    pub fn now(prl: &Path) -> Result<Self> {
        let Machine { rustc, commit, .. } = Machine::here();
        Ok(Self {
            rustc,
            commit,
            code: code::of_source_or(prl)?,
        })
    }
}

impl Pack {
    /// Reads what it was built from.
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(BUILT);
        let built = fs::read(&path).with_context(|| {
            format!("{FOLDER} names no pack: failed to read {}", path.display())
        })?;
        let built = serde_json::from_slice(&built)
            .with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self {
            folder: std::path::absolute(folder)?,
            built,
        })
    }

    /// Its programs of these names.
    ///
    /// # Errors
    /// If it has none of such a name.
    pub fn programs<const N: usize>(&self, names: [&str; N]) -> Result<[PathBuf; N]> {
        let programs = names.map(|name| self.folder.join(PROGRAMS).join(name));
        match programs.iter().find(|program| !program.is_file()) {
            Some(missing) => bail!(
                "this pack has no {}; that task needs the repository",
                missing.display()
            ),
            None => Ok(programs),
        }
    }

    /// Its prepared dataset of this log.
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn dataset(&self, log: &str) -> Result<PathBuf> {
        let data = self.folder.join(DATA);
        let entries =
            fs::read_dir(&data).with_context(|| format!("failed to read {}", data.display()))?;
        let mut found = Vec::new();
        for entry in entries {
            let dir = entry?.path();
            let manifest = fs::read(dir.join("manifest.json")).unwrap_or_default();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
            if manifest["source"]["kind"] == log {
                found.push(dir);
            }
        }
        match &found[..] {
            [dir] => Ok(dir.clone()),
            [] => bail!(
                "no prepared {log} in {}: a pack prepares nothing; give its folder (as below runs/data) to pack with --data, \
                 or leave it out with --logs",
                data.display()
            ),
            [..] => bail!(
                "{} datasets are prepared from {log} in {}: leave one there",
                found.len(),
                data.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder like one that `pack` makes, with these datasets: a folder's name and the log it is of.
    fn pack(dir: &Path, datasets: &[(&str, &str)]) -> Pack {
        let built = Built {
            rustc: "rustc 1.0".into(),
            commit: "abc".into(),
            code: "c0de".into(),
        };
        fs::write(dir.join(BUILT), serde_json::to_string(&built).unwrap()).unwrap();
        fs::create_dir_all(dir.join(DATA)).unwrap();
        fs::create_dir_all(dir.join(PROGRAMS)).unwrap();
        for (name, log) in datasets {
            let dataset = dir.join(DATA).join(name);
            fs::create_dir_all(&dataset).unwrap();
            fs::write(
                dataset.join("manifest.json"),
                format!("{{\"source\": {{\"kind\": \"{log}\"}}}}"),
            )
            .unwrap();
        }
        let pack = Pack::open(dir).unwrap();
        assert_eq!(pack.built, built);
        pack
    }

    #[test]
    fn the_one_dataset_of_a_log_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let pack = pack(
            dir.path(),
            &[("a", "rc15"), ("b", "retailrocket"), ("c", "retailrocket")],
        );
        assert!(pack.dataset("rc15").unwrap().ends_with("data/a"));
        let error = pack.dataset("retailrocket").unwrap_err().to_string();
        assert!(
            error.starts_with("2 datasets are prepared from retailrocket in "),
            "{error}"
        );
        fs::remove_dir_all(dir.path().join("data/a")).unwrap();
        let error = pack.dataset("rc15").unwrap_err().to_string();
        assert!(
            error.starts_with("no prepared rc15 in ") && error.contains("--data"),
            "{error}"
        );
    }

    #[test]
    fn programs_are_there_or_missed_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let pack = pack(dir.path(), &[]);
        fs::write(dir.path().join("bin/prl"), "").unwrap();
        assert!(pack.programs(["prl"]).unwrap()[0].ends_with("bin/prl"));
        let error = pack.programs(["prl", "load"]).unwrap_err().to_string();
        assert!(
            error.contains("has no") && error.contains("bin/load"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_that_is_no_pack_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Pack::open(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("PRL_PACK names no pack"), "{error}");
    }
}
