//! `prl-bench`: milliseconds per training step and ranked events per second. Each case runs in a
//! process of its own, so that its peak memory is its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use prl_bench::jsonl::{self, cell, number, text};
use prl_bench::measure;
use prl_experiments::{Machine, Workspace, write_file};
use prl_report::markdown_table;
use serde_json::Value;

use crate::compare::{Committed, RANKED, STEP};
use crate::{host, index, matrix_cost, programs, roofline};

/// Flags of `prl-bench` without a subcommand.
#[derive(clap::Args)]
pub struct StepsArgs {
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Timed steps per case
    #[arg(long, default_value_t = 30)]
    steps: usize,
    /// Encoders
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "gru,caser,nextitnet,sasrec"
    )]
    encoders: Vec<String>,
    /// Methods
    #[arg(long, value_delimiter = ',', default_value = "normal,prl,sqn,sac")]
    methods: Vec<String>,
    /// Catalogue sizes
    #[arg(long, value_delimiter = ',', default_value = "26702,70852")]
    items: Vec<usize>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Output directory [default: the machine's folder in results/bench]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fail if a line is slower than on the last committed page of this machine
    #[arg(long)]
    check: bool,
}

/// Keys that identify a line of the page.
const KEYS: [&str; 6] = [
    "encoder",
    "method",
    "items",
    "recipe",
    "bf16_head",
    "without_matrix_engine",
];

/// Model and size of one measurement.
#[derive(Clone)]
pub struct Case<'a> {
    pub encoder: &'a str,
    pub method: &'a str,
    pub items: usize,
    /// Window length.
    pub window: usize,
    /// Hidden size.
    pub dim: usize,
    /// Whether the operands of the output layer's products are rounded to bfloat16.
    pub bf16_head: bool,
    /// `paper` or `modern`.
    pub recipe: &'a str,
    /// Whether the CPU's matrix engine is left out.
    pub without_matrix_engine: bool,
}

impl Default for Case<'_> {
    /// GRU under cross-entropy at RC15's catalogue size and the protocol's window length and hidden
    /// size.
    fn default() -> Self {
        Self {
            encoder: "gru",
            method: "normal",
            items: 26_702,
            window: 10,
            dim: 64,
            bf16_head: false,
            recipe: "paper",
            without_matrix_engine: false,
        }
    }
}

/// The cases of all encoders and methods at one catalogue size.
pub fn cases_of<'a>(encoders: &'a [String], methods: &'a [String], items: usize) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for encoder in encoders {
        for method in methods {
            cases.push(Case {
                encoder,
                method,
                items,
                ..Case::default()
            });
        }
    }
    cases
}

/// Threads, timed steps and device of a measurement.
pub struct Timing<'a> {
    pub threads: usize,
    pub steps: usize,
    pub device: &'a str,
}

impl Case<'_> {
    /// This case with the operands of the output layer in bfloat16.
    pub fn with_bf16_head(&self) -> Self {
        Self {
            bf16_head: true,
            ..self.clone()
        }
    }

    /// This case without the CPU's matrix engine.
    fn without_matrix_engine(&self) -> Self {
        Self {
            without_matrix_engine: true,
            ..self.clone()
        }
    }

    /// Times the case in a process of its own; returns its output, one JSON object on a line.
    ///
    /// # Errors
    /// If `step_speed` does not build or fails.
    pub fn measure(&self, workspace: &Workspace, timing: &Timing<'_>) -> Result<String> {
        let mut bench = Command::new(programs::step_speed(workspace, timing.device)?);
        bench.arg("--json");
        bench.args(["--encoders", self.encoder, "--methods", self.method]);
        bench.args(["--device", timing.device, "--recipe", self.recipe]);
        for (flag, n) in [
            ("--items", self.items),
            ("--window", self.window),
            ("--dim", self.dim),
            ("--threads", timing.threads),
            ("--steps", timing.steps),
        ] {
            bench.args([flag, &n.to_string()]);
        }
        if self.bf16_head {
            bench.arg("--bf16-head");
        }
        if self.without_matrix_engine {
            bench.env("PRL_AMX", "0");
        }
        // candle's matrix product, the reference of the shares of peak, takes its number of threads
        // from the environment.
        bench.env("RAYON_NUM_THREADS", timing.threads.to_string());
        Ok(measure::run(&mut bench)?.output)
    }
}

/// Times all cases; writes the raw lines and a page, with a verdict for each line that the last
/// committed page of this machine has too.
pub fn run(workspace: &Workspace, args: &StepsArgs) -> Result<()> {
    let timing = Timing {
        threads: args.threads,
        steps: args.steps,
        device: &args.device,
    };
    let mut raw = String::new();
    for &items in &args.items {
        let mut cases = cases_of(&args.encoders, &args.methods, items);
        if args.device == "cpu" {
            cases.extend(modern_cases(items));
        }
        for case in cases {
            eprintln!(
                "{} {}, {}, {items} items",
                case.encoder, case.method, case.recipe
            );
            raw += &case.measure(workspace, &timing)?;
            if has_single_head(case.method) && args.device == "cpu" {
                let case = case.with_bf16_head();
                let line = case.measure(workspace, &timing)?;
                // In turn, so that both meet the same state of the machine.
                if has_matrix_engine(&line)? && Some(&items) == args.items.iter().max() {
                    raw += &case.without_matrix_engine().measure(workspace, &timing)?;
                }
                raw += &line;
            }
        }
    }
    let lines = jsonl::parse(&raw)?;
    let machine = Machine::detect(workspace);
    let out = match &args.out {
        Some(out) => out.clone(),
        None => host::folder(workspace, &machine, &args.device),
    };
    let file = out.join("steps.jsonl");
    let (mut page, mut slower) = (page(args, &lines, &machine), 0);
    if let Some(mut committed) = Committed::of(workspace, &file) {
        for line in &mut committed.lines {
            // Lines of older versions do not name the recipe.
            if line["recipe"].is_null() {
                line["recipe"] = "paper".into();
            }
        }
        let (section, n) = committed.section(&KEYS, &[STEP, RANKED], &lines);
        page += &section;
        slower = n;
    }
    write_file(&file, &raw)?;
    write_file(&out.join("steps.md"), &page)?;
    index::write(workspace)?;
    println!("{page}");
    ensure!(
        !args.check || slower == 0,
        "{slower} lines are slower than on the last committed page"
    );
    Ok(())
}

/// Whether the processor of a measurement has a matrix engine.
fn has_matrix_engine(line: &str) -> Result<bool> {
    Ok(jsonl::parse(line)?
        .iter()
        .any(|line| line["bf16_gflops"].is_number()))
}

/// Cases of the recipe modern.
pub fn modern_cases(items: usize) -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for encoder in ["core", "gru"] {
        cases.push(Case {
            encoder,
            items,
            recipe: "modern",
            ..Case::default()
        });
    }
    cases
}

fn page(args: &StepsArgs, lines: &[Value], machine: &Machine) -> String {
    let mut peak = f64::NAN;
    for line in lines {
        peak = peak.max(number(&line["product_gflops"]));
    }
    let is_cuda = args.device.starts_with("cuda");
    let columns = if is_cuda {
        "The parts are of other steps, which wait for the GPU after each part. Host MB is the peak \
         memory of the process without the GPU's."
    } else {
        "MB is the peak memory of the process. With a bf16 head (`--bf16-head`) the operands of the \
         output layer's products are rounded to bfloat16 in training; its share is of the same fp32 \
         product."
    };
    let (without, with): (Vec<Value>, Vec<Value>) = lines
        .iter()
        .cloned()
        .partition(|line| line["without_matrix_engine"] == true);
    format!(
        "# Training steps and ranking\n\n\
         Batch 256, window length 10, hidden size 64, fp32, {} threads, device {}; median and minimum \
         of {} steps, parts as means; each case in a process of its own. A plain product of two square \
         matrices reached {peak:.0} GFLOP/s in this run; the shares are of that rate, the head's with \
         three products counted, ranking's with one. x normal is relative to cross-entropy alone. \
         {columns} {}\n\n{}\n{}{}{}{}",
        args.threads,
        args.device,
        args.steps,
        energy_note(lines),
        host::facts(machine),
        table(&with, peak, is_cuda),
        matrix_engine_section(&with, &without),
        roofline::section(&with),
        matrix_cost::section(&with),
    )
}

/// Steps and ranking with the CPU's matrix engine beside those without it; empty without an engine.
fn matrix_engine_section(with: &[Value], without: &[Value]) -> String {
    let mut rows = Vec::new();
    for line in without {
        let is_same = |other: &&Value| KEYS[..5].iter().all(|key| other[key] == line[key]);
        let Some(engine) = with.iter().find(is_same) else {
            continue;
        };
        let mut method = text(&line["method"]);
        if line["recipe"] == "modern" {
            method += ", modern";
        }
        let mut cells = vec![text(&line["encoder"]), method, text(&line["items"])];
        for (key, decimals) in [("step_ms_median", 1), ("eval_events_per_s", 0)] {
            let [engine, plain] = [engine, line].map(|line| number(&line[key]));
            cells.extend([cell(engine, decimals), cell(plain, decimals)]);
            cells.push(cell(engine / plain, 2));
        }
        rows.push(cells);
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "encoder",
        "method",
        "items",
        "ms a step",
        "without",
        "quotient",
        "events/s ranked",
        "without",
        "quotient",
    ];
    format!(
        "\n## The matrix engine\n\n\
         Steps with a bf16 head, and ranking, with the CPU's matrix engine and without it \
         (`PRL_AMX=0`), in turn. Without it, ranking is in fp32 alone.\n\n{}",
        markdown_table(&header, 2, &rows)
    )
}

/// Sentence on the energy counter of the machine.
fn energy_note(lines: &[Value]) -> &'static str {
    if lines.iter().any(|line| line["step_mj"].is_number()) {
        "mJ is the energy of the processor package in a step, by its own counter."
    } else {
        "This machine has no energy counter that can be read."
    }
}

fn table(lines: &[Value], peak: f64, is_cuda: bool) -> String {
    let header = [
        "encoder",
        "method",
        "items",
        "ms a step",
        "least",
        "x normal",
        "encoder",
        "head",
        "backward",
        "adam",
        "head, share of peak",
        "events/s ranked",
        "ranking, share of peak",
        if is_cuda { "host MB" } else { "MB" },
        "mJ a step",
    ];
    // Median step of cross-entropy in fp32 by encoder and catalogue size.
    let mut normal: BTreeMap<[String; 3], f64> = BTreeMap::new();
    for line in lines {
        if line["bf16_head"] != true && line["method"] == "normal" {
            let key = size_of(line);
            normal.insert(key, number(&line["step_ms_median"]));
        }
    }
    let mut rows = Vec::new();
    for line in lines {
        let key = size_of(line);
        let normal = normal.get(&key).copied().unwrap_or(f64::NAN);
        rows.push(row(line, normal, peak, is_cuda));
    }
    markdown_table(&header, 2, &rows)
}

/// Encoder, catalogue size and recipe of a line.
fn size_of(line: &Value) -> [String; 3] {
    ["encoder", "items", "recipe"].map(|key| text(&line[key]))
}

/// Cells of a line; `normal` is the median step of the same size under cross-entropy.
fn row(line: &Value, normal: f64, peak: f64, is_cuda: bool) -> Vec<String> {
    // A step on a GPU takes about a millisecond, so it is printed to the microsecond.
    let decimals = if is_cuda { 3 } else { 1 };
    let mut method = text(&line["method"]);
    // The recipe modern has no matrix of the output layer whose operations would be counted.
    let share = |key: &str| match line["recipe"].as_str() {
        Some("modern") => f64::NAN,
        _ => number(&line[key]) / peak,
    };
    let head = if has_single_head(&method) {
        share("head_gflops")
    } else {
        f64::NAN
    };
    if line["recipe"] == "modern" {
        method += ", modern";
    }
    if line["bf16_head"] == true {
        method += ", bf16 head";
    }
    let mut cells = vec![text(&line["encoder"]), method, text(&line["items"])];
    for key in ["step_ms_median", "step_ms_min"] {
        cells.push(cell(number(&line[key]), decimals));
    }
    cells.push(cell(number(&line["step_ms_median"]) / normal, 2));
    for key in ["encoder_ms", "head_ms", "backward_ms", "adam_ms"] {
        cells.push(cell(number(&line[key]), decimals));
    }
    cells.push(cell(head, 2));
    cells.push(cell(number(&line["eval_events_per_s"]), 0));
    cells.push(cell(share("eval_gflops"), 2));
    cells.push(cell(number(&line["peak_rss_mb"]), 0));
    cells.push(cell(number(&line["step_mj"]), 0));
    cells
}

/// Whether the output layer's step is the three products alone; SQN and SAC have a second head.
fn has_single_head(method: &str) -> bool {
    !["sqn", "sac"].contains(&method)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ratios_are_within_one_catalogue_size() {
        let line = |method: &str, items: u64, ms: f64| {
            json!({"encoder": "gru", "method": method, "items": items, "step_ms_median": ms,
                   "head_gflops": 150.0, "eval_gflops": 100.0})
        };
        let lines = [
            line("normal", 10, 4.0),
            line("sqn", 10, 6.0),
            line("sqn", 20, 9.0),
        ];
        let cpu = table(&lines, 200.0, false);
        let rows: Vec<&str> = cpu.lines().skip(2).collect();
        assert_eq!(
            rows[0],
            "| gru | normal | 10 | 4.0 | - | 1.00 | - | - | - | - | 0.75 | - | 0.50 | - | - |"
        );
        assert_eq!(
            rows[1],
            "| gru | sqn | 10 | 6.0 | - | 1.50 | - | - | - | - | - | - | 0.50 | - | - |"
        );
        assert!(
            rows[2].starts_with("| gru | sqn | 20 | 9.0 | - | - |"),
            "{}",
            rows[2]
        );
        assert!(table(&lines, 200.0, true).contains("| gru | normal | 10 | 4.000 | - | 1.00 |"));
    }
}
