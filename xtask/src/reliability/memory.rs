//! Memory: constant over thirty epochs of training, and within the documented bound of `prl
//! prepare`.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prl_bench::measure::{self, Memory, memory_mb};
use serde_json::Value;

use super::promise::{Promise, Trial};
use super::runs::Runs;

const EPOCHS: u64 = 30;
/// Epochs in which caches and pools reach their size.
const WARM_UP_EPOCHS: f64 = 2.0;
/// Growth in MB that is attributed to the allocator.
const SLACK_MB: f64 = 8.0;
/// Documented bound of `prl prepare`: constant part in MB.
const BASE_MB: f64 = 400.0;
/// Documented bound of `prl prepare`: bytes per byte of the log as text.
const BYTES_PER_BYTE: f64 = 1.0;
/// Bytes of text per session of `prl synth` in RC15's format, approximately.
const BYTES_PER_SESSION: u64 = 270;

/// Tests both bounds.
pub fn run(runs: &Runs, log: u64) -> Result<Vec<Trial>> {
    Ok(vec![
        training(runs)?,
        prepare(runs, "rc15", Some(log / 10))?,
        prepare(runs, "rc15", Some(log))?,
        prepare(runs, "retailrocket", None)?,
    ])
}

fn training(runs: &Runs) -> Result<Trial> {
    let out = runs.path("epochs");
    let mut train = runs.prl(&[
        "train",
        "--recipe",
        "paper",
        "--encoder",
        "gru",
        "--method",
        "prl",
    ]);
    train.args(["--epochs", &EPOCHS.to_string(), "--batch-size", "16"]);
    train
        .args(["--eval-every", "100", "--data"])
        .arg(runs.data());
    let mut child = runs.spawn(train.arg("--out").arg(&out))?;
    let (mut early, mut late) = (0.0_f64, 0.0_f64);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let mb = memory_mb(&child, Memory::Now).unwrap_or(0.0);
        if last_epoch(&out) < WARM_UP_EPOCHS {
            early = early.max(mb);
        } else {
            late = late.max(mb);
        }
        sleep(Duration::from_millis(5));
    };
    ensure!(
        status.success() && late > 0.0,
        "the watched training failed: {status}"
    );
    let tried = format!(
        "resident memory in {EPOCHS} epochs of training, read every 5 ms: at most {early:.1} MB in the \
         first two, {late:.1} MB after"
    );
    let is_exceeded = late > early + SLACK_MB;
    Ok(Trial::new(
        Promise::Limits,
        tried,
        1,
        u64::from(is_exceeded),
    ))
}

/// Epoch of a training's last validation; 0 before the first.
fn last_epoch(run: &Path) -> f64 {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let last = text.lines().last().unwrap_or_default();
    let last: Value = serde_json::from_str(last).unwrap_or_default();
    last["epoch"].as_f64().unwrap_or(0.0)
}

/// Prepares a synthetic log of about this many bytes, or of the public log's size.
fn prepare(runs: &Runs, like: &str, bytes: Option<u64>) -> Result<Trial> {
    let (raw, out) = (runs.path("log"), runs.path("log-prepared"));
    let mut synth = runs.prl(&["synth", "--like", like, "--out"]);
    synth.arg(&raw);
    if let Some(bytes) = bytes {
        let sessions = bytes / BYTES_PER_SESSION;
        synth.args(["--sessions", &sessions.to_string()]);
    }
    runs.complete(&mut synth)?;
    let files: &[(&str, &str)] = match like {
        "rc15" => &[
            ("--clicks", "yoochoose-clicks.dat"),
            ("--buys", "yoochoose-buys.dat"),
        ],
        _ => &[("--input", "events.csv")],
    };
    let mut prepare = runs.prl(&["prepare", "--source", like, "--json"]);
    let mut text_mb = 0.0;
    for (flag, file) in files {
        let path = raw.join(file);
        text_mb += fs::metadata(&path)?.len() as f64 / 1e6;
        prepare.arg(flag).arg(path);
    }
    let measured = measure::run(prepare.arg("--out").arg(&out))?;
    let peak = measured
        .peak_mb
        .context("this system does not report the peak memory of a process")?;
    let bound = BASE_MB + BYTES_PER_BYTE * text_mb;
    fs::remove_dir_all(raw)?;
    fs::remove_dir_all(out)?;
    let tried = format!(
        "`prl prepare` of {text_mb:.0} MB of text ({like}'s format): at most {peak:.0} MB of {bound:.0} \
         allowed ({BASE_MB:.0} MB and {BYTES_PER_BYTE} bytes a byte)"
    );
    Ok(Trial::new(
        Promise::Limits,
        tried,
        1,
        u64::from(peak > bound),
    ))
}
