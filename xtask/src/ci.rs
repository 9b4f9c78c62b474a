//! `cargo xtask ci`: every check of a change, in the order of their cost, each with its time. All of them run, so that one
//! pass shows everything there is to mend.
//!
//! Lints and docs share one metadata-only build of the dependencies; only the tests generate code. A tool that the
//! toolchain lacks (a minimal one has no rustfmt) is named and passed over, so that the tests run with Rust alone.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::programs::cargo;
use crate::tidy;

/// The checks made by cargo: a name, the arguments, and the rustup component that must be there.
const CHECKS: &[(&str, &[&str], Option<&str>)] = &[
    ("fmt", &["fmt", "--all", "--check"], Some("rustfmt")),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        Some("clippy"),
    ),
    (
        "doc",
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ],
        None,
    ),
    ("test", &["test", "--workspace", "--no-fail-fast"], None),
];

/// Runs everything.
pub fn run() -> Result<()> {
    let start = Instant::now();
    let tidy = tidy::check();
    if let Err(error) = &tidy {
        eprintln!("error: {error:#}");
    }
    let mut lines = vec![line(
        "tidy",
        start.elapsed(),
        if tidy.is_ok() { "ok" } else { "FAILED" },
    )];
    let mut failed = tidy.is_err();
    for &(name, args, component) in CHECKS {
        if let Some(component) = component.filter(|component| !installed(component)) {
            lines.push(line(
                name,
                Duration::ZERO,
                &format!("skipped: `rustup component add {component}` brings it"),
            ));
            continue;
        }
        eprintln!("\n==> cargo {}", args.join(" "));
        let start = Instant::now();
        let mut command = cargo();
        if name == "doc" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        let ok = command.args(args).status()?.success();
        lines.push(line(
            name,
            start.elapsed(),
            if ok { "ok" } else { "FAILED" },
        ));
        failed |= !ok;
    }
    println!("\n{}", lines.join("\n"));
    if failed {
        bail!("not all checks passed")
    } else {
        Ok(())
    }
}

/// Whether the cargo subcommand of a component is there: `rustfmt` brings `fmt`, `clippy` itself.
fn installed(component: &str) -> bool {
    let subcommand = component.trim_start_matches("rust");
    let quiet = cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

fn line(name: &str, took: Duration, outcome: &str) -> String {
    format!("{name:8}{:>7.1} s  {outcome}", took.as_secs_f64())
}
