//! `cargo xtask bench peers`: the training steps of `xtask/parity` in PyTorch, timed in turn with ours in one run.
//!
//! The machine's speed drifts, so ours and theirs take turns, round after round, each case in a process of its own; what is
//! compared are the medians over the rounds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{results, steps};
use crate::files::{markdown_table, write_whole};
use crate::machine::Machine;
use crate::root;

/// How PyTorch runs, as `step.py` names it.
const MODES: [&str; 3] = ["eager", "compiled", "best"];

/// Flags of `bench peers`.
#[derive(clap::Args)]
pub struct Args {
    /// Threads of either
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Encoders
    #[arg(long, value_delimiter = ',', default_value = "gru,caser,nextitnet,sasrec")]
    encoders: Vec<String>,
    /// Methods
    #[arg(long, value_delimiter = ',', default_value = "normal")]
    methods: Vec<String>,
    /// Sizes of the catalogue
    #[arg(long, value_delimiter = ',', default_value = "26702,70852")]
    items: Vec<usize>,
    /// Times that ours and theirs take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Steps that are timed each time
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// A Python that has PyTorch, in place of an environment made under target/
    #[arg(long)]
    python: Option<PathBuf>,
}

/// Milliseconds a step, round by round: of ours, and of each mode.
type Rounds = BTreeMap<String, Vec<f64>>;

/// Times everything, keeps the raw lines and writes a page.
pub fn run(args: &Args) -> Result<()> {
    let python = args.python.clone().map_or_else(environment, Ok)?;
    let mut raw = String::new();
    let mut rows = Vec::new();
    for items in args.items.iter().map(usize::to_string) {
        for (encoder, method) in args.encoders.iter().flat_map(|e| args.methods.iter().map(move |m| (e, m))) {
            let mut rounds = Rounds::new();
            for round in 1..=args.rounds {
                eprintln!("{encoder} {method}, {items} items, round {round} of {}", args.rounds);
                let lines = ours(args, encoder, method, &items)? + &theirs(args, &python, encoder, method, &items)?;
                for line in lines.lines() {
                    let line: Value = serde_json::from_str(line)?;
                    let who = line["mode"].as_str().unwrap_or("ours").to_owned();
                    let ms = line["step_ms_median"].as_f64().context("a line without step_ms_median")?;
                    rounds.entry(who).or_default().push(ms);
                }
                raw += &lines;
            }
            rows.push(row(encoder, method, &items, &rounds));
            write(args, &raw, &rows)?;
        }
    }
    println!("{}", results().join("peers.md").display());
    Ok(())
}

fn ours(args: &Args, encoder: &str, method: &str, items: &str) -> Result<String> {
    let [threads, count] = [args.threads, args.steps].map(|n| n.to_string());
    steps(["--threads", &threads, "--steps", &count, "--encoders", encoder, "--methods", method, "--items", items])
}

fn theirs(args: &Args, python: &Path, encoder: &str, method: &str, items: &str) -> Result<String> {
    let [threads, count] = [args.threads, args.steps].map(|n| n.to_string());
    let mut step = Command::new(python);
    step.current_dir(root().join("xtask/parity")).arg("step.py");
    step.args(["--encoders", encoder, "--methods", method, "--items", items, "--threads", &threads, "--steps", &count]);
    let output = step.arg("--modes").args(MODES).stderr(Stdio::inherit()).output().context("failed to run Python")?;
    ensure!(output.status.success(), "step.py failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// A Python with PyTorch: made once.
fn environment() -> Result<PathBuf> {
    let dir = root().join("target/peers");
    let python = dir.join("bin/python");
    let has_torch = || Command::new(&python).args(["-c", "import torch"]).stderr(Stdio::null()).status();
    if has_torch().is_ok_and(|status| status.success()) {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).status().context("failed to run python3")?;
    ensure!(made.success(), "python3 -m venv failed");
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet", "torch", "numpy"]).status()?;
    ensure!(installed.success(), "pip could not install torch; name a Python that has it with --python");
    Ok(python)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Medians, and ours over each of theirs.
fn row(encoder: &str, method: &str, items: &str, rounds: &Rounds) -> Vec<String> {
    let of = |who: &str| rounds.get(who).map_or(f64::NAN, |ms| median(ms));
    let ours = of("ours");
    let mut row: Vec<String> = [encoder, method, items].map(str::to_owned).into();
    row.push(format!("{ours:.1}"));
    row.extend(MODES.map(|mode| format!("{:.1}", of(mode))));
    row.extend(MODES.map(|mode| format!("{:.2}", ours / of(mode))));
    row
}

fn write(args: &Args, raw: &str, rows: &[Vec<String>]) -> Result<()> {
    let header =
        ["encoder", "method", "items", "ours, ms", "eager", "compiled", "best", "ours / eager", "/ compiled", "/ best"];
    let page = format!(
        "# A training step beside PyTorch's\n\nBatch 256, window 10, width 64, {} threads; medians of {} rounds of {} steps, \
         ours and PyTorch in turn. Eager is PyTorch as it comes, compiled is `torch.compile`, best adds the fused Adam and an \
         allocator that keeps large blocks. [Raw lines](peers.jsonl).\n\n{}\n{}",
        args.threads,
        args.rounds,
        args.steps,
        Machine::here().to_markdown(),
        markdown_table(&header, 3, rows)
    );
    write_whole(&results().join("peers.jsonl"), raw)?;
    write_whole(&results().join("peers.md"), page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_compares_medians() {
        let rounds = [("ours", vec![9.0, 50.0, 10.0]), ("eager", vec![40.0, 41.0, 39.0]), ("best", vec![20.0])];
        let rounds = rounds.map(|(who, ms)| (who.to_owned(), ms)).into();
        let found = row("gru", "prl", "100", &rounds);
        assert_eq!(found, ["gru", "prl", "100", "10.0", "40.0", "NaN", "20.0", "0.25", "NaN", "0.50"]);
    }
}
