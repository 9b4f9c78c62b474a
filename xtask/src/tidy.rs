//! `cargo xtask tidy`: rules of this repository that no compiler checks. They are also a test, so
//! that `cargo test` fails on a finding.
//!
//! Each check is a function from files to findings, so that tests can call it with made-up files.

mod arrows;
mod lexer;
mod numbers;
mod source;
mod style;
mod text;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::root;

pub use arrows::dependencies;
pub use text::resolve;

/// Flags of `tidy`.
#[derive(clap::Args)]
pub struct Args {
    /// Print counts of prose and density per crate, beside candle-nn's and ripgrep's; always exits
    /// with 0
    #[arg(long)]
    style: bool,
    /// With --style: print every counted place instead of the table
    #[arg(long, requires = "style")]
    places: bool,
    /// With --style: count below these folders alone
    #[arg(requires = "style")]
    folders: Vec<String>,
}

/// A text file of the repository.
struct File {
    /// Path relative to the root, with `/`.
    path: String,
    text: String,
}

impl File {
    #[cfg(test)]
    fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }
}

/// A violation of a rule, or a warning.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    problem: String,
    hint: String,
    is_warning: bool,
}

impl Finding {
    /// A violation; `line` counts from 1.
    fn new(path: &str, line: usize, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            problem: problem.into(),
            hint: hint.into(),
            is_warning: false,
        }
    }

    /// This finding as a warning if a condition holds.
    fn with_warning(self, is_warning: bool) -> Self {
        Self { is_warning, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_warning { "warning: " } else { "" };
        write!(
            f,
            "{}:{}: {kind}{}; {}",
            self.path, self.line, self.problem, self.hint
        )
    }
}

/// Prints the findings, or the style counts with `--style`.
///
/// # Errors
/// If a finding is no warning.
pub fn run(args: &Args) -> Result<()> {
    if args.style {
        let files = text_files(&tracked_paths()?)?;
        let report = style::report(&files, &args.folders, args.places);
        // Nothing fails here, not even a pipe that `head` closes.
        _ = io::stdout().write_all(report.as_bytes());
        return Ok(());
    }
    check()
}

/// Prints the findings.
///
/// # Errors
/// If a finding is no warning.
pub fn check() -> Result<()> {
    let mut count = 0;
    for finding in findings()? {
        println!("{finding}");
        count += usize::from(!finding.is_warning);
    }
    ensure!(count == 0, "{count} violations of the repository's rules");
    Ok(())
}

fn findings() -> Result<Vec<Finding>> {
    let paths = tracked_paths()?;
    let files = text_files(&paths)?;
    let mut findings = arrows::check(&files);
    for file in &files {
        if file.path.ends_with(".rs") {
            findings.extend(source::check(file));
        }
    }
    findings.extend(text::check(&files, &paths));
    findings.extend(numbers::check(&files));
    findings.sort();
    Ok(findings)
}

/// The files of some paths that hold UTF-8.
fn text_files(paths: &[String]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths {
        let on_disk = root().join(path);
        // A deleted file that is not yet committed is skipped; a link is checked at its target.
        if !on_disk.is_file() || on_disk.is_symlink() {
            continue;
        }
        let bytes = fs::read(&on_disk).with_context(|| format!("failed to read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            let path = path.clone();
            files.push(File { path, text });
        }
    }
    Ok(files)
}

/// Paths that git tracks, or would track after `git add --all`.
pub fn tracked_paths() -> Result<Vec<String>> {
    // Git refuses a checkout of another user, as in a container, unless it is declared safe.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("failed to run git")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let list = String::from_utf8(output.stdout).context("a tracked path is not UTF-8")?;
    Ok(list.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_follows_its_rules() {
        let mut violations = Vec::new();
        for finding in findings().unwrap() {
            if !finding.is_warning {
                violations.push(finding.to_string());
            }
        }
        assert!(violations.is_empty(), "\n{}", violations.join("\n"));
    }

    #[test]
    fn finding_is_printed_like_a_compiler_error() {
        let finding = Finding::new("a/b.rs", 3, "no module doc", "open with `//!`");
        assert_eq!(
            finding.to_string(),
            "a/b.rs:3: no module doc; open with `//!`"
        );
        let warning = finding.with_warning(true).to_string();
        assert!(warning.starts_with("a/b.rs:3: warning: "), "{warning}");
    }
}
