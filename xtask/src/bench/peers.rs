//! `cargo xtask bench peers`: the training steps of `xtask/parity` in PyTorch, timed in turn with ours in one run.
//!
//! The machine's speed drifts, so ours and theirs take turns, round after round, each case in a process of its own; what is
//! compared are the medians over the rounds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::results;
use super::steps::Case;
use crate::files::{markdown_table, write_whole};
use crate::machine::Machine;
use crate::root;
use crate::timed::{self, median};

/// How PyTorch runs, as `step.py` names it.
const MODES: [&str; 4] = ["eager", "compiled", "best", "bf16"];

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
    #[arg(long, value_delimiter = ',', default_value = "normal,prl")]
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
    /// cpu, or cuda or cuda:N; PyTorch's is the first of its kind
    #[arg(long, default_value = "cpu")]
    device: String,
    /// A Python that has PyTorch, in place of an environment made under target/
    #[arg(long)]
    python: Option<PathBuf>,
}

impl Args {
    fn is_cuda(&self) -> bool {
        self.device.starts_with("cuda")
    }

    /// Of the page and its raw lines.
    fn name(&self) -> &'static str {
        if self.is_cuda() { "peers-cuda" } else { "peers" }
    }
}

/// Figures round by round: of ours, and of each mode.
type Rounds = BTreeMap<String, Vec<Value>>;

/// What is compared: its heading, and how a line of ours and one of theirs say it.
struct Figure {
    title: &'static str,
    ours: fn(&Value) -> Option<f64>,
    theirs: fn(&Value) -> Option<f64>,
}

const FIGURES: [Figure; 3] = [
    Figure {
        title: "A training step, ms",
        ours: |line| line["step_ms_median"].as_f64(),
        theirs: |line| line["step_ms_median"].as_f64(),
    },
    Figure {
        title: "Ranking a batch over all items, the 20 best kept, ms",
        ours: |line| Some(1e3 * line["batch"].as_f64()? / line["eval_events_per_s"].as_f64()?),
        theirs: |line| line["rank_ms_median"].as_f64(),
    },
    Figure {
        title: "Memory of training, MB: ours the whole process, PyTorch's less what it holds before there is a model",
        ours: |line| line["peak_rss_mb"].as_f64(),
        theirs: |line| Some(line["peak_rss_mb"].as_f64()? - line["base_rss_mb"].as_f64()?),
    },
];

/// Times everything, keeps the raw lines and writes a page.
pub fn run(args: &Args) -> Result<()> {
    let python = args.python.clone().map_or_else(|| environment(&["torch", "numpy"]), Ok)?;
    let (mut raw, mut cases) = (String::new(), Vec::new());
    for &items in &args.items {
        for (encoder, method) in args.encoders.iter().flat_map(|e| args.methods.iter().map(move |m| (e, m))) {
            let case = Case { encoder, method, items, ..Case::default() };
            let mut rounds = Rounds::new();
            for round in 1..=args.rounds {
                eprintln!("{encoder} {method}, {items} items, round {round} of {}", args.rounds);
                let rounded = Case { bf16_head: true, ..case.clone() };
                let mut lines = case.measure(args.threads, args.steps, &args.device)?;
                // A GPU has no such head of ours.
                if args.device == "cpu" {
                    lines += &rounded.measure(args.threads, args.steps, &args.device)?;
                }
                lines += &theirs(args, &python, &case)?;
                for line in lines.lines() {
                    let line: Value = serde_json::from_str(line)?;
                    let ours = if line["bf16_head"] == true { "ours bf16" } else { "ours" };
                    rounds.entry(line["mode"].as_str().unwrap_or(ours).to_owned()).or_default().push(line);
                }
                raw += &lines;
            }
            cases.push(([encoder.clone(), method.clone(), items.to_string()], rounds));
            write(args, &raw, &cases)?;
        }
    }
    println!("{}", results().join(format!("{}.md", args.name())).display());
    Ok(())
}

fn theirs(args: &Args, python: &Path, case: &Case<'_>) -> Result<String> {
    let [items, threads, count] = [case.items, args.threads, args.steps].map(|n| n.to_string());
    let mut step = Command::new(python);
    step.current_dir(root().join("xtask/parity")).args([
        "step.py",
        "--encoders",
        case.encoder,
        "--methods",
        case.method,
    ]);
    step.args(["--items", &items, "--threads", &threads, "--steps", &count]);
    step.args(["--device", if args.is_cuda() { "cuda" } else { "cpu" }]);
    Ok(timed::run(step.arg("--modes").args(MODES))?.output)
}

/// A Python with some packages, the first of which is asked for: made once, under target/.
///
/// # Errors
/// If Python or pip fails.
pub fn environment(packages: &[&str]) -> Result<PathBuf> {
    let dir = root().join("target/peers");
    let python = dir.join("bin/python");
    let import = format!("import {}", packages.join(", "));
    let has_all = || Command::new(&python).args(["-c", &import]).stderr(Stdio::null()).status();
    if has_all().is_ok_and(|status| status.success()) {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).status().context("failed to run python3")?;
    ensure!(made.success(), "python3 -m venv failed");
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages).status()?;
    ensure!(installed.success(), "pip could not install {packages:?}; name a Python that has them with --python");
    Ok(python)
}

/// Medians of a figure, and ours over each of theirs.
fn row(case: &[String; 3], rounds: &Rounds, figure: &Figure) -> Vec<String> {
    let of = |who: &str, say: fn(&Value) -> Option<f64>| {
        let lines = rounds.get(who).into_iter().flatten();
        median(&lines.map(|line| say(line).unwrap_or(f64::NAN)).collect::<Vec<_>>())
    };
    let ours = ["ours", "ours bf16"].map(|who| of(who, figure.ours));
    let theirs = MODES.map(|mode| of(mode, figure.theirs));
    // Like against like: our bf16 head against theirs.
    let ratios = MODES.iter().zip(theirs).map(|(&mode, x)| ours[usize::from(mode == "bf16")] / x);
    let cells = ours.into_iter().chain(theirs).map(|x| format!("{x:.1}"));
    case.iter().cloned().chain(cells).chain(ratios.map(|x| format!("{x:.2}"))).collect()
}

fn write(args: &Args, raw: &str, cases: &[([String; 3], Rounds)]) -> Result<()> {
    let header = ["encoder", "method", "items", "ours", "ours, bf16"].into_iter().map(str::to_owned);
    let ratio = |mode| if mode == "bf16" { "ours, bf16 / bf16".into() } else { format!("ours / {mode}") };
    let header: Vec<String> = header.chain(MODES.map(str::to_owned)).chain(MODES.map(ratio)).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let table = |figure: &Figure| {
        let rows: Vec<Vec<String>> = cases.iter().map(|(case, rounds)| row(case, rounds, figure)).collect();
        format!("\n## {}\n\n{}", figure.title, markdown_table(&header, 3, &rows))
    };
    let page = format!(
        "# Beside PyTorch\n\nBatch 256, window 10, width 64, {} threads, device {}; medians of {} rounds of {} steps, ours and PyTorch \
         in turn. Eager is PyTorch as it comes; compiled is `torch.compile`; best adds the fused Adam and an allocator that \
         keeps large blocks; bf16 adds an output layer in bfloat16, and is set against ours with `--bf16-head` (which \
         ranks in fp32). [Raw lines]({}.jsonl).\n\n\
         {}{}",
        args.threads,
        args.device,
        args.rounds,
        args.steps,
        args.name(),
        Machine::here().to_markdown(),
        FIGURES.iter().map(table).collect::<String>()
    );
    write_whole(&results().join(format!("{}.jsonl", args.name())), raw)?;
    write_whole(&results().join(format!("{}.md", args.name())), page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_compares_medians() {
        let lines = |values: &[f64]| values.iter().map(|ms| json!({ "step_ms_median": ms })).collect();
        let ours = [("ours", vec![9.0, 50.0, 10.0]), ("ours bf16", vec![6.0])];
        let theirs = [("eager", vec![40.0, 41.0, 39.0]), ("best", vec![20.0]), ("bf16", vec![8.0])];
        let rounds = ours.into_iter().chain(theirs);
        let rounds = rounds.map(|(who, values)| (who.to_owned(), lines(&values))).collect();
        let found = row(&["gru", "prl", "100"].map(str::to_owned), &rounds, &FIGURES[0]);
        let expected =
            ["gru", "prl", "100", "10.0", "6.0", "40.0", "NaN", "20.0", "8.0", "0.25", "NaN", "0.50", "0.75"];
        assert_eq!(found, expected);
    }

    #[test]
    fn speeds_and_memory_are_brought_to_one_form() {
        let ours = json!({ "batch": 256, "eval_events_per_s": 25_600.0, "peak_rss_mb": 100.0 });
        let theirs = json!({ "rank_ms_median": 40.0, "peak_rss_mb": 900.0, "base_rss_mb": 500.0 });
        let rounds = [("ours".to_owned(), vec![ours]), ("eager".to_owned(), vec![theirs])].into();
        let case = ["gru", "prl", "100"].map(str::to_owned);
        assert_eq!(row(&case, &rounds, &FIGURES[1])[3..6], ["10.0", "NaN", "40.0"]);
        assert_eq!(row(&case, &rounds, &FIGURES[2])[9], "0.25");
    }
}
