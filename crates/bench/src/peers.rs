//! `prl-bench peers`: the training steps of `xtask/parity` in PyTorch, timed in turn with ours.
//!
//! A machine's speed drifts over minutes, so ours and PyTorch's alternate within a round; the page
//! compares medians over the rounds.

mod figure;
mod torch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use prl_bench::jsonl::cell;
use prl_bench::measure::median;
use prl_experiments::{Machine, Workspace, write_file};
use prl_report::markdown_table;
use serde_json::Value;

use crate::host;
use crate::steps::{Case, Timing, cases_of, modern_cases};
use figure::{Figure, figures};
use torch::Torch;

/// PyTorch modes, as named by `step.py`.
const MODES: [&str; 4] = ["eager", "compiled", "best", "bf16"];
const OURS: &str = "ours";
/// Ours with an output layer in bfloat16.
const OURS_BF16: &str = "ours, bf16";

/// Flags of `prl-bench peers`.
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
    /// Catalogue sizes
    #[arg(long, value_delimiter = ',', default_value = "26702,70852")]
    items: Vec<usize>,
    /// PyTorch modes; the page has a dash for those left out
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = clap::builder::PossibleValuesParser::new(MODES),
        default_values = MODES
    )]
    modes: Vec<String>,
    /// Rounds in which ours and PyTorch's take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Timed steps per round
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// cpu, cuda or cuda:N; PyTorch takes the first device of its kind
    #[arg(long, default_value = "cpu")]
    device: String,
    /// A Python with PyTorch [default: a virtual environment under target/]
    #[arg(long)]
    python: Option<PathBuf>,
    /// On a GPU: processes that fill PyTorch's compile cache before the first round [default: one
    /// per core]
    #[arg(long)]
    precompile: Option<usize>,
}

impl Args {
    fn is_cuda(&self) -> bool {
        self.device.starts_with("cuda")
    }
}

/// Lines of all rounds of a case, by ours or PyTorch's mode.
type Rounds = BTreeMap<String, Vec<Value>>;

/// A finished case.
struct CaseResult {
    /// Encoder, method and catalogue size.
    name: [String; 3],
    rounds: Rounds,
}

/// Times all cases; writes the raw lines and a page after each.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let timing = Timing {
        threads: args.threads,
        steps: args.steps,
        device: &args.device,
    };
    let mut cases = Vec::new();
    for &items in &args.items {
        cases.extend(cases_of(&args.encoders, &args.methods, items));
        if !args.is_cuda() {
            cases.extend(modern_cases(items));
        }
    }
    let machine = Machine::detect(workspace);
    let folder = host::folder(workspace, &machine, &args.device);
    let mut torch = Torch::start(workspace, args, &cases)?;
    let mut raw = String::new();
    let mut done = Vec::new();
    for case in &cases {
        let name = [
            case.encoder.into(),
            torch::method(case).into(),
            case.items.to_string(),
        ];
        let mut rounds = Rounds::new();
        for round in 1..=args.rounds {
            eprintln!("{}, round {round} of {}", name.join(" "), args.rounds);
            let lines = measure_round(workspace, case, &timing, &mut torch)?;
            for line in lines.lines() {
                let line: Value = serde_json::from_str(line)?;
                rounds
                    .entry(column(&line).to_owned())
                    .or_default()
                    .push(line);
            }
            raw += &lines;
        }
        done.push(CaseResult { name, rounds });
        write_file(&folder.join("peers.jsonl"), &raw)?;
        write_file(&folder.join("peers.md"), page(args, &done, &machine))?;
    }
    crate::index::write(workspace)?;
    println!("{}", folder.join("peers.md").display());
    Ok(())
}

/// Lines of one round: ours, ours with the bf16 head on a CPU (a GPU has none), and PyTorch's.
fn measure_round(
    workspace: &Workspace,
    case: &Case<'_>,
    timing: &Timing<'_>,
    torch: &mut Torch<'_>,
) -> Result<String> {
    let mut lines = case.measure(workspace, timing)?;
    if timing.device == "cpu" {
        lines += &case.with_bf16_head().measure(workspace, timing)?;
    }
    lines += &torch.measure(case)?;
    Ok(lines)
}

/// Name of the column that a line belongs to.
fn column(line: &Value) -> &str {
    match line["mode"].as_str() {
        Some(mode) => mode,
        None if line["bf16_head"] == true => OURS_BF16,
        None => OURS,
    }
}

/// The column of ours that a mode is compared with: the bf16 head with bf16, where ours has one.
fn baseline(mode: &str, is_cuda: bool) -> &'static str {
    if mode == "bf16" && !is_cuda {
        OURS_BF16
    } else {
        OURS
    }
}

/// Our columns on a device.
fn our_columns(is_cuda: bool) -> &'static [&'static str] {
    if is_cuda { &[OURS] } else { &[OURS, OURS_BF16] }
}

/// Medians of a figure, then ours over each of PyTorch's modes.
fn row(case: &CaseResult, figure: &Figure, is_cuda: bool) -> Vec<String> {
    let median_of = |column: &str| {
        let read = if MODES.contains(&column) {
            figure.theirs
        } else {
            figure.ours
        };
        let mut values = Vec::new();
        for line in case.rounds.get(column).into_iter().flatten() {
            values.push(read(line).unwrap_or(f64::NAN));
        }
        median(&values)
    };
    let mut cells = case.name.to_vec();
    for column in [our_columns(is_cuda), &MODES].concat() {
        cells.push(cell(median_of(column), figure.decimals));
    }
    for mode in MODES {
        let ratio = median_of(baseline(mode, is_cuda)) / median_of(mode);
        cells.push(cell(ratio, 2));
    }
    cells
}

fn table(figure: &Figure, cases: &[CaseResult], is_cuda: bool) -> String {
    let mut header = vec!["encoder", "method", "items"];
    header.extend(our_columns(is_cuda));
    header.extend(MODES);
    let ratios = MODES.map(|mode| format!("{} / {mode}", baseline(mode, is_cuda)));
    header.extend(ratios.iter().map(String::as_str));
    let mut rows = Vec::new();
    for case in cases {
        rows.push(row(case, figure, is_cuda));
    }
    let table = markdown_table(&header, 3, &rows);
    format!("\n## {}\n\n{table}", figure.title)
}

/// Explanation of PyTorch's modes on a device.
fn modes(is_cuda: bool) -> &'static str {
    if is_cuda {
        "Eager is PyTorch's default; compiled is `torch.compile`; best adds the fused Adam and cuDNN's \
         autotuning, and is the faster of `torch.compile`'s `reduce-overhead` and one CUDA graph of the \
         whole compiled step; bf16 is that with an output layer in bfloat16, compared with ours in \
         fp32. Everything else is fp32, without the TF32 of PyTorch's convolutions. A step takes its \
         batch from the host. PyTorch's steps are queued without waiting; ours wait for their loss. A \
         ranking starts and ends at the host."
    } else {
        "Eager is PyTorch's default; compiled is `torch.compile`; best adds the fused Adam and an \
         allocator that keeps large blocks; bf16 adds an output layer in bfloat16, and is compared with \
         ours with `--bf16-head` (which ranks in fp32)."
    }
}

fn page(args: &Args, cases: &[CaseResult], machine: &Machine) -> String {
    let is_cuda = args.is_cuda();
    let mut page = format!(
        "# Comparison with PyTorch\n\n\
         Batch 256, window length 10, hidden size 64, {} threads, device {}; medians of {} rounds of {} \
         steps, ours and PyTorch's in turn. `modern` is cross-entropy under the recipe modern: cosines \
         with the item embedding, own items by lag, item dropout. {} [Raw lines](peers.jsonl).\n\n{}",
        args.threads,
        args.device,
        args.rounds,
        args.steps,
        modes(is_cuda),
        host::facts(machine),
    );
    for figure in &figures(is_cuda) {
        page += &table(figure, cases, is_cuda);
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(columns: &[(&str, &[Value])]) -> CaseResult {
        let mut rounds = Rounds::new();
        for (column, lines) in columns {
            rounds.insert((*column).to_owned(), lines.to_vec());
        }
        CaseResult {
            name: ["gru", "prl", "100"].map(str::to_owned),
            rounds,
        }
    }

    #[test]
    fn row_compares_medians() {
        let ms = |ms: f64| json!({ "step_ms_median": ms });
        let case = case(&[
            (OURS, &[ms(9.0), ms(50.0), ms(10.0)]),
            (OURS_BF16, &[ms(6.0)]),
            ("eager", &[ms(40.0), ms(41.0), ms(39.0)]),
            ("best", &[ms(20.0)]),
            ("bf16", &[ms(8.0)]),
        ]);
        let expected = [
            "gru", "prl", "100", "10.0", "6.0", "40.0", "-", "20.0", "8.0", "0.25", "-", "0.50",
            "0.75",
        ];
        assert_eq!(row(&case, &figures(false)[0], false), expected);
        let without_bf16_head = [
            "gru", "prl", "100", "10.000", "40.000", "-", "20.000", "8.000", "0.25", "-", "0.50",
            "1.25",
        ];
        assert_eq!(row(&case, &figures(true)[0], true), without_bf16_head);
    }

    #[test]
    fn speed_and_memory_are_converted_to_common_units() {
        let ours = json!({ "batch": 256, "eval_events_per_s": 25_600.0, "peak_rss_mb": 100.0 });
        let theirs = json!({
            "rank_ms_median": 40.0, "peak_device_mb": 800.0, "peak_rss_mb": 900.0, "base_rss_mb": 500.0,
        });
        let case = case(&[(OURS, &[ours]), ("eager", &[theirs])]);
        let cells = |figure: usize, is_cuda| row(&case, &figures(is_cuda)[figure], is_cuda);
        assert_eq!(cells(1, false)[3..6], ["10.0", "-", "40.0"]);
        assert_eq!(cells(2, false)[9], "0.25");
        // Memory of the host is not compared with the GPU's.
        assert_eq!(cells(2, true)[3..5], ["-", "800"]);
    }

    #[test]
    fn lines_belong_to_a_mode_or_to_ours() {
        assert_eq!(column(&json!({"mode": "eager"})), "eager");
        assert_eq!(column(&json!({"bf16_head": true})), OURS_BF16);
        assert_eq!(column(&json!({"bf16_head": false})), OURS);
    }
}
