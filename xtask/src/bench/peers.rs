//! `cargo xtask bench peers`: the training steps of `xtask/parity` in PyTorch, timed in turn with ours in one run.
//!
//! The machine's speed drifts, so ours and theirs take turns, round after round; what is compared are the medians over the
//! rounds.

mod torch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use super::results;
use super::steps::{Case, shown};
use crate::timed::median;
use prl_experiments::Machine;
use prl_experiments::write_file;
use prl_report::markdown_table;
use torch::Torch;
pub use torch::environment;

/// How PyTorch runs, as `step.py` names it.
const MODES: [&str; 4] = ["eager", "compiled", "best", "bf16"];
/// Ours with an output layer in bfloat16.
const BF16: &str = "ours, bf16";

/// Flags of `bench peers`.
#[derive(clap::Args)]
pub struct Args {
    /// Threads of either
    #[arg(long, default_value_t = 2)]
    threads: usize,
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
    /// Sizes of the catalogue
    #[arg(long, value_delimiter = ',', default_value = "26702,70852")]
    items: Vec<usize>,
    /// Ways that PyTorch runs; the page has a dash for the others
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(MODES), default_values = MODES)]
    modes: Vec<String>,
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
    /// On a GPU: processes that fill PyTorch's compile cache before the first round, 0 for none [default: one for each core]
    #[arg(long)]
    precompile: Option<usize>,
}

impl Args {
    fn cases(&self) -> Vec<Case<'_>> {
        let pairs = || {
            self.encoders
                .iter()
                .flat_map(|e| self.methods.iter().map(move |m| (e, m)))
        };
        let of = |items| {
            pairs().map(move |(encoder, method)| Case {
                encoder,
                method,
                items,
                ..Case::default()
            })
        };
        self.items.iter().flat_map(|&items| of(items)).collect()
    }

    fn is_cuda(&self) -> bool {
        self.device.starts_with("cuda")
    }

    /// Of the page and its raw lines.
    fn name(&self) -> &'static str {
        if self.is_cuda() {
            "peers-cuda"
        } else {
            "peers"
        }
    }
}

/// Figures round by round: of ours, and of each mode.
type Rounds = BTreeMap<String, Vec<Value>>;

/// What is compared: its heading, and how a line of ours and one of theirs say it.
struct Figure {
    title: &'static str,
    ours: fn(&Value) -> Option<f64>,
    theirs: fn(&Value) -> Option<f64>,
    digits: usize,
}

/// What is compared on a device.
fn figures(is_cuda: bool) -> [Figure; 3] {
    // A GPU's step takes a millisecond or so.
    let digits = if is_cuda { 3 } else { 1 };
    let device_mb = |line: &Value| line["peak_device_mb"].as_f64();
    [
        Figure {
            title: "A training step, ms",
            ours: |line| line["step_ms_median"].as_f64(),
            theirs: |line| line["step_ms_median"].as_f64(),
            digits,
        },
        Figure {
            title: "Ranking a batch over all items, the 20 best kept, ms",
            ours: |line| Some(1e3 * line["batch"].as_f64()? / line["eval_events_per_s"].as_f64()?),
            theirs: |line| line["rank_ms_median"].as_f64(),
            digits,
        },
        if is_cuda {
            let title = "Memory of the GPU in training, MB: the most in use, PyTorch's after its first step; a dash where it is not measured";
            Figure {
                title,
                ours: device_mb,
                theirs: device_mb,
                digits: 0,
            }
        } else {
            Figure {
                title: "Memory of training, MB: ours the whole process, PyTorch's less what it holds before there is a model",
                ours: |line| line["peak_rss_mb"].as_f64(),
                theirs: |line| Some(line["peak_rss_mb"].as_f64()? - line["base_rss_mb"].as_f64()?),
                digits: 1,
            }
        },
    ]
}

/// Times everything, keeps the raw lines and writes a page.
pub fn run(args: &Args) -> Result<()> {
    let (mut raw, mut done) = (String::new(), Vec::new());
    let cases = args.cases();
    let mut torch = Torch::start(args, &cases)?;
    for case in cases {
        let Case {
            encoder,
            method,
            items,
            ..
        } = case;
        let mut rounds = Rounds::new();
        for round in 1..=args.rounds {
            eprintln!(
                "{encoder} {method}, {items} items, round {round} of {}",
                args.rounds
            );
            let rounded = Case {
                bf16_head: true,
                ..case.clone()
            };
            let mut lines = case.measure(args.threads, args.steps, &args.device)?;
            // A GPU has no such head of ours.
            if args.device == "cpu" {
                lines += &rounded.measure(args.threads, args.steps, &args.device)?;
            }
            lines += &torch.time(&case)?;
            for line in lines.lines() {
                let line: Value = serde_json::from_str(line)?;
                let ours = if line["bf16_head"] == true {
                    BF16
                } else {
                    "ours"
                };
                rounds
                    .entry(line["mode"].as_str().unwrap_or(ours).to_owned())
                    .or_default()
                    .push(line);
            }
            raw += &lines;
        }
        done.push((
            [encoder.to_owned(), method.to_owned(), items.to_string()],
            rounds,
        ));
        write(args, &raw, &done)?;
    }
    println!(
        "{}",
        results().join(format!("{}.md", args.name())).display()
    );
    Ok(())
}

/// Who of ours a mode is set against: like against like, where there is such a head of ours.
fn rival(mode: &str, is_cuda: bool) -> &'static str {
    if mode == "bf16" && !is_cuda {
        BF16
    } else {
        "ours"
    }
}

/// Those of ours that a device has.
fn ours(is_cuda: bool) -> Vec<&'static str> {
    if is_cuda {
        vec!["ours"]
    } else {
        vec!["ours", BF16]
    }
}

/// Medians of a figure, and ours over each of theirs.
fn row(case: &[String; 3], rounds: &Rounds, figure: &Figure, is_cuda: bool) -> Vec<String> {
    let of = |who: &str| {
        let say = if MODES.contains(&who) {
            figure.theirs
        } else {
            figure.ours
        };
        let lines = rounds.get(who).into_iter().flatten();
        median(
            &lines
                .map(|line| say(line).unwrap_or(f64::NAN))
                .collect::<Vec<_>>(),
        )
    };
    let cells = ours(is_cuda)
        .into_iter()
        .chain(MODES)
        .map(|who| shown(of(who), figure.digits));
    let ratios = MODES.map(|mode| shown(of(rival(mode, is_cuda)) / of(mode), 2));
    case.iter().cloned().chain(cells).chain(ratios).collect()
}

fn table(figure: &Figure, cases: &[([String; 3], Rounds)], is_cuda: bool) -> String {
    let header = ["encoder", "method", "items"]
        .into_iter()
        .chain(ours(is_cuda))
        .chain(MODES)
        .map(str::to_owned);
    let ratios = MODES.map(|mode| format!("{} / {mode}", rival(mode, is_cuda)));
    let header: Vec<String> = header.chain(ratios).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|(case, rounds)| row(case, rounds, figure, is_cuda))
        .collect();
    format!(
        "\n## {}\n\n{}",
        figure.title,
        markdown_table(&header, 3, &rows)
    )
}

/// What the modes are on a device.
fn modes(is_cuda: bool) -> &'static str {
    if is_cuda {
        "Eager is PyTorch as it comes; compiled is `torch.compile`; best adds the fused Adam and cuDNN's choice by trial, and is the faster of \
         `torch.compile`'s `reduce-overhead` and one CUDA graph of the whole compiled step; bf16 is that with an output layer \
         in bfloat16, set against ours in fp32. Everything else is fp32, without the TF32 that PyTorch's convolutions would \
         take. A step takes its batch from the host. PyTorch's steps follow one another without a wait; ours wait for their \
         loss. A ranking starts and ends at the host."
    } else {
        "Eager is PyTorch as it comes; compiled is `torch.compile`; best adds the fused Adam and an allocator that keeps large \
         blocks; bf16 adds an output layer in bfloat16, and is set against ours with `--bf16-head` (which ranks in fp32)."
    }
}

fn write(args: &Args, raw: &str, cases: &[([String; 3], Rounds)]) -> Result<()> {
    let is_cuda = args.is_cuda();
    let page = format!(
        "# Beside PyTorch\n\nBatch 256, window 10, width 64, {} threads, device {}; medians of {} rounds of {} steps, ours and \
         PyTorch in turn. {} [Raw lines]({}.jsonl).\n\n{}{}",
        args.threads,
        args.device,
        args.rounds,
        args.steps,
        modes(is_cuda),
        args.name(),
        Machine::detect(crate::workspace()).to_markdown(),
        figures(is_cuda)
            .iter()
            .map(|figure| table(figure, cases, is_cuda))
            .collect::<String>()
    );
    write_file(&results().join(format!("{}.jsonl", args.name())), raw)?;
    write_file(&results().join(format!("{}.md", args.name())), page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_compares_medians() {
        let lines = |values: &[f64]| {
            values
                .iter()
                .map(|ms| json!({ "step_ms_median": ms }))
                .collect()
        };
        let ours = [("ours", vec![9.0, 50.0, 10.0]), (BF16, vec![6.0])];
        let theirs = [
            ("eager", vec![40.0, 41.0, 39.0]),
            ("best", vec![20.0]),
            ("bf16", vec![8.0]),
        ];
        let rounds = ours.into_iter().chain(theirs);
        let rounds = rounds
            .map(|(who, values)| (who.to_owned(), lines(&values)))
            .collect();
        let found = row(
            &["gru", "prl", "100"].map(str::to_owned),
            &rounds,
            &figures(false)[0],
            false,
        );
        let expected = [
            "gru", "prl", "100", "10.0", "6.0", "40.0", "-", "20.0", "8.0", "0.25", "-", "0.50",
            "0.75",
        ];
        assert_eq!(found, expected);
        let found = row(
            &["gru", "prl", "100"].map(str::to_owned),
            &rounds,
            &figures(true)[0],
            true,
        );
        let expected = [
            "gru", "prl", "100", "10.000", "40.000", "-", "20.000", "8.000", "0.25", "-", "0.50",
            "1.25",
        ];
        assert_eq!(found, expected, "a GPU has no such head of ours");
    }

    #[test]
    fn speeds_and_memory_are_brought_to_one_form() {
        let ours = json!({ "batch": 256, "eval_events_per_s": 25_600.0, "peak_rss_mb": 100.0 });
        let theirs = json!({ "rank_ms_median": 40.0, "peak_device_mb": 800.0, "peak_rss_mb": 900.0, "base_rss_mb": 500.0 });
        let rounds = [
            ("ours".to_owned(), vec![ours]),
            ("eager".to_owned(), vec![theirs]),
        ]
        .into();
        let case = ["gru", "prl", "100"].map(str::to_owned);
        let of = |i: usize, is_cuda| row(&case, &rounds, &figures(is_cuda)[i], is_cuda);
        assert_eq!(of(1, false)[3..6], ["10.0", "-", "40.0"]);
        assert_eq!(of(2, false)[9], "0.25");
        assert_eq!(
            of(2, true)[3..5],
            ["-", "800"],
            "memory of the host is not the GPU's"
        );
    }
}
