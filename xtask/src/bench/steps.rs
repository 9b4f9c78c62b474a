//! `cargo xtask bench`: milliseconds of a training step and ranked events a second, a process a case.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use super::results;
use crate::programs;
use crate::timed;
use prl_experiments::Machine;
use prl_experiments::write_file;
use prl_report::markdown_table;

/// Flags of `bench`.
#[derive(clap::Args)]
pub struct StepsArgs {
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Steps of each case that are timed
    #[arg(long, default_value_t = 30)]
    steps: usize,
    /// Only these encoders
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "gru,caser,nextitnet,sasrec"
    )]
    encoders: Vec<String>,
    /// Only these methods
    #[arg(long, value_delimiter = ',', default_value = "normal,prl,sqn,sac")]
    methods: Vec<String>,
    /// Sizes of the catalogue
    #[arg(long, value_delimiter = ',', default_value = "26702,70852")]
    items: Vec<usize>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Where the figures go [default: results/bench]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A case: what is trained, and at what size.
#[derive(Clone)]
pub struct Case<'a> {
    pub encoder: &'a str,
    pub method: &'a str,
    pub items: usize,
    pub window: usize,
    pub dim: usize,
    /// What the output layer multiplies is rounded to bfloat16.
    pub bf16_head: bool,
}

impl Default for Case<'_> {
    /// The middle of the bench: GRU, cross-entropy, RC15's catalogue, the protocol's window and width.
    fn default() -> Self {
        Self {
            encoder: "gru",
            method: "normal",
            items: 26_702,
            window: 10,
            dim: 64,
            bf16_head: false,
        }
    }
}

impl Case<'_> {
    /// Times it in a process of its own: the bench's line, one JSON object.
    pub fn measure(&self, threads: usize, steps: usize, device: &str) -> Result<String> {
        let mut bench = Command::new(programs::step_speed(device)?);
        bench.args([
            "--json",
            "--encoders",
            self.encoder,
            "--methods",
            self.method,
            "--device",
            device,
        ]);
        let numbers = [
            ("--items", self.items),
            ("--window", self.window),
            ("--dim", self.dim),
        ];
        for (flag, n) in numbers
            .into_iter()
            .chain([("--threads", threads), ("--steps", steps)])
        {
            bench.args([flag, &n.to_string()]);
        }
        bench.args(self.bf16_head.then_some("--bf16-head"));
        // candle's product, which the shares of peak are measured by, asks the environment for its threads.
        bench.env("RAYON_NUM_THREADS", threads.to_string());
        Ok(timed::run(&mut bench)?.output)
    }
}

/// Times everything, keeps the raw lines and writes a page.
pub fn run(args: StepsArgs) -> Result<()> {
    let mut raw = String::new();
    for &items in &args.items {
        for (encoder, method) in args
            .encoders
            .iter()
            .flat_map(|e| args.methods.iter().map(move |m| (e, m)))
        {
            eprintln!("{encoder} {method}, {items} items");
            let case = Case {
                encoder,
                method,
                items,
                ..Case::default()
            };
            raw += &case.measure(args.threads, args.steps, &args.device)?;
            if is_one_head(method) && args.device == "cpu" {
                raw += &Case {
                    bf16_head: true,
                    ..case
                }
                .measure(args.threads, args.steps, &args.device)?;
            }
        }
    }
    let lines: Vec<Value> = raw
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let out = args.out.clone().unwrap_or_else(results);
    let name = if args.device.starts_with("cuda") {
        "cuda"
    } else {
        "steps"
    };
    write_file(&out.join(format!("{name}.jsonl")), &raw)?;
    let page = page(&args, &lines);
    write_file(
        &out.join(if name == "cuda" {
            "cuda.md"
        } else {
            "README.md"
        }),
        &page,
    )?;
    println!("{page}");
    Ok(())
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or(f64::NAN)
}

fn page(args: &StepsArgs, lines: &[Value]) -> String {
    let peak = lines
        .iter()
        .map(|line| number(line, "product_gflops"))
        .fold(f64::NAN, f64::max);
    let is_cuda = args.device.starts_with("cuda");
    let about = if is_cuda {
        "The parts are of other steps, which wait for the GPU after each part. Host MB is the most memory that the process held, \
         the GPU's left out."
    } else {
        "MB is the most memory that the process held. With a bf16 head (`--bf16-head`) what the output layer multiplies in training is rounded to bfloat16; its share is of \
         the same fp32 product."
    };
    format!(
        "# Bench\n\nBatch 256, window 10, width 64, fp32, {} threads, device {}; median and least of {} steps, the parts are \
         means; each case in a process of its own. A plain product of two square matrices reached {peak:.0} \
         GFLOP/s in this run: the shares are of that, the head's counted on three products, ranking's on \
         one. x normal is against cross-entropy alone. {about}\n\n{}\n{}",
        args.threads,
        args.device,
        args.steps,
        Machine::detect(crate::workspace()).to_markdown(),
        table(lines, peak, is_cuda)
    )
}

/// A GPU's step takes a millisecond or so: it is shown to the microsecond.
fn table(lines: &[Value], peak: f64, is_cuda: bool) -> String {
    let digits = if is_cuda { 3 } else { 1 };
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
    ];
    let case =
        |line: &Value, method: &Value| format!("{} {method} {}", line["encoder"], line["items"]);
    let in_full = lines.iter().filter(|line| line["bf16_head"] != true);
    let medians: BTreeMap<String, f64> = in_full
        .map(|line| (case(line, &line["method"]), number(line, "step_ms_median")))
        .collect();
    let row = |line: &Value| {
        let text = |key: &str| {
            line[key]
                .as_str()
                .map_or_else(|| line[key].to_string(), str::to_owned)
        };
        let cell = |key: &str, digits: usize| shown(number(line, key), digits);
        let normal = medians
            .get(&case(line, &Value::from("normal")))
            .copied()
            .unwrap_or(f64::NAN);
        let head = if is_one_head(&text("method")) {
            number(line, "head_gflops") / peak
        } else {
            f64::NAN
        };
        let method = if line["bf16_head"] == true {
            text("method") + ", bf16 head"
        } else {
            text("method")
        };
        let mut cells = vec![text("encoder"), method, text("items")];
        cells.extend([cell("step_ms_median", digits), cell("step_ms_min", digits)]);
        cells.push(shown(number(line, "step_ms_median") / normal, 2));
        cells.extend(
            ["encoder_ms", "head_ms", "backward_ms", "adam_ms"].map(|key| cell(key, digits)),
        );
        cells.extend([
            shown(head, 2),
            cell("eval_events_per_s", 0),
            shown(number(line, "eval_gflops") / peak, 2),
        ]);
        cells.push(cell("peak_rss_mb", 0));
        cells
    };
    markdown_table(&header, 2, &lines.iter().map(row).collect::<Vec<_>>())
}

/// Whether the output layer's step is the three products alone: SQN's and SAC's is more.
fn is_one_head(method: &str) -> bool {
    !["sqn", "sac"].contains(&method)
}

/// A number to some digits; a dash for none.
pub fn shown(x: f64, digits: usize) -> String {
    if x.is_nan() {
        "-".into()
    } else {
        format!("{x:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shares_and_ratios_are_of_the_same_size() {
        let line = |method: &str, items: u64, ms: f64| {
            json!({"encoder": "gru", "method": method, "items": items, "step_ms_median": ms, "head_gflops": 150.0,
                   "eval_gflops": 100.0})
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
            "| gru | normal | 10 | 4.0 | - | 1.00 | - | - | - | - | 0.75 | - | 0.50 | - |"
        );
        assert_eq!(
            rows[1],
            "| gru | sqn | 10 | 6.0 | - | 1.50 | - | - | - | - | - | - | 0.50 | - |"
        );
        assert!(
            rows[2].starts_with("| gru | sqn | 20 | 9.0 | - | - |"),
            "{}",
            rows[2]
        );
        assert!(table(&lines, 200.0, true).contains("| gru | normal | 10 | 4.000 | - | 1.00 |"));
    }
}
