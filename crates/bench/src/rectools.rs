//! `prl-bench rectools`: SASRec of RecTools beside ours on a prepared dataset, from training to the
//! metrics of the test split.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use prl_bench::jsonl::{self, cell, number, text};
use prl_bench::measure;
use prl_experiments::files::read_json;
use prl_experiments::{Machine, Workspace, programs, write_file};
use prl_report::markdown_table;
use serde_json::{Value, json};

use crate::host;
use crate::programs::python_with;

/// Flags of `prl-bench rectools`.
#[derive(clap::Args)]
pub struct Args {
    /// A prepared dataset
    #[arg(long)]
    data: PathBuf,
    /// Threads of either
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Passes over the training data of either
    #[arg(long, default_value_t = 8)]
    epochs: u64,
    /// Encoders of ours
    #[arg(long, value_delimiter = ',', default_value = "sasrec,core")]
    encoders: Vec<String>,
    /// A Python with RecTools and PyTorch [default: a virtual environment under target/]
    #[arg(long)]
    python: Option<PathBuf>,
}

/// Trains and evaluates all systems; writes the raw lines and a page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let data = std::path::absolute(&args.data)?;
    let prl = programs::prl(workspace, "cpu")?;
    let python = match &args.python {
        Some(python) => python.clone(),
        None => python_with(workspace, &["rectools", "torch", "numpy", "pandas"])?,
    };
    let mut lines = Vec::new();
    for encoder in &args.encoders {
        eprintln!("ours, {encoder}");
        lines.push(ours(workspace, &prl, &data, encoder, args)?);
    }
    eprintln!("RecTools");
    let mut script = workspace.foreign_command(&python);
    script.current_dir(workspace.root.join("xtask/parity"));
    script.arg("rectools_sasrec.py").arg(&data);
    script.args(["--epochs", &args.epochs.to_string()]);
    script.args(["--threads", &args.threads.to_string()]);
    let mut line: Value = serde_json::from_str(measure::run(&mut script)?.output.trim())?;
    line["system"] = "RecTools SASRec".into();
    lines.push(line);
    let machine = Machine::detect(workspace);
    let folder = host::folder(workspace, &machine, "cpu");
    write_file(&folder.join("rectools.jsonl"), jsonl::to_text(&lines))?;
    let manifest: Value = read_json(&data.join("manifest.json"))?;
    let page = page(args, &text(&manifest["dataset"]), &lines, &machine);
    write_file(&folder.join("rectools.md"), &page)?;
    crate::index::write(workspace)?;
    println!("{page}");
    Ok(())
}

/// Trains an encoder under the recipe modern and evaluates it on the test split's events that have
/// a history.
fn ours(
    workspace: &Workspace,
    prl: &Path,
    data: &Path,
    encoder: &str,
    args: &Args,
) -> Result<Value> {
    let run = workspace.root.join("target/bench/rectools").join(encoder);
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("failed to remove {}", run.display()))?;
    }
    let threads = args.threads.to_string();
    let mut train = Command::new(prl);
    train.args(["train", "--recipe", "modern", "--method", "normal"]);
    train.args(["--encoder", encoder, "--epochs", &args.epochs.to_string()]);
    train.arg("--data").arg(data).arg("--out").arg(&run);
    train
        .env("RAYON_NUM_THREADS", &threads)
        .env("PRL_LOG", "warn");
    let trained = measure::run(&mut train)?;
    let mut evaluate = Command::new(prl);
    evaluate.args(["evaluate", "--skip-first", "-k", "20", "--json", "--run"]);
    evaluate.arg(&run).env("RAYON_NUM_THREADS", &threads);
    let evaluated = measure::run(&mut evaluate)?;
    let report: Value = serde_json::from_str(&evaluated.output)?;
    Ok(json!({
        "system": format!("ours, {encoder}, modern"),
        "train_s": trained.seconds,
        "train_cpu_s": trained.cpu_seconds,
        "rank_s": evaluated.seconds,
        "peak_mb": trained.peak_mb,
        "events": report["events"],
        "HR@20": report["all"]["HR@20"],
        "NDCG@20": report["all"]["NDCG@20"],
    }))
}

fn page(args: &Args, dataset: &str, lines: &[Value], machine: &Machine) -> String {
    let header = [
        "system",
        "training, s",
        "ranking, s",
        "MB",
        "events",
        "HR@20",
        "NDCG@20",
    ];
    let mut rows = Vec::new();
    for line in lines {
        rows.push(vec![
            text(&line["system"]),
            cell(number(&line["train_s"]), 1),
            cell(number(&line["train_cpu_s"]), 1),
            cell(number(&line["rank_s"]), 2),
            cell(number(&line["peak_mb"]), 0),
            text(&line["events"]),
            cell(number(&line["HR@20"]), 4),
            cell(number(&line["NDCG@20"]), 4),
        ]);
    }
    format!(
        "# Beside RecTools\n\n\
         Dataset {dataset}, {} threads, {} passes over the training split, hidden size 64, windows of 10 \
         items, full softmax over the tied item vectors, one seed; the test split's events that have a \
         history, all items ranked, nothing excluded by RecTools, own items by each run's own rule in \
         ours. RecTools' SASRec has one block, one head and its default learning rate \
         (xtask/parity/rectools_sasrec.py); nothing was tuned on either side. Ours validates after each \
         pass, which counts as training, and each of its figures is of a whole process. [Raw \
         lines](rectools.jsonl).\n\n{}\n{}",
        args.threads,
        args.epochs,
        host::facts(machine),
        markdown_table(&header, 1, &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_times_and_metrics() {
        let args = Args {
            data: "x".into(),
            threads: 2,
            epochs: 8,
            encoders: Vec::new(),
            python: None,
        };
        let line = json!({"system": "ours", "train_s": 12.34, "train_cpu_s": 20.0, "rank_s": 0.5, "peak_mb": 99.6,
                          "events": 7, "HR@20": 0.25, "NDCG@20": 0.125});
        let machine = Machine::detect(&Workspace::repository());
        let page = page(&args, "abc", &[line], &machine);
        assert!(
            page.contains("| ours | 12.3 | 20.0 | 0.50 | 100 | 7 | 0.2500 | 0.1250 |"),
            "{page}"
        );
    }
}
