//! The smoke of the fuzz targets.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::row::{Promise, Row};
use super::runs::Runs;

/// Runs each target for some seconds; a line for all of them.
pub fn run(runs: &Runs, seconds: f64, seed: u64) -> Result<Vec<Row>> {
    let mut smoke = Command::new(&runs.smoke);
    smoke
        .current_dir(runs.path(""))
        .args([seconds.to_string(), seed.to_string()]);
    smoke.env("PRL_BIN", &runs.prl);
    // What it finds it says on standard error.
    let output = smoke
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to run the smoke")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let sum = |key: &str| {
        lines
            .iter()
            .filter_map(|line| line[key].as_u64())
            .sum::<u64>()
    };
    let most = |key: &str| {
        lines
            .iter()
            .filter_map(|line| line[key].as_u64())
            .max()
            .unwrap_or(0)
    };
    let each: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["target"].as_str().unwrap_or("?"),
                line["inputs"]
            )
        })
        .collect();
    // A target that ended the whole process has no line.
    let ended = u64::from(!output.status.success() && sum("found") == 0);
    let tried = format!(
        "fuzz smoke, {seconds} s a reader, seed {seed}: {}; attacks each told what they should be; at most {} ms and {} MB",
        each.join(", "),
        most("slowest_ms"),
        most("peak_mb")
    );
    Ok(vec![Row {
        promise: Promise::Inputs,
        tried,
        times: sum("inputs"),
        lost: sum("found") + ended,
    }])
}
