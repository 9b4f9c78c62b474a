//! Hand-made malformed files with the expected result of each: `attacks/expected.toml` holds, by
//! target and file, a part of the error message, or `accepted`.

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::Target;

/// Malformed file with its expected result.
pub struct Attack {
    path: PathBuf,
    /// Content of the file.
    pub input: Vec<u8>,
    expected: String,
}

/// Attacks on a target, by file name.
///
/// # Errors
/// A message if a file has no expectation, or an expectation no file.
pub fn all(target: &str) -> Result<Vec<Attack>, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("attacks");
    let text = fs::read_to_string(dir.join("expected.toml")).map_err(crate::message)?;
    let mut expected: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(&text).map_err(crate::message)?;
    let mut expected = expected.remove(target).unwrap_or_default();
    let mut attacks = Vec::new();
    for path in paths(&dir.join(target)) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let expected = expected
            .remove(&name)
            .ok_or(format!("{target}/{name}: not listed in expected.toml"))?;
        attacks.push(Attack {
            input: fs::read(&path).map_err(crate::message)?,
            path,
            expected,
        });
    }
    match expected.keys().next() {
        Some(name) => Err(format!(
            "{target}/{name}: listed in expected.toml, but the file is missing"
        )),
        None => Ok(attacks),
    }
}

impl Attack {
    /// Runs the target and compares its result with the expectation.
    ///
    /// # Errors
    /// A message with the expected and the actual result if they differ.
    pub fn check(&self, target: Target) -> Result<(), String> {
        let result = match catch_unwind(|| target(&self.input)) {
            Ok(Ok(())) => "accepted".to_owned(),
            Ok(Err(error)) => error,
            Err(_) => "a panic".to_owned(),
        };
        if result.contains(&self.expected) {
            return Ok(());
        }
        let path = self.path.display();
        Err(format!(
            "{path}: expected {:?}, got {result:?}",
            self.expected
        ))
    }
}

/// Contents of the files of a directory, by file name; empty if it does not exist.
pub fn files(dir: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for path in paths(dir) {
        files.extend(fs::read(path));
    }
    files
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths
}
