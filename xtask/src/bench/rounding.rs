//! `cargo xtask bench rounding`: what `--bf16-head` does to the metrics: the same runs with it and without.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::results;
use crate::{programs, root, timed};
use prl_experiments::Machine;
use prl_experiments::write_file;
use prl_report::markdown_table;

/// Flags of `bench rounding`.
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
    /// Seeds of each
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Passes over the training rows
    #[arg(long, default_value_t = 10)]
    epochs: u64,
}

/// Steps between validations.
const EVERY: &str = "500";
const METRICS: [&str; 4] = ["HR@5", "NDCG@5", "HR@20", "NDCG@20"];

/// Trains and evaluates everything, keeps the raw lines and writes a page.
pub fn run(args: &Args) -> Result<()> {
    let prl = programs::prl("cpu")?;
    let data = std::path::absolute(&args.data)?;
    let dir = root().join("target/bench/rounding");
    let file = data.join("manifest.json");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(&file).with_context(|| file.display().to_string())?)?;
    let mut lines = Vec::new();
    for seed in 0..args.seeds {
        for (encoder, method) in args
            .encoders
            .iter()
            .flat_map(|e| args.methods.iter().map(move |m| (e, m)))
        {
            eprintln!("{encoder} {method}, seed {seed}");
            let report = |is_rounded: bool| {
                let name = format!(
                    "{encoder}-{method}-{seed}{}",
                    if is_rounded { "-bf16" } else { "" }
                );
                let mut train = Command::new(&prl);
                train.arg("train").arg("--data").arg(&data).args([
                    "--encoder",
                    encoder,
                    "--method",
                    method,
                ]);
                train.args([
                    "--seed",
                    &seed.to_string(),
                    "--epochs",
                    &args.epochs.to_string(),
                    "--eval-every",
                    EVERY,
                ]);
                train.args(is_rounded.then_some("--bf16-head"));
                evaluated(&prl, &mut train, &dir.join(name))
            };
            lines.push(
                json!({ "encoder": encoder, "method": method, "seed": seed, "epochs": args.epochs,
                               "fp32": report(false)?, "bf16": report(true)? }),
            );
            write(args, &manifest, &lines)?;
        }
    }
    println!("{}", results().join("rounding.md").display());
    Ok(())
}

/// The test metrics of all events, with their intervals, of a run trained into a fresh folder.
fn evaluated(prl: &Path, train: &mut Command, run: &Path) -> Result<Value> {
    if run.exists() {
        std::fs::remove_dir_all(run).with_context(|| run.display().to_string())?;
    }
    timed::run(train.arg("--out").arg(run).env("PRL_LOG", "warn"))?;
    let told = timed::run(
        Command::new(prl)
            .arg("evaluate")
            .arg("--run")
            .arg(run)
            .arg("--json"),
    )?
    .output;
    let report: Value = serde_json::from_str(&told)?;
    Ok(
        json!({ "events": report["events"], "all": report["all"], "intervals": report["intervals"]["all"] }),
    )
}

/// Of a line, each metric in fp32 with its interval, then with the head in bfloat16; and how many lie inside.
fn row(line: &Value) -> (Vec<String>, usize) {
    let mut cells: Vec<String> = ["encoder", "method", "seed"]
        .map(|key| {
            line[key]
                .as_str()
                .map_or_else(|| line[key].to_string(), str::to_owned)
        })
        .to_vec();
    let mut inside = 0;
    for metric in METRICS {
        let number = |x: &Value| x.as_f64().unwrap_or(f64::NAN);
        let (full, rounded) = (
            number(&line["fp32"]["all"][metric]),
            number(&line["bf16"]["all"][metric]),
        );
        let [low, high] = [0, 1].map(|end| number(&line["fp32"]["intervals"][metric][end]));
        inside += usize::from((low..=high).contains(&rounded));
        cells.push(format!("{full:.4} ({low:.4} to {high:.4})"));
        cells.push(format!("{rounded:.4}"));
    }
    (cells, inside)
}

/// The lines of one encoder and method as one: each metric's mean over the seeds, in fp32 with the seeds' least and most, then
/// with the head in bfloat16.
fn mean_row(lines: &[&Value]) -> Vec<String> {
    let mut cells: Vec<String> = ["encoder", "method"]
        .map(|key| lines[0][key].as_str().unwrap_or_default().to_owned())
        .to_vec();
    for metric in METRICS {
        let values = |head: &str| -> Vec<f64> {
            lines
                .iter()
                .map(|line| line[head]["all"][metric].as_f64().unwrap_or(f64::NAN))
                .collect()
        };
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let full = values("fp32");
        let (low, high) = full.iter().fold((f64::INFINITY, 0.0), |(low, high), &x| {
            (x.min(low), x.max(high))
        });
        cells.push(format!("{:.4} ({low:.4} to {high:.4})", mean(&full)));
        cells.push(format!("{:.4}", mean(&values("bf16"))));
    }
    cells
}

fn write(args: &Args, manifest: &Value, lines: &[Value]) -> Result<()> {
    let raw: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let (rows, inside): (Vec<Vec<String>>, Vec<usize>) = lines.iter().map(row).unzip();
    let metrics = METRICS
        .iter()
        .flat_map(|metric| [format!("{metric}, fp32"), "bf16 head".to_owned()]);
    let header: Vec<String> = ["encoder", "method", "seed"]
        .map(str::to_owned)
        .into_iter()
        .chain(metrics)
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut cases: BTreeMap<[&str; 2], Vec<&Value>> = BTreeMap::new();
    for line in lines {
        cases
            .entry(["encoder", "method"].map(|key| line[key].as_str().unwrap_or_default()))
            .or_default()
            .push(line);
    }
    let means: Vec<Vec<String>> = cases.values().map(|lines| mean_row(lines)).collect();
    let of_means: Vec<&str> = header
        .iter()
        .copied()
        .filter(|&name| name != "seed")
        .collect();
    let page = format!(
        "# With the output layer's factors in bfloat16\n\nOn dataset {} ({}, {} events in its test split): runs of {} epochs, \
         the best of their validations every {EVERY} steps, with `--bf16-head` and without, everything else alike; test metrics of all events, in fp32 with their 95% intervals over sessions. Ranking is in fp32 in both. {} of \
         {} figures lie inside the interval of fp32's, which holds what the choice of test sessions does, and not what another \
         seed does. [Raw lines](rounding.jsonl).\n\n{}\n## Means over the seeds, beside the least and the most of fp32's\n\n{}\n\
         ## Run by run\n\n{}",
        manifest["dataset"].as_str().unwrap_or("?"),
        manifest["source"]["kind"].as_str().unwrap_or("?"),
        ["click", "purchase"]
            .iter()
            .filter_map(|kind| lines[0]["fp32"]["events"][kind].as_u64())
            .sum::<u64>(),
        args.epochs,
        inside.iter().sum::<usize>(),
        inside.len() * METRICS.len(),
        Machine::detect(crate::workspace()).to_markdown(),
        markdown_table(&of_means, 2, &means),
        markdown_table(&header, 2, &rows)
    );
    write_file(&results().join("rounding.jsonl"), raw)?;
    write_file(&results().join("rounding.md"), page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{mean_row, row};

    #[test]
    fn what_lies_outside_of_an_interval_is_not_counted() {
        let all = |hr5: f64, rest: f64| json!({"HR@5": hr5, "NDCG@5": rest, "HR@20": rest, "NDCG@20": rest});
        let within = json!([0.1, 0.3]);
        let intervals =
            json!({"HR@5": within, "NDCG@5": within, "HR@20": within, "NDCG@20": within});
        let line = json!({"encoder": "gru", "method": "prl", "seed": 0,
            "fp32": {"all": all(0.2, 0.2), "intervals": intervals}, "bf16": {"all": all(0.31, 0.3)}});
        let (cells, inside) = row(&line);
        assert_eq!(inside, 3);
        let mut other = line.clone();
        other["fp32"]["all"]["HR@5"] = json!(0.3);
        assert_eq!(
            mean_row(&[&line, &other])[..4],
            ["gru", "prl", "0.2500 (0.2000 to 0.3000)", "0.3100"]
        );
        assert_eq!(
            cells[..5],
            ["gru", "prl", "0", "0.2000 (0.1000 to 0.3000)", "0.3100"]
        );
    }
}
