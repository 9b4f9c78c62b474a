//! Name of a version of the code that makes runs, so that a run is never mistaken for the result of
//! other code.
//!
//! A binary built from this repository is named by a hash of its sources: the same sources get the
//! same name on every machine, with or without a GPU. A changed comment changes the name too, as it
//! cannot be decided safely which changes matter. Any other binary is named by a hash of its
//! bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::bundle::BuildInfo;
use crate::machine::Machine;
use crate::workspace::Workspace;

/// Git path specifications of the sources of `prl`. Crates that it does not contain are excluded:
/// a change of a page or a test does not change a result.
const SOURCES: [&str; 9] = [
    ":(glob)crates/*/src/**",
    ":(glob)crates/*/Cargo.toml",
    ":(glob)Cargo.toml",
    ":(glob)Cargo.lock",
    ":(exclude)crates/bench",
    ":(exclude)crates/experiments",
    ":(exclude)crates/report",
    ":(exclude)crates/testkit",
    ":(exclude)crates/fuzz",
];

/// Code version of the sources in a repository, uncommitted changes included.
///
/// # Errors
/// If git cannot list the sources.
pub fn of_sources(root: &Path) -> Result<String> {
    let mut git = Command::new("git");
    // Git refuses a checkout of another user, as in a container, unless it is declared safe.
    git.current_dir(root)
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached"])
        .args(["--others", "--exclude-standard", "--"])
        .args(SOURCES);
    let output = git.output().context("failed to run git")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let list = String::from_utf8(output.stdout).context("a path that is not UTF-8")?;
    let mut paths: Vec<&str> = list.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        // A file that is deleted but not yet committed is still listed.
        if let Ok(bytes) = fs::read(root.join(path)) {
            files.push((path, bytes));
        }
    }
    Ok(digest(files))
}

/// Code version of a binary built from a repository. Without git it is that of the binary's bytes.
///
/// # Errors
/// If neither the sources nor the binary can be read.
pub fn of_build(root: &Path, binary: &Path) -> Result<String> {
    of_sources(root).or_else(|_| of_file(binary))
}

/// Code version of a binary of unknown sources.
///
/// # Errors
/// If it cannot be read.
pub fn of_file(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(digest([("", bytes)]))
}

/// Build information for a bundle with this `prl` binary, built just now.
///
/// # Errors
/// If the binary has no code version.
pub fn build_info(workspace: &Workspace, prl: &Path) -> Result<BuildInfo> {
    let machine = Machine::detect(workspace);
    Ok(BuildInfo {
        rustc: machine.rustc,
        commit: machine.commit,
        code: of_build(&workspace.root, prl)?,
    })
}

/// First twelve hexadecimal digits of a SHA-256 over names, lengths and bytes of all files.
fn digest<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> String {
    let mut hash = Sha256::new();
    for (path, bytes) in files {
        hash.update(format!("{path}\0{}\0", bytes.len()));
        hash.update(&bytes);
    }
    let mut text = String::new();
    for byte in &hash.finalize()[..6] {
        text += &format!("{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_depends_on_every_byte_and_name() {
        let of = |files: &[(&'static str, &str)]| {
            let files = files
                .iter()
                .map(|(path, text)| (*path, text.as_bytes().to_vec()));
            digest(files)
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
    fn code_version_of_this_repository_is_stable() {
        let root = Workspace::repository().root;
        let code = of_sources(&root).unwrap();
        assert_eq!(code, of_sources(&root).unwrap());
        assert_ne!(code, digest([]), "sources are listed");
    }
}
