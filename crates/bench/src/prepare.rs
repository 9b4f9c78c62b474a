//! `prl-bench prepare`: from a raw log to the first training step.
//!
//! `prl prepare`, with all files written, is timed in turn with the same preparation in pandas and
//! polars, which only compute. Then the batches that training cuts from the prepared dataset, and
//! the time from `prl train` to its first step.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use prl_bench::jsonl::{self, number};
use prl_bench::measure::{self, median};
use prl_experiments::{Machine, Workspace, programs, write_file};
use prl_report::markdown_table;
use serde_json::{Value, json};

use crate::host;
use crate::programs::python_with;

/// Flags of `prl-bench prepare`.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds in which ours and the others take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A Python with pandas and polars [default: a virtual environment under target/]
    #[arg(long)]
    python: Option<PathBuf>,
}

/// A synthetic log in a public one's format and size.
struct Log {
    name: &'static str,
    title: &'static str,
    /// Sessions that give it as many rows as the public log.
    sessions: u64,
    /// Flags of `prl prepare` with the files that they take.
    files: &'static [(&'static str, &'static str)],
    /// Libraries that prepare it for comparison.
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

/// Runs all measurements; writes the raw lines and a page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let python = match &args.python {
        Some(python) => python.clone(),
        None => python_with(workspace, &["pandas", "polars", "numpy"])?,
    };
    let bench = Bench {
        workspace,
        prl: programs::prl(workspace, "cpu")?,
        python,
        dir: workspace.root.join("target/bench"),
    };
    let mut lines = Vec::new();
    let mut first_steps = Vec::new();
    for log in &LOGS {
        let raw = bench.synthesise(log)?;
        let out = bench.dir.join(format!("{}-prepared", log.name));
        for round in 1..=args.rounds {
            eprintln!("{}, round {round} of {}", log.title, args.rounds);
            lines.push(bench.prepare(log, &raw, &out)?);
            for peer in log.peers {
                lines.push(bench.prepare_with_peer(log, peer, &raw)?);
            }
        }
        ensure_same_counts(log, &lines)?;
        for _ in 0..args.rounds {
            let seconds = bench.first_step(&out)?;
            first_steps.push(json!({ "log": log.name, "first_step_s": seconds }));
        }
        lines.extend(bench.cut_batches(log, &out)?);
    }
    lines.extend(first_steps);
    let machine = Machine::detect(workspace);
    let folder = host::folder(workspace, &machine, "cpu");
    write_file(&folder.join("prepare.jsonl"), jsonl::to_text(&lines))?;
    let page = page(args.rounds, &lines, &machine);
    write_file(&folder.join("prepare.md"), &page)?;
    crate::index::write(workspace)?;
    println!("{page}");
    Ok(())
}

struct Bench<'a> {
    workspace: &'a Workspace,
    prl: PathBuf,
    python: PathBuf,
    /// Directory of the logs and of the prepared datasets.
    dir: PathBuf,
}

impl Bench<'_> {
    /// Directory of the synthetic log, written once.
    fn synthesise(&self, log: &Log) -> Result<PathBuf> {
        let raw = self.dir.join(format!("{}-{}", log.name, log.sessions));
        if !raw.join("SYNTHETIC.json").exists() {
            let mut synth = Command::new(&self.prl);
            synth.args(["synth", "--like", log.name]);
            synth.args(["--sessions", &log.sessions.to_string()]);
            measure::run(synth.arg("--out").arg(&raw))?;
        }
        Ok(raw)
    }

    /// Runs `prl prepare`.
    fn prepare(&self, log: &Log, raw: &Path, out: &Path) -> Result<Value> {
        remove(out)?;
        let mut prepare = Command::new(&self.prl);
        prepare.args(["prepare", "--json", "--source", log.name]);
        for (flag, file) in log.files {
            prepare.arg(flag).arg(raw.join(file));
        }
        let measured = measure::run(prepare.arg("--out").arg(out))?;
        let manifest: Value = serde_json::from_str(&measured.output)?;
        Ok(json!({
            "log": log.name,
            "who": "ours",
            "seconds": measured.seconds,
            "peak_mb": measured.peak_mb,
            "rows": source_rows(&manifest),
            "counts": manifest["counts"]["before_length_filter"],
        }))
    }

    /// Runs `prepare.py`, which times itself without its imports.
    fn prepare_with_peer(&self, log: &Log, peer: &str, raw: &Path) -> Result<Value> {
        let mut prepare = Command::new(&self.python);
        prepare.current_dir(self.workspace.root.join("xtask/parity"));
        prepare.args(["prepare.py", log.name, peer]).arg(raw);
        let measured = measure::run(&mut prepare)?;
        let mut line: Value = serde_json::from_str(&measured.output)?;
        line["log"] = log.name.into();
        line["peak_mb"] = measured.peak_mb.into();
        Ok(line)
    }

    /// Seconds from the start of `prl train` to the end of its first step.
    fn first_step(&self, data: &Path) -> Result<f64> {
        let out = self.dir.join("first-step");
        remove(&out)?;
        let start = Instant::now();
        let mut train = Command::new(&self.prl);
        train.args([
            "train",
            "--recipe",
            "paper",
            "--encoder",
            "gru",
            "--method",
            "prl",
        ]);
        train.arg("--data").arg(data).arg("--out").arg(&out);
        let mut child = train
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to run prl")?;
        let stderr = child.stderr.take().context("prl has no standard error")?;
        let mut has_step = false;
        for line in BufReader::new(stderr).lines() {
            has_step = line?.starts_with("first step");
            if has_step {
                break;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        child.kill()?;
        child.wait()?;
        ensure!(has_step, "prl train ended before its first step");
        Ok(seconds)
    }

    /// Examples per second that are cut into batches; one line for each kind of method.
    fn cut_batches(&self, log: &Log, data: &Path) -> Result<Vec<Value>> {
        let mut cargo = programs::cargo(self.workspace);
        cargo.args(["run", "--quiet", "--release", "--package", "prl-train"]);
        cargo.args(["--example", "batch_speed", "--", "--data"]);
        let measured = measure::run(cargo.arg(data))?;
        let mut lines = jsonl::parse(&measured.output)?;
        for line in &mut lines {
            line["log"] = log.name.into();
        }
        Ok(lines)
    }
}

/// Rows of the raw files, from the manifest of the dataset prepared from them.
pub fn source_rows(manifest: &Value) -> u64 {
    let mut rows = 0;
    for file in manifest["source"]["files"].as_array().into_iter().flatten() {
        rows += file["rows"].as_u64().unwrap_or(0);
    }
    rows
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("failed to remove {}", dir.display()))?;
    }
    Ok(())
}

/// Fails unless all preparations of a log have the same counts. RC15 is sampled by each on its own,
/// so only its number of sessions is compared.
fn ensure_same_counts(log: &Log, lines: &[Value]) -> Result<()> {
    let keys: &[&str] = match log.name {
        "rc15" => &["sessions"],
        _ => &["sessions", "items", "clicks", "purchases"],
    };
    let mut counts: Vec<Vec<&Value>> = Vec::new();
    for line in lines {
        if line["log"] == log.name {
            counts.push(keys.iter().map(|key| &line["counts"][key]).collect());
        }
    }
    for other in &counts {
        ensure!(
            *other == counts[0],
            "{}: the counts {keys:?} differ: {counts:?}",
            log.title
        );
    }
    Ok(())
}

/// Median of a value over the lines of a log that match `(key, value)`; NaN without any.
fn median_of(lines: &[Value], log: &Log, matching: (&str, &str), key: &str) -> f64 {
    let mut values = Vec::new();
    for line in lines {
        let is_match = line["log"] == log.name && line[matching.0] == matching.1;
        if let Some(x) = line[key].as_f64().filter(|_| is_match) {
            values.push(x);
        }
    }
    median(&values)
}

fn page(rounds: usize, lines: &[Value], machine: &Machine) -> String {
    let mut preparation = Vec::new();
    let mut training = Vec::new();
    for log in &LOGS {
        let of = |who: &str, key: &str| median_of(lines, log, ("who", who), key);
        let (ours, rows) = (of("ours", "seconds"), of("ours", "rows"));
        for who in [&["ours"], log.peers].concat() {
            let seconds = of(who, "seconds");
            preparation.push(vec![
                log.title.to_owned(),
                format!("{rows:.0}"),
                who.to_owned(),
                format!("{seconds:.2}"),
                format!("{:.2}", 1e6 * seconds / rows),
                format!("{:.2}", ours / seconds),
                format!("{:.0}", of(who, "peak_mb")),
            ]);
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
        "# From a raw log to the first step\n\n\
         SYNTHETIC logs in the public ones' formats and sizes; medians of {rounds} rounds, ours and the \
         others in turn. Ours is the whole of `prl prepare`, with everything written and synced; pandas \
         and polars (xtask/parity/prepare.py) only compute, and count the same sessions, items, clicks \
         and purchases. MB is the peak memory of the process.\n\n{}\n{}\n\
         Cutting batches, on one thread that prefetches for training; and the time from `prl train` \
         (GRU, PRL) to the end of its first step, on the CPU:\n\n{}",
        host::facts(machine),
        markdown_table(&header, 3, &preparation),
        markdown_table(&training_header, 1, &training)
    )
}

fn batch_row(log: &Log, lines: &[Value]) -> Vec<String> {
    let speed = |method| median_of(lines, log, ("method", method), "rows_per_s");
    let mut first_steps = Vec::new();
    for line in lines {
        if line["log"] == log.name && line["first_step_s"].is_number() {
            first_steps.push(number(&line["first_step_s"]));
        }
    }
    let normal = speed("normal");
    vec![
        log.title.to_owned(),
        format!("{normal:.0}"),
        format!("{:.0}", speed("sqn")),
        format!("{:.3}", 256e3 / normal),
        format!("{:.2}", median(&first_steps)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(log: &str, items: u64) -> Value {
        json!({ "log": log, "counts": { "sessions": 5, "items": items } })
    }

    #[test]
    fn different_counts_are_an_error() {
        let [retailrocket, rc15] = &LOGS;
        let same = [
            line("retailrocket", 3),
            line("rc15", 4),
            line("retailrocket", 3),
        ];
        assert!(ensure_same_counts(retailrocket, &same).is_ok());
        let different = [line("retailrocket", 3), line("retailrocket", 4)];
        let error = ensure_same_counts(retailrocket, &different).unwrap_err();
        assert!(
            error.to_string().starts_with("RetailRocket: the counts"),
            "{error}"
        );
        assert!(ensure_same_counts(rc15, &[line("rc15", 3), line("rc15", 4)]).is_ok());
    }

    #[test]
    fn page_has_medians_per_log_and_library() {
        let lines = [
            json!({"log": "rc15", "who": "ours", "seconds": 2.0, "rows": 1_000_000, "peak_mb": 100}),
            json!({"log": "rc15", "who": "polars", "seconds": 4.0, "peak_mb": 200}),
            json!({"log": "rc15", "method": "normal", "rows_per_s": 1000.0}),
            json!({"log": "rc15", "first_step_s": 0.5}),
        ];
        let page = page(1, &lines, &Machine::detect(&Workspace::repository()));
        assert!(
            page.contains("| RC15 | 1000000 | polars | 4.00 | 4.00 | 0.50 | 200 |"),
            "{page}"
        );
        assert!(
            page.contains("| RC15 | 1000 | NaN | 256.000 | 0.50 |"),
            "{page}"
        );
    }
}
