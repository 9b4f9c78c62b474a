//! A bundle: one directory with prebuilt programs and prepared datasets, for machines that have a
//! GPU but neither Rust nor a network.
//!
//! ```text
//! run          start script: sets PRL_PACK and the library search path, then runs bin/PROGRAM
//! bin/         programs
//! data/        prepared datasets
//! built.json   compiler, commit and code version of the programs
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Environment variable in which the start script passes the bundle's directory.
pub const FOLDER_VAR: &str = "PRL_PACK";
/// Environment variable with the library search path as it was before the start script added the
/// GPU's libraries.
pub const LIBRARIES_VAR: &str = "PRL_PACK_LIBRARIES";
/// Directory of the programs in a bundle.
pub const PROGRAMS_DIR: &str = "bin";
/// Directory of the prepared datasets in a bundle.
pub const DATA_DIR: &str = "data";
/// File with the [`BuildInfo`] in a bundle.
pub const BUILD_INFO_FILE: &str = "built.json";

/// A bundle on disk.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path of its directory.
    pub folder: PathBuf,
    /// Sources and compiler of its programs.
    pub built: BuildInfo,
}

/// Sources and compiler of a bundle's programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInfo {
    /// Output of `rustc --version`.
    pub rustc: String,
    /// Commit of the sources, with `+ changes` if the working tree differed from it.
    pub commit: String,
    /// Code version of its `prl` binary, see [`code_version`](crate::code_version).
    pub code: String,
}

impl Bundle {
    /// Opens the bundle in a directory.
    ///
    /// # Errors
    /// If the directory has no readable `built.json`.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(BUILD_INFO_FILE);
        let built = fs::read(&path).with_context(|| {
            format!(
                "{FOLDER_VAR} names no bundle: failed to read {}",
                path.display()
            )
        })?;
        let built = serde_json::from_slice(&built)
            .with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self {
            folder: std::path::absolute(folder)?,
            built,
        })
    }

    /// Paths of its programs of these names.
    ///
    /// # Errors
    /// If one is missing.
    pub fn programs<const N: usize>(&self, names: [&str; N]) -> Result<[PathBuf; N]> {
        let programs = names.map(|name| self.folder.join(PROGRAMS_DIR).join(name));
        for program in &programs {
            if !program.is_file() {
                bail!(
                    "this bundle has no {}; the command needs the repository",
                    program.display()
                );
            }
        }
        Ok(programs)
    }

    /// Directory of its prepared dataset of a log.
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn dataset(&self, log: &str) -> Result<PathBuf> {
        let data = self.folder.join(DATA_DIR);
        let entries =
            fs::read_dir(&data).with_context(|| format!("failed to read {}", data.display()))?;
        let mut found = Vec::new();
        for entry in entries {
            let dir = entry?.path();
            let manifest = fs::read(dir.join("manifest.json")).unwrap_or_default();
            let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
            if manifest["source"]["kind"] == log {
                found.push(dir);
            }
        }
        match &found[..] {
            [dir] => Ok(dir.clone()),
            [] => bail!(
                "no prepared {log} in {}: a bundle prepares no data; pass its prepared directory \
                 (below runs/data) to `cargo xtask dist --data`, or leave it out with --logs",
                data.display()
            ),
            [..] => bail!(
                "{} datasets are prepared from {log} in {}: keep one of them there",
                found.len(),
                data.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bundle with datasets given as (directory name, log).
    fn bundle(dir: &Path, datasets: &[(&str, &str)]) -> Bundle {
        let built = BuildInfo {
            rustc: "rustc 1.0".into(),
            commit: "abc".into(),
            code: "c0de".into(),
        };
        let info = serde_json::to_string(&built).unwrap();
        fs::write(dir.join(BUILD_INFO_FILE), info).unwrap();
        fs::create_dir_all(dir.join(DATA_DIR)).unwrap();
        fs::create_dir_all(dir.join(PROGRAMS_DIR)).unwrap();
        for (name, log) in datasets {
            let dataset = dir.join(DATA_DIR).join(name);
            fs::create_dir_all(&dataset).unwrap();
            fs::write(
                dataset.join("manifest.json"),
                format!("{{\"source\": {{\"kind\": \"{log}\"}}}}"),
            )
            .unwrap();
        }
        let bundle = Bundle::open(dir).unwrap();
        assert_eq!(bundle.built, built);
        bundle
    }

    #[test]
    fn dataset_is_found_by_log_if_unique() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(
            dir.path(),
            &[("a", "rc15"), ("b", "retailrocket"), ("c", "retailrocket")],
        );
        assert!(bundle.dataset("rc15").unwrap().ends_with("data/a"));
        let error = bundle.dataset("retailrocket").unwrap_err().to_string();
        assert!(
            error.starts_with("2 datasets are prepared from retailrocket in "),
            "{error}"
        );
        fs::remove_dir_all(dir.path().join("data/a")).unwrap();
        let error = bundle.dataset("rc15").unwrap_err().to_string();
        assert!(
            error.starts_with("no prepared rc15 in ") && error.contains("--data"),
            "{error}"
        );
    }

    #[test]
    fn missing_program_is_named_in_error() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(dir.path(), &[]);
        fs::write(dir.path().join("bin/prl"), "").unwrap();
        assert!(bundle.programs(["prl"]).unwrap()[0].ends_with("bin/prl"));
        let error = bundle.programs(["prl", "load"]).unwrap_err().to_string();
        assert!(
            error.contains("has no") && error.contains("bin/load"),
            "{error}"
        );
    }

    #[test]
    fn directory_without_build_info_is_no_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let error = Bundle::open(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("PRL_PACK names no bundle"), "{error}");
    }
}
