//! `cargo xtask ci`: all checks of a change, cheapest first. All of them run even if one fails, and
//! the times and results are printed at the end.
//!
//! Lints and docs share one metadata-only build of the dependencies; only the tests generate code.
//! A check whose tool the toolchain lacks (a minimal one has no rustfmt) is skipped with a hint, so
//! that the tests run with Rust alone.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::programs::cargo;
use crate::tidy;

/// A check that is a cargo command.
struct Check {
    name: &'static str,
    /// Arguments of cargo, separated by spaces.
    args: &'static str,
    /// The rustup component that brings the command.
    component: Option<&'static str>,
}

const CHECKS: [Check; 4] = [
    Check {
        name: "fmt",
        args: "fmt --all --check",
        component: Some("rustfmt"),
    },
    Check {
        name: "clippy",
        args: "clippy --workspace --all-targets -- -D warnings",
        component: Some("clippy"),
    },
    Check {
        name: "doc",
        args: "doc --workspace --no-deps --document-private-items",
        component: None,
    },
    Check {
        name: "test",
        args: "test --workspace --no-fail-fast",
        component: None,
    },
];

/// Runs all checks.
///
/// # Errors
/// If one fails.
pub fn run() -> Result<()> {
    let mut summary = Summary::default();
    let start = Instant::now();
    let tidy = tidy::check();
    if let Err(error) = &tidy {
        eprintln!("error: {error:#}");
    }
    summary.add("tidy", start, tidy.is_ok());
    for check in &CHECKS {
        if let Some(component) = check.component
            && !is_installed(check.name)
        {
            summary.skip(check.name, component);
            continue;
        }
        eprintln!("\n==> cargo {}", check.args);
        let start = Instant::now();
        let mut command = cargo();
        if check.name == "doc" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        let status = command.args(check.args.split(' ')).status()?;
        summary.add(check.name, start, status.success());
    }
    println!("\n{}", summary.lines.join("\n"));
    ensure!(!summary.has_failure, "not all checks passed");
    Ok(())
}

#[derive(Default)]
struct Summary {
    lines: Vec<String>,
    has_failure: bool,
}

impl Summary {
    fn add(&mut self, name: &str, start: Instant, is_ok: bool) {
        let seconds = start.elapsed().as_secs_f64();
        let result = if is_ok { "ok" } else { "FAILED" };
        self.lines
            .push(format!("{name:8}{seconds:>7.1} s  {result}"));
        self.has_failure |= !is_ok;
    }

    fn skip(&mut self, name: &str, component: &str) {
        self.lines.push(format!(
            "{name:8}{:>7.1} s  skipped; install it by `rustup component add {component}`",
            0.0
        ));
    }
}

/// Whether cargo has a subcommand.
fn is_installed(subcommand: &str) -> bool {
    let status = cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_summary() {
        let mut summary = Summary::default();
        summary.add("a", Instant::now(), true);
        summary.skip("b", "rustfmt");
        assert!(!summary.has_failure);
        summary.add("c", Instant::now(), false);
        assert!(summary.has_failure);
        assert!(summary.lines[1].ends_with("`rustup component add rustfmt`"));
    }
}
