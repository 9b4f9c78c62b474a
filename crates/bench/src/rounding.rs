//! `prl-bench rounding`: effect of `--bf16-head` on the test metrics. Each run is trained with the
//! flag and without, everything else equal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use prl_bench::jsonl::{self, number, text};
use prl_bench::measure;
use prl_experiments::files::read_json;
use prl_experiments::{Machine, Workspace, programs, write_file};
use prl_report::markdown_table;
use serde_json::{Value, json};

use crate::host;
use crate::steps::cases_of;

/// Flags of `prl-bench rounding`.
#[derive(clap::Args)]
pub struct Args {
    /// A prepared dataset
    #[arg(long)]
    data: PathBuf,
    /// Encoders
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "gru,caser,nextitnet,sasrec"
    )]
    encoders: Vec<String>,
    /// Methods
    #[arg(long, value_delimiter = ',', default_value = "normal,prl")]
    methods: Vec<String>,
    /// Seeds per encoder and method
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Passes over the training examples
    #[arg(long, default_value_t = 10)]
    epochs: u64,
}

/// Training steps between validations.
const EVAL_EVERY: &str = "500";
const METRICS: [&str; 4] = ["HR@5", "NDCG@5", "HR@20", "NDCG@20"];

/// Trains and evaluates all runs; writes the raw lines and a page after each pair.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let prl = programs::prl(workspace, "cpu")?;
    let data = std::path::absolute(&args.data)?;
    let dir = workspace.root.join("target/bench/rounding");
    let manifest: Value = read_json(&data.join("manifest.json"))?;
    let machine = Machine::detect(workspace);
    let folder = host::folder(workspace, &machine, "cpu");
    let mut lines = Vec::new();
    for seed in 0..args.seeds {
        for case in cases_of(&args.encoders, &args.methods, 0) {
            let (encoder, method) = (case.encoder, case.method);
            eprintln!("{encoder} {method}, seed {seed}");
            let mut line = json!({
                "encoder": encoder, "method": method, "seed": seed, "epochs": args.epochs,
            });
            for (head, flag) in [("fp32", None), ("bf16", Some("--bf16-head"))] {
                let run = dir.join(format!("{encoder}-{method}-{seed}-{head}"));
                let mut train = Command::new(&prl);
                train.arg("train").arg("--data").arg(&data);
                train.args([
                    "--recipe",
                    "paper",
                    "--encoder",
                    encoder,
                    "--method",
                    method,
                ]);
                train.args(["--seed", &seed.to_string(), "--eval-every", EVAL_EVERY]);
                train
                    .args(["--epochs", &args.epochs.to_string()])
                    .args(flag);
                line[head] = train_and_evaluate(&prl, &mut train, &run)?;
            }
            lines.push(line);
            let raw = jsonl::to_text(&lines);
            write_file(&folder.join("rounding.jsonl"), raw)?;
            let page = page(args.epochs, &manifest, &lines, &machine);
            write_file(&folder.join("rounding.md"), page)?;
        }
    }
    crate::index::write(workspace)?;
    println!("{}", folder.join("rounding.md").display());
    Ok(())
}

/// Trains a run in a new directory; returns its test metrics over all events with their intervals.
fn train_and_evaluate(prl: &Path, train: &mut Command, run: &Path) -> Result<Value> {
    if run.exists() {
        fs::remove_dir_all(run).with_context(|| format!("failed to remove {}", run.display()))?;
    }
    measure::run(train.arg("--out").arg(run).env("PRL_LOG", "warn"))?;
    let mut evaluate = Command::new(prl);
    evaluate.arg("evaluate").arg("--run").arg(run).arg("--json");
    let report: Value = serde_json::from_str(&measure::run(&mut evaluate)?.output)?;
    Ok(json!({
        "events": report["events"],
        "all": report["all"],
        "intervals": report["intervals"]["all"],
    }))
}

/// Cells of a line, for each metric in fp32 with its interval and with the bf16 head; and how many
/// of the latter are within the interval.
fn row(line: &Value) -> (Vec<String>, usize) {
    let mut cells = Vec::new();
    for key in ["encoder", "method", "seed"] {
        cells.push(text(&line[key]));
    }
    let mut inside = 0;
    for metric in METRICS {
        let fp32 = number(&line["fp32"]["all"][metric]);
        let bf16 = number(&line["bf16"]["all"][metric]);
        let interval = &line["fp32"]["intervals"][metric];
        let (low, high) = (number(&interval[0]), number(&interval[1]));
        inside += usize::from((low..=high).contains(&bf16));
        cells.push(format!("{fp32:.4} ({low:.4} to {high:.4})"));
        cells.push(format!("{bf16:.4}"));
    }
    (cells, inside)
}

/// Cells of the seeds of one encoder and method: each metric's mean in fp32 with its range over the
/// seeds, and with the bf16 head.
fn mean_row(lines: &[&Value]) -> Vec<String> {
    let mut cells = vec![text(&lines[0]["encoder"]), text(&lines[0]["method"])];
    for metric in METRICS {
        let (mut fp32, mut bf16) = (0.0, 0.0);
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for line in lines {
            let value = number(&line["fp32"]["all"][metric]);
            fp32 += value / lines.len() as f64;
            bf16 += number(&line["bf16"]["all"][metric]) / lines.len() as f64;
            low = low.min(value);
            high = high.max(value);
        }
        cells.push(format!("{fp32:.4} ({low:.4} to {high:.4})"));
        cells.push(format!("{bf16:.4}"));
    }
    cells
}

fn page(epochs: u64, manifest: &Value, lines: &[Value], machine: &Machine) -> String {
    let mut rows = Vec::new();
    let mut inside = 0;
    let mut groups: BTreeMap<[String; 2], Vec<&Value>> = BTreeMap::new();
    for line in lines {
        let (cells, n) = row(line);
        rows.push(cells);
        inside += n;
        let key = [text(&line["encoder"]), text(&line["method"])];
        groups.entry(key).or_default().push(line);
    }
    let mut means = Vec::new();
    for lines in groups.values() {
        means.push(mean_row(lines));
    }
    let metrics = [
        "HR@5, fp32",
        "bf16 head",
        "NDCG@5, fp32",
        "bf16 head",
        "HR@20, fp32",
        "bf16 head",
        "NDCG@20, fp32",
        "bf16 head",
    ];
    let events = &lines[0]["fp32"]["events"];
    format!(
        "# Output layer with bfloat16 operands\n\n\
         On dataset {} ({}, {} events in its test split): runs of {epochs} epochs, the best of their \
         validations every {EVAL_EVERY} steps, with and without `--bf16-head`, everything else equal; \
         test metrics over all events, in fp32 with 95% intervals over sessions. Ranking is in fp32 in \
         both. {inside} of {} numbers are within fp32's interval, which covers the choice of test \
         sessions but not of the seed. [Raw lines](rounding.jsonl).\n\n\
         {}\n## Means over the seeds, with the range of fp32's\n\n{}\n## Single runs\n\n{}",
        text(&manifest["dataset"]),
        text(&manifest["source"]["kind"]),
        events["click"].as_u64().unwrap_or(0) + events["purchase"].as_u64().unwrap_or(0),
        rows.len() * METRICS.len(),
        host::facts(machine),
        markdown_table(&[&["encoder", "method"], &metrics[..]].concat(), 2, &means),
        markdown_table(
            &[&["encoder", "method", "seed"], &metrics[..]].concat(),
            2,
            &rows
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bf16_hr5: f64) -> Value {
        let all = |hr5: f64, rest: f64| json!({"HR@5": hr5, "NDCG@5": rest, "HR@20": rest, "NDCG@20": rest});
        let interval = json!([0.1, 0.3]);
        let intervals =
            json!({"HR@5": interval, "NDCG@5": interval, "HR@20": interval, "NDCG@20": interval});
        json!({
            "encoder": "gru", "method": "prl", "seed": 0,
            "fp32": {"all": all(0.2, 0.2), "intervals": intervals},
            "bf16": {"all": all(bf16_hr5, 0.3)},
        })
    }

    #[test]
    fn metrics_outside_their_interval_are_not_counted() {
        let (cells, inside) = row(&line(0.31));
        assert_eq!(inside, 3);
        assert_eq!(
            cells[..5],
            ["gru", "prl", "0", "0.2000 (0.1000 to 0.3000)", "0.3100"]
        );
    }

    #[test]
    fn seeds_are_averaged() {
        let mut other = line(0.31);
        other["fp32"]["all"]["HR@5"] = json!(0.3);
        assert_eq!(
            mean_row(&[&line(0.31), &other])[..4],
            ["gru", "prl", "0.2500 (0.2000 to 0.3000)", "0.3100"]
        );
    }
}
