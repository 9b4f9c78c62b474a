//! The crates to compare with, from cargo's registry: candle-nn, and ripgrep with the crates that
//! it publishes. What the registry lacks is fetched through a manifest under `target/`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::measure::{self, Counts};
use crate::programs::cargo;
use crate::root;

/// Names of the rows, and the crates that each sums.
const REFERENCES: [(&str, &[&str]); 2] = [
    ("candle-nn", &["candle-nn"]),
    (
        "ripgrep",
        &[
            "ripgrep",
            "grep",
            "grep-cli",
            "grep-matcher",
            "grep-pcre2",
            "grep-printer",
            "grep-regex",
            "grep-searcher",
            "ignore",
            "globset",
        ],
    ),
];

/// Counts of each reference, by its name and the version of its first crate.
///
/// # Errors
/// If a crate is not in the registry and cannot be fetched.
pub fn count() -> Result<Vec<(String, Counts)>> {
    let missing: Vec<&str> = (REFERENCES.iter())
        .flat_map(|(_, crates)| crates.iter().copied())
        .filter(|name| find(name).is_none())
        .collect();
    if !missing.is_empty() {
        fetch(&missing)?;
    }
    let mut rows = Vec::new();
    for (name, crates) in REFERENCES {
        let mut counts = Counts::default();
        let mut row = name.to_owned();
        for (i, krate) in crates.iter().enumerate() {
            let (folder, version) =
                find(krate).with_context(|| format!("{krate} is not in the registry"))?;
            if i == 0 {
                row = format!("{name} {version}");
            }
            add_folder(&mut counts, &folder, &folder)?;
        }
        rows.push((row, counts));
    }
    Ok(rows)
}

/// Folder and version of the newest release of a crate that the registry holds unpacked.
fn find(name: &str) -> Option<(PathBuf, String)> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    let mut newest: Option<(Vec<u64>, PathBuf, String)> = None;
    for index in fs::read_dir(home.join("registry/src")).ok()?.flatten() {
        for entry in fs::read_dir(index.path()).ok()?.flatten() {
            let folder = entry.file_name().to_string_lossy().into_owned();
            let Some(version) = folder.strip_prefix(name).and_then(|v| v.strip_prefix('-')) else {
                continue;
            };
            let Some(numbers) = release(version) else {
                continue;
            };
            if newest.as_ref().is_none_or(|(n, ..)| *n < numbers) {
                newest = Some((numbers, entry.path(), version.to_owned()));
            }
        }
    }
    newest.map(|(_, folder, version)| (folder, version))
}

/// The numbers of a version `1.2.3`; `None` for anything else, such as the rest of a longer name.
fn release(version: &str) -> Option<Vec<u64>> {
    let numbers: Option<Vec<u64>> = version.split('.').map(|n| n.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() == 3)
}

/// Has cargo download some crates.
fn fetch(names: &[&str]) -> Result<()> {
    let dir = root().join("target/style");
    fs::create_dir_all(dir.join("src"))?;
    let mut manifest = "[workspace]\n[package]\nname = \"style\"\nedition = \"2024\"\n\
                        [dependencies]\n"
        .to_owned();
    for name in names {
        manifest += &format!("{name} = \"*\"\n");
    }
    fs::write(dir.join("Cargo.toml"), manifest)?;
    fs::write(dir.join("src/lib.rs"), "")?;
    let output = cargo()
        .args(["fetch", "--quiet", "--manifest-path"])
        .arg(dir.join("Cargo.toml"))
        .output()
        .context("failed to run cargo")?;
    let message = String::from_utf8_lossy(&output.stderr);
    let reason = message.lines().next().unwrap_or("cargo fetch failed");
    ensure!(output.status.success(), "{reason}; is there a network?");
    Ok(())
}

/// Adds the counts of all Rust files below a folder of the crate at `krate`.
fn add_folder(counts: &mut Counts, krate: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            add_folder(counts, krate, &path)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path)?;
            let relative = path.strip_prefix(krate).unwrap_or(&path);
            measure::add_file(counts, &relative.to_string_lossy(), &text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_longer_names() {
        assert_eq!(release("0.11.1"), Some(vec![0, 11, 1]));
        assert_eq!(release("cli-0.1.1"), None);
        assert_eq!(release("0.11"), None);
    }

    #[test]
    fn all_files_of_a_crate_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("src/deep")).unwrap();
        fs::create_dir_all(dir.path().join("tests")).unwrap();
        for file in ["src/lib.rs", "src/deep/a.rs", "tests/t.rs", "README.md"] {
            fs::write(dir.path().join(file), "//! What.\nfn f() {}\n").unwrap();
        }
        let mut counts = Counts::default();
        add_folder(&mut counts, dir.path(), dir.path()).unwrap();
        assert_eq!((counts.odd_docs, counts.code_lines()), (3, 2));
    }
}
