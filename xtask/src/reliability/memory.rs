//! Memory watched: flat over thirty epochs of training, and within the stated bound in preparing a log.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::row::{Promise, Row};
use super::runs::Runs;
use crate::timed::{self, Memory, memory_mb};

const EPOCHS: u64 = 30;
/// Growth that is the allocator's own, in MB.
const SLACK_MB: f64 = 8.0;
/// The stated bound of `prl prepare`: so many MB, and so many bytes for each byte of the log as text.
const BASE_MB: f64 = 400.0;
const SHARE: f64 = 1.0;
/// Bytes of text that RC15's format takes for a session of `prl synth`, about.
const BYTES_PER_SESSION: u64 = 270;

/// Watches both.
pub fn run(runs: &Runs, log: u64) -> Result<Vec<Row>> {
    let mut rows = vec![training(runs)?];
    for (like, bytes) in [("rc15", log / 10), ("rc15", log), ("retailrocket", 0)] {
        rows.push(prepare(runs, like, bytes)?);
    }
    Ok(rows)
}

fn training(runs: &Runs) -> Result<Row> {
    let out = runs.path("epochs");
    let mut train = runs.prl([
        "train",
        "--epochs",
        "30",
        "--encoder",
        "gru",
        "--method",
        "prl",
        "--batch-size",
        "16",
    ]);
    train
        .args(["--eval-every", "100", "--data"])
        .arg(runs.data())
        .arg("--out")
        .arg(&out);
    let mut child = runs.begin(&mut train)?;
    // The first two epochs fill what is kept.
    let (mut early, mut late) = (0.0_f64, 0.0_f64);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let (epoch, mb) = (epoch(&out), memory_mb(&child, Memory::Now).unwrap_or(0.0));
        if epoch < 2.0 {
            early = early.max(mb)
        } else {
            late = late.max(mb)
        }
        sleep(Duration::from_millis(5));
    };
    ensure!(
        status.success() && late > 0.0,
        "the training that was watched failed"
    );
    let tried = format!(
        "resident memory in {EPOCHS} epochs of training, looked at every 5 ms: {early:.1} MB at most in the first two, {late:.1} \
         MB after"
    );
    Ok(Row {
        promise: Promise::Limits,
        tried,
        times: 1,
        lost: u64::from(late > early + SLACK_MB),
    })
}

/// How far a training has come, in epochs.
fn epoch(run: &Path) -> f64 {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let last = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    last.and_then(|line| line["epoch"].as_f64()).unwrap_or(0.0)
}

/// Prepares a log of about so many bytes, or of the public one's size.
fn prepare(runs: &Runs, like: &str, bytes: u64) -> Result<Row> {
    let (raw, out) = (runs.path("log"), runs.path("log-prepared"));
    let mut synth = runs.prl(["synth", "--like", like, "--out"]);
    synth.arg(&raw);
    if bytes > 0 {
        synth.args(["--sessions", &(bytes / BYTES_PER_SESSION).to_string()]);
    }
    runs.done(&mut synth)?;
    let mut prepare = runs.prl(["prepare", "--source", like, "--json"]);
    let files: &[(&str, &str)] = match like {
        "rc15" => &[
            ("--clicks", "yoochoose-clicks.dat"),
            ("--buys", "yoochoose-buys.dat"),
        ],
        _ => &[("--input", "events.csv")],
    };
    let paths: Vec<(&str, PathBuf)> = files
        .iter()
        .map(|(flag, file)| (*flag, raw.join(file)))
        .collect();
    let sizes = paths
        .iter()
        .map(|(_, path)| Ok(fs::metadata(path)?.len()))
        .collect::<Result<Vec<u64>>>()?;
    paths
        .iter()
        .for_each(|(flag, path)| _ = prepare.arg(flag).arg(path));
    let done = timed::run(prepare.arg("--out").arg(&out))?;
    let peak = done
        .peak_mb
        .context("this system does not say how much memory a process holds")?;
    let text = sizes.iter().sum::<u64>() as f64 / 1e6;
    let bound = BASE_MB + SHARE * text;
    fs::remove_dir_all(raw)?;
    fs::remove_dir_all(out)?;
    let tried = format!(
        "`prl prepare` of {text:.0} MB of text ({like}'s format): {peak:.0} MB at most, of {bound:.0} allowed ({BASE_MB:.0} MB and \
         {SHARE} bytes a byte)"
    );
    Ok(Row {
        promise: Promise::Limits,
        tried,
        times: 1,
        lost: u64::from(peak > bound),
    })
}
