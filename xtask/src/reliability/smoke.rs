//! Fuzz smoke test: each target for some seconds on mutated inputs, without coverage.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::promise::{Promise, Trial};
use super::runs::Runs;

/// Runs each target for some seconds; one row for all of them.
pub fn run(runs: &Runs, seconds: f64, seed: u64) -> Result<Vec<Trial>> {
    let output = Command::new(&runs.smoke)
        .current_dir(runs.path(""))
        .args([seconds.to_string(), seed.to_string()])
        .env("PRL_BIN", &runs.prl)
        // Findings are printed to standard error.
        .stderr(Stdio::inherit())
        .output()
        .context("failed to run the smoke test")?;
    let mut targets = Vec::new();
    let (mut inputs, mut found, mut slowest_ms, mut peak_mb) = (0, 0, 0, 0);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Value = serde_json::from_str(line)?;
        let count = |key: &str| line[key].as_u64().unwrap_or(0);
        let name = line["target"].as_str().unwrap_or("?");
        targets.push(format!("{name} {}", count("inputs")));
        inputs += count("inputs");
        found += count("found");
        slowest_ms = slowest_ms.max(count("slowest_ms"));
        peak_mb = peak_mb.max(count("peak_mb"));
    }
    // A target that ended the whole process printed no line.
    let aborted = u64::from(!output.status.success() && found == 0);
    let tried = format!(
        "fuzz smoke test, {seconds} s a reader, seed {seed}: {}; malformed files with their expected \
         messages; at most {slowest_ms} ms and {peak_mb} MB",
        targets.join(", "),
    );
    Ok(vec![Trial::new(
        Promise::Inputs,
        tried,
        inputs,
        found + aborted,
    )])
}
