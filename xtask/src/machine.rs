//! What a result was made on, and the few programs asked for it. Every task that writes results names it the same way.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::{packed, root};

/// A machine, its compiler and the state of this repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub processor: String,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Model name of the GPU, if there is one.
    pub gpu: Option<String>,
    /// Operating system and architecture.
    pub system: String,
    /// `rustc --version`.
    pub rustc: String,
    /// The commit, with `+ changes` if the files differ from it.
    pub commit: String,
}

impl Machine {
    /// This one. What cannot be found out is `unknown`.
    pub fn here() -> Self {
        let built = packed::here().map(|pack| &pack.built);
        Self {
            processor: processor().unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            gpu: said("nvidia-smi", &["--query-gpu=name", "--format=csv,noheader"]),
            system: system(),
            rustc: built
                .map(|built| built.rustc.clone())
                .or_else(rustc)
                .unwrap_or_else(unknown),
            commit: built
                .map(|built| built.commit.clone())
                .or_else(commit)
                .unwrap_or_else(unknown),
        }
    }

    /// What it is, a line each.
    pub fn lines(&self) -> Vec<String> {
        let Self {
            processor,
            cores,
            gpu,
            system,
            rustc,
            commit,
        } = self;
        let gpu = gpu.iter().map(|gpu| format!("GPU: {gpu}"));
        let rest = [
            format!("system: {system}"),
            format!("compiler: {rustc}"),
            format!("commit: {commit}"),
        ];
        std::iter::once(format!("processor: {processor}, {cores} cores"))
            .chain(gpu)
            .chain(rest)
            .collect()
    }

    /// The same as a Markdown list.
    pub fn to_markdown(&self) -> String {
        self.lines()
            .iter()
            .map(|line| format!("- {line}\n"))
            .collect()
    }
}

fn unknown() -> String {
    "unknown".into()
}

fn processor() -> Option<String> {
    let linux = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = linux
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model
        .map(|(_, name)| name.trim().to_owned())
        .or_else(|| said("sysctl", &["-n", "machdep.cpu.brand_string"]))
}

fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map_or(std::env::consts::OS, |name| name.trim_matches('"'));
    format!("{name}, {}", std::env::consts::ARCH)
}

fn rustc() -> Option<String> {
    said(
        &std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()),
        &["--version"],
    )
}

/// Results are no change: they are written by what the commit holds.
fn commit() -> Option<String> {
    // A checkout that belongs to another user, as in a container, is only asked here.
    let git = |args: &[&str]| said("git", &[&["-c", "safe.directory=*"], args].concat());
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--", ".", ":(exclude)results"]);
    Some(if changes.is_some() {
        format!("{commit} + changes")
    } else {
        commit
    })
}

/// The first line that a program prints, if it is there, succeeds and says anything.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(root())
        .output()
        .ok()?;
    let first = String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(|line| line.trim().to_owned());
    first.filter(|line| output.status.success() && !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_absent_or_silent_say_nothing() {
        assert_eq!(said("no-such-program-anywhere", &[]), None);
        assert_eq!(said("true", &[]), None);
        assert_eq!(said("echo", &["a\nb"]), Some("a".into()));
    }

    #[test]
    fn this_machine_has_a_compiler() {
        let machine = Machine::here();
        assert!(machine.rustc.starts_with("rustc 1."), "{}", machine.rustc);
        assert!(machine.cores > 0 && machine.to_markdown().lines().count() >= 4);
    }
}
