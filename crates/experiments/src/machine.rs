//! Machine facts that are stored and printed beside every result. All commands that write results
//! describe their machine with this type.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// A machine, its compiler and the commit of the sources.
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
    /// Output of `rustc --version`.
    pub rustc: String,
    /// Commit of the sources, with `+ changes` if the working tree differs from it.
    pub commit: String,
}

impl Machine {
    /// Describes this machine; facts that cannot be read are `unknown`. In a bundle, compiler and
    /// commit are those of the build.
    pub fn detect(workspace: &Workspace) -> Self {
        let root = &workspace.root;
        let (rustc, commit) = match workspace.bundle() {
            Some(bundle) => (bundle.built.rustc.clone(), bundle.built.commit.clone()),
            None => (or_unknown(rustc(root)), or_unknown(commit(root))),
        };
        Self {
            processor: or_unknown(processor(root)),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            gpu: first_line(
                root,
                "nvidia-smi",
                &["--query-gpu=name", "--format=csv,noheader"],
            ),
            system: system(),
            rustc,
            commit,
        }
    }

    /// One line per fact.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "processor: {}, {} cores",
            self.processor, self.cores
        )];
        if let Some(gpu) = &self.gpu {
            lines.push(format!("GPU: {gpu}"));
        }
        lines.push(format!("system: {}", self.system));
        lines.push(format!("compiler: {}", self.rustc));
        lines.push(format!("commit: {}", self.commit));
        lines
    }

    /// The facts as a Markdown list.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        for line in self.lines() {
            text += &format!("- {line}\n");
        }
        text
    }
}

fn or_unknown(fact: Option<String>) -> String {
    fact.unwrap_or_else(|| "unknown".into())
}

fn processor(root: &Path) -> Option<String> {
    let linux = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    for line in linux.lines() {
        if let Some((_, name)) = line
            .strip_prefix("model name")
            .and_then(|rest| rest.split_once(':'))
        {
            return Some(name.trim().to_owned());
        }
    }
    first_line(root, "sysctl", &["-n", "machdep.cpu.brand_string"])
}

fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut name = std::env::consts::OS;
    for line in release.lines() {
        if let Some(pretty) = line.strip_prefix("PRETTY_NAME=") {
            name = pretty.trim_matches('"');
            break;
        }
    }
    format!("{name}, {}", std::env::consts::ARCH)
}

fn rustc(root: &Path) -> Option<String> {
    let program = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    first_line(root, &program, &["--version"])
}

/// Commit of the working tree. Changed results do not count as changes, as they are output.
fn commit(root: &Path) -> Option<String> {
    // Git refuses a checkout of another user, as in a container, unless it is declared safe.
    const SAFE: [&str; 2] = ["-c", "safe.directory=*"];
    let head = [&SAFE[..], &["rev-parse", "--short=12", "HEAD"]].concat();
    let status = [
        &SAFE[..],
        &["status", "--porcelain", "--", ".", ":(exclude)results"],
    ]
    .concat();
    let commit = first_line(root, "git", &head)?;
    match first_line(root, "git", &status) {
        Some(_) => Some(format!("{commit} + changes")),
        None => Some(commit),
    }
}

/// First line of a program's output, run in `root`; `None` if it is missing, fails or is silent.
fn first_line(root: &Path, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(root)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_or_silent_program_has_no_first_line() {
        let line = |program, args: &[&str]| first_line(Path::new("."), program, args);
        assert_eq!(line("no-such-program-anywhere", &[]), None);
        assert_eq!(line("true", &[]), None);
        assert_eq!(line("echo", &["a\nb"]), Some("a".into()));
    }

    #[test]
    fn this_machine_has_compiler_and_cores() {
        let machine = Machine::detect(&Workspace::repository());
        assert!(machine.rustc.starts_with("rustc 1."), "{}", machine.rustc);
        assert!(machine.cores > 0 && machine.to_markdown().lines().count() >= 4);
    }
}
