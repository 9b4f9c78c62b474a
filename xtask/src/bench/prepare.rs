//! `cargo xtask bench prepare`: from a raw log to the first training step.
//!
//! `prl prepare`, everything written, takes turns with the same preparation in pandas and polars, which only compute. Then
//! the batches that training cuts from what was prepared, and the time from `prl train` to its first step.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{peers, results};
use crate::timed::{self, median};
use crate::{programs, root};
use prl_experiments::Machine;
use prl_experiments::write_file;
use prl_report::markdown_table;

/// Flags of `bench prepare`.
#[derive(clap::Args)]
pub struct Args {
    /// Times that ours and theirs take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A Python that has pandas and polars, in place of an environment made under target/
    #[arg(long)]
    python: Option<PathBuf>,
}

/// A log to prepare, made up in a public one's format and size.
struct Log {
    name: &'static str,
    title: &'static str,
    /// Sessions that give it the public log's rows.
    sessions: u64,
    /// The flags of `prl prepare` that take its files.
    files: &'static [(&'static str, &'static str)],
    /// Who else prepares it.
    peers: &'static [&'static str],
}

const LOGS: [Log; 2] = [
    Log {
        name: "retailrocket",
        title: "RetailRocket",
        sessions: 402_000,
        files: &[("--input", "events.csv")],
        peers: &["pandas", "polars"],
    },
    Log {
        name: "rc15",
        title: "RC15",
        sessions: 5_500_000,
        files: &[
            ("--clicks", "yoochoose-clicks.dat"),
            ("--buys", "yoochoose-buys.dat"),
        ],
        peers: &["polars"],
    },
];

/// Prepares everything, keeps the raw lines and writes a page.
pub fn run(args: &Args) -> Result<()> {
    let prl = programs::prl("cpu")?;
    let python = args
        .python
        .clone()
        .map_or_else(|| peers::environment(&["pandas", "polars", "numpy"]), Ok)?;
    let (mut lines, mut first_steps) = (Vec::new(), Vec::new());
    for log in &LOGS {
        let raw = log.make_up(&prl)?;
        let out = dir().join(format!("{}-prepared", log.name));
        for round in 1..=args.rounds {
            eprintln!("{}, round {round} of {}", log.title, args.rounds);
            lines.push(log.ours(&prl, &raw, &out)?);
            for peer in log.peers {
                lines.push(log.theirs(&python, peer, &raw)?);
            }
        }
        same_counts(log, &lines)?;
        for _ in 0..args.rounds {
            first_steps.push(json!({ "log": log.name, "first_step_s": first_step(&prl, &out)? }));
        }
        lines.extend(batches(log, &out)?);
    }
    lines.extend(first_steps);
    let raw: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_file(&results().join("prepare.jsonl"), raw)?;
    let page = page(args, &lines);
    write_file(&results().join("prepare.md"), &page)?;
    println!("{page}");
    Ok(())
}

/// Where the logs are made up and prepared.
fn dir() -> PathBuf {
    root().join("target/bench")
}

impl Log {
    fn make_up(&self, prl: &Path) -> Result<PathBuf> {
        let raw = dir().join(format!("{}-{}", self.name, self.sessions));
        if !raw.join("SYNTHETIC.json").exists() {
            let mut synth = Command::new(prl);
            synth
                .args([
                    "synth",
                    "--like",
                    self.name,
                    "--sessions",
                    &self.sessions.to_string(),
                    "--out",
                ])
                .arg(&raw);
            timed::run(&mut synth)?;
        }
        Ok(raw)
    }

    fn ours(&self, prl: &Path, raw: &Path, out: &Path) -> Result<Value> {
        if out.exists() {
            fs::remove_dir_all(out)
                .with_context(|| format!("failed to remove {}", out.display()))?;
        }
        let mut prepare = Command::new(prl);
        prepare.args(["prepare", "--json", "--source", self.name]);
        for (flag, file) in self.files {
            prepare.arg(flag).arg(raw.join(file));
        }
        let done = timed::run(prepare.arg("--out").arg(out))?;
        let manifest: Value = serde_json::from_str(&done.output)?;
        let files = manifest["source"]["files"].as_array();
        let rows: u64 = files
            .into_iter()
            .flatten()
            .filter_map(|file| file["rows"].as_u64())
            .sum();
        Ok(json!({
            "log": self.name, "who": "ours", "seconds": done.seconds, "peak_mb": done.peak_mb, "rows": rows,
            "counts": manifest["counts"]["before_length_filter"],
        }))
    }

    fn theirs(&self, python: &Path, peer: &str, raw: &Path) -> Result<Value> {
        let mut prepare = Command::new(python);
        prepare
            .current_dir(root().join("xtask/parity"))
            .args(["prepare.py", self.name, peer])
            .arg(raw);
        let done = timed::run(&mut prepare)?;
        let mut line: Value = serde_json::from_str(&done.output)?;
        line["log"] = self.name.into();
        line["peak_mb"] = done.peak_mb.into();
        Ok(line)
    }
}

/// Whoever prepares a log without a sample must count what we count.
fn same_counts(log: &Log, lines: &[Value]) -> Result<()> {
    let counts: Vec<String> = lines
        .iter()
        .filter(|line| line["log"] == log.name)
        .map(|line| match log.name {
            // The sample is each one's own.
            "rc15" => line["counts"]["sessions"].to_string(),
            _ => ["sessions", "items", "clicks", "purchases"]
                .map(|key| line["counts"][key].to_string())
                .join(" "),
        })
        .collect();
    ensure!(
        counts.windows(2).all(|pair| pair[0] == pair[1]),
        "{}: the counts differ: {counts:?}",
        log.title
    );
    Ok(())
}

/// Seconds from the start of `prl train` to the end of its first step.
fn first_step(prl: &Path, data: &Path) -> Result<f64> {
    let out = dir().join("first-step");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let start = Instant::now();
    let mut train = Command::new(prl);
    train
        .args(["train", "--encoder", "gru", "--method", "prl", "--data"])
        .arg(data)
        .arg("--out")
        .arg(&out);
    let mut child = train
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run prl")?;
    let stderr = child.stderr.take().context("prl has no standard error")?;
    let said = BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("first step"));
    let seconds = start.elapsed().as_secs_f64();
    child.kill()?;
    child.wait()?;
    ensure!(said.is_some(), "prl train took no step");
    Ok(seconds)
}

/// Rows a second that are cut into batches, a line for each kind of method.
fn batches(log: &Log, data: &Path) -> Result<Vec<Value>> {
    let mut cargo = programs::cargo();
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "-p",
        "prl-train",
        "--example",
        "batch_speed",
    ]);
    let done = timed::run(cargo.arg("--").arg("--data").arg(data))?;
    let lines = done.output.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line)?;
        line["log"] = log.name.into();
        Ok(line)
    });
    lines.collect()
}

fn page(args: &Args, lines: &[Value]) -> String {
    let of = |log: &Log, who: &str, key: &str| {
        let own = lines
            .iter()
            .filter(|line| line["log"] == log.name && line["who"] == who);
        median(
            &own.filter_map(|line| line[key].as_f64())
                .collect::<Vec<_>>(),
        )
    };
    let mut preparation = Vec::new();
    let mut training = Vec::new();
    for log in &LOGS {
        let (ours, rows) = (of(log, "ours", "seconds"), of(log, "ours", "rows"));
        for who in ["ours"].iter().chain(log.peers) {
            let seconds = of(log, who, "seconds");
            let numbers = [seconds, 1e6 * seconds / rows].map(|x| format!("{x:.2}"));
            let mut row = vec![
                log.title.to_owned(),
                format!("{rows:.0}"),
                (*who).to_owned(),
            ];
            row.extend(numbers);
            row.extend([
                format!("{:.2}", ours / seconds),
                format!("{:.0}", of(log, who, "peak_mb")),
            ]);
            preparation.push(row);
        }
        training.push(batch_row(log, lines));
    }
    let header = [
        "log",
        "rows",
        "by",
        "seconds",
        "seconds a million rows",
        "ours / theirs",
        "MB",
    ];
    let training_header = [
        "log",
        "rows a second, normal",
        "rows a second, SQN",
        "ms a batch of 256",
        "first step, s",
    ];
    format!(
        "# From a raw log to the first step\n\nSYNTHETIC logs in the public ones' formats and sizes; medians of {} rounds, \
         ours and theirs in turn. Ours is the whole of `prl prepare`, with everything written and synced; pandas and polars \
         (xtask/parity/prepare.py) only compute, and count the same sessions, items, clicks and purchases. MB is the peak of \
         the process.\n\n{}\n{}\nCutting batches, on one thread that runs ahead of training; and the time from `prl train` \
         (GRU, PRL) to the end of its first step, on the CPU:\n\n{}",
        args.rounds,
        Machine::detect(crate::workspace()).to_markdown(),
        markdown_table(&header, 3, &preparation),
        markdown_table(&training_header, 1, &training)
    )
}

fn batch_row(log: &Log, lines: &[Value]) -> Vec<String> {
    let own: Vec<&Value> = lines
        .iter()
        .filter(|line| line["log"] == log.name)
        .collect();
    let speeds: BTreeMap<&str, f64> = own
        .iter()
        .filter_map(|line| Some((line["method"].as_str()?, line["rows_per_s"].as_f64()?)))
        .collect();
    let speed = |method: &str| speeds.get(method).copied().unwrap_or(f64::NAN);
    let first: Vec<f64> = own
        .iter()
        .filter_map(|line| line["first_step_s"].as_f64())
        .collect();
    let normal = speed("normal");
    vec![
        log.title.to_owned(),
        format!("{normal:.0}"),
        format!("{:.0}", speed("sqn")),
        format!("{:.3}", 256e3 / normal),
        format!("{:.2}", median(&first)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_counts_are_no_comparison() {
        let line = |log: &str, items: u64| json!({ "log": log, "counts": { "sessions": 5, "items": items } });
        assert!(
            same_counts(
                &LOGS[0],
                &[
                    line("retailrocket", 3),
                    line("rc15", 4),
                    line("retailrocket", 3)
                ]
            )
            .is_ok()
        );
        let error = same_counts(
            &LOGS[0],
            &[line("retailrocket", 3), line("retailrocket", 4)],
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.starts_with("RetailRocket: the counts differ"),
            "{error}"
        );
        assert!(same_counts(&LOGS[1], &[line("rc15", 3), line("rc15", 4)]).is_ok());
    }
}
