//! What tells one version of the code from another, so that a run is never taken for what other code would have made.
//!
//! For a binary built here it is a hash of the sources, so that the same sources give the same name on every machine, with
//! or without a GPU; a comment changes it too, as nothing less is safe. A binary from elsewhere is named by its bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::root;

/// What the binary is made of, as git names it.
const SOURCES: [&str; 4] = [
    "crates/*/src/**",
    "crates/*/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
];

/// The name of the code in this repository, changes that are not committed included.
pub fn of_source() -> Result<String> {
    let mut git = Command::new("git");
    // A checkout that belongs to another user, as in a container, is only listed here.
    git.current_dir(root()).args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
    ]);
    git.args(["--exclude-standard", "--"])
        .args(SOURCES.map(|glob| format!(":(glob){glob}")));
    let output = git
        .output()
        .context("failed to run git, which knows the sources")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let list = String::from_utf8(output.stdout).context("a path that is not UTF-8")?;
    let mut paths: Vec<&str> = list.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    // A file deleted but not yet committed is no part of the code.
    let files = paths
        .into_iter()
        .filter_map(|path| Some((path, fs::read(root().join(path)).ok()?)));
    Ok(name(files))
}

/// The same, or the name of the binary that they build: sources without git are told apart by that.
pub fn of_source_or(binary: &Path) -> Result<String> {
    of_source().or_else(|_| of_file(binary))
}

/// The name of a binary.
pub fn of_file(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(name([("", bytes)]))
}

/// Twelve hexadecimal digits of the hash of all files, which are told apart by name and length.
fn name<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> String {
    let mut hash = Sha256::new();
    for (path, bytes) in files {
        hash.update(format!("{path}\0{}\0", bytes.len()));
        hash.update(&bytes);
    }
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_every_name_counts() {
        let of = |files: &[(&'static str, &str)]| {
            name(
                files
                    .iter()
                    .map(|(path, text)| (*path, text.as_bytes().to_vec())),
            )
        };
        let first = of(&[("a", "xy"), ("b", "z")]);
        assert_eq!(first.len(), 12);
        assert_eq!(first, of(&[("a", "xy"), ("b", "z")]));
        for other in [
            of(&[("a", "x"), ("b", "yz")]),
            of(&[("a", "xy"), ("c", "z")]),
            of(&[("a", "xy")]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn the_code_here_has_a_name_of_its_own() {
        let code = of_source().unwrap();
        assert_eq!(code, of_source().unwrap());
        assert_ne!(code, name([]), "there are sources");
    }
}
