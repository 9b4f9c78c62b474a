//! Files made by hand to break a reader, each with what the reader must say of it: `attacks/expected.toml` holds, for a target
//! and a file, a part of the error, or `accepted`.

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::Target;

/// One such file.
pub struct Attack {
    path: PathBuf,
    /// Its bytes.
    pub input: Vec<u8>,
    expected: String,
}

/// The attacks on a target.
///
/// # Errors
/// If a file has no expectation, or an expectation no file.
pub fn all(target: &str) -> Result<Vec<Attack>, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("attacks");
    let text = fs::read_to_string(dir.join("expected.toml")).map_err(crate::said)?;
    let mut expected: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(&text).map_err(crate::said)?;
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
            .ok_or(format!("{target}/{name}: expected.toml does not name it"))?;
        attacks.push(Attack {
            input: fs::read(&path).map_err(crate::said)?,
            path,
            expected,
        });
    }
    match expected.keys().next() {
        Some(name) => Err(format!(
            "{target}/{name}: named in expected.toml, and not there"
        )),
        None => Ok(attacks),
    }
}

impl Attack {
    /// Whether the target says what it should.
    ///
    /// # Errors
    /// What it said instead.
    pub fn check(&self, target: Target) -> Result<(), String> {
        let said = match catch_unwind(|| target(&self.input)) {
            Ok(Ok(())) => "accepted".to_owned(),
            Ok(Err(error)) => error,
            Err(_) => "a panic".to_owned(),
        };
        let path = self.path.display();
        let as_expected = said.contains(&self.expected);
        as_expected
            .then_some(())
            .ok_or_else(|| format!("{path}: expected {:?}, said {said:?}", self.expected))
    }
}

/// The files of a folder, in the order of their names; none if it is not there.
pub fn files(dir: &Path) -> Vec<Vec<u8>> {
    paths(dir)
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .collect()
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}
