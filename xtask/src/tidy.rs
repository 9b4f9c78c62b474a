//! `cargo xtask tidy`: what the prose of this repository promises, checked. Also a test, so it cannot be forgotten.
//!
//! Each check is a function from files to findings, so that it can be tested on files that do not exist.

mod arrows;
mod source;
mod text;

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::root;

/// A file of the repository that holds text.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// Something to mend, or, as a warning, to think about.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    mend: String,
    warning: bool,
}

impl Finding {
    /// `line` counts from 1.
    fn new(path: &str, line: usize, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
            mend: mend.into(),
            warning: false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            what,
            mend,
            warning,
        } = self;
        write!(
            f,
            "{path}:{line}: {}{what}, {mend}",
            if *warning { "warning: " } else { "" }
        )
    }
}

/// Prints what is found; fails if anything but warnings is.
pub fn run() -> Result<()> {
    let findings = findings()?;
    findings.iter().for_each(|finding| println!("{finding}"));
    let count = findings.iter().filter(|finding| !finding.warning).count();
    if count > 0 {
        bail!("{count} to mend in the repository")
    } else {
        Ok(())
    }
}

fn findings() -> Result<Vec<Finding>> {
    let paths = paths()?;
    let mut files = Vec::new();
    for path in &paths {
        let on_disk = root().join(path);
        // A file deleted but not yet committed is gone; a link is looked at where it points.
        if !on_disk.is_file() || on_disk.is_symlink() {
            continue;
        }
        let bytes = fs::read(&on_disk).with_context(|| format!("failed to read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File {
                path: path.clone(),
                text,
            });
        }
    }
    let mut findings = arrows::check(&files);
    findings.extend(
        files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .flat_map(source::check),
    );
    findings.extend(text::check(&files, &paths));
    findings.sort();
    Ok(findings)
}

/// What git tracks, or would on `git add --all`.
fn paths() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    // A checkout that belongs to another user, as in a container, is only listed here.
    git.current_dir(root()).args(["-c", "safe.directory=*"]);
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let output = git
        .output()
        .context("failed to run git, which knows the files of the repository")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let list = String::from_utf8(output.stdout).context("a path that is not UTF-8")?;
    Ok(list.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let mend: Vec<String> = findings()
            .unwrap()
            .iter()
            .filter(|f| !f.warning)
            .map(Finding::to_string)
            .collect();
        assert!(mend.is_empty(), "\n{}", mend.join("\n"));
    }

    #[test]
    fn a_finding_reads_as_a_compilers() {
        let finding = Finding::new("a/b.rs", 3, "no module doc", "open with `//!`");
        assert_eq!(
            finding.to_string(),
            "a/b.rs:3: no module doc, open with `//!`"
        );
    }
}
