//! `prl-bench growth`: time and memory against the size of the log, the catalogue, the window and
//! the hidden size, with the bottleneck of each.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plotters::style::RGBColor;
use prl_bench::measure::Memory;
use prl_bench::{jsonl, measure};
use prl_charts::line_chart::{self, Chart, Line};
use prl_charts::svg;
use prl_experiments::matrix::ENCODERS;
use prl_experiments::{Machine, Workspace, programs, write_file};
use prl_report::markdown_table;
use serde_json::{Value, json};

use crate::host;
use crate::prepare::source_rows;
use crate::programs::batch_speed;
use crate::steps::{Case, Timing};

/// Flags of `prl-bench growth`.
#[derive(clap::Args)]
pub struct Args {
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Timed steps per case
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Raw events of the prepared logs, in RC15's format
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100000,1000000,10000000,100000000"
    )]
    events: Vec<u64>,
    /// Events of the prepared datasets of which batches are cut and which are inspected; an event
    /// takes 16 bytes on disk
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000000,10000000,100000000"
    )]
    prepared_events: Vec<u64>,
}

/// Raw events per session that passes RC15's filter, approximately.
const EVENTS_PER_SESSION: f64 = 6.17;
/// Sessions that the protocol samples from RC15.
const SAMPLE: u64 = 200_000;
const ITEMS: [usize; 5] = [10_000, 31_600, 100_000, 316_000, 1_000_000];
const WINDOWS: [usize; 4] = [5, 10, 20, 50];
const HIDDEN_SIZES: [usize; 4] = [32, 64, 128, 256];
const COLOURS: [RGBColor; 4] = [
    RGBColor(47, 129, 247),
    RGBColor(214, 118, 26),
    RGBColor(152, 94, 214),
    RGBColor(28, 150, 105),
];

/// Measurements against one size: a table and a chart.
struct Growth {
    title: &'static str,
    /// Name of the size: label of the horizontal axis.
    x: &'static str,
    /// Bottleneck at large sizes, in a sentence.
    bottleneck: &'static str,
    /// Title and JSON key of each column after `x`. The first is drawn.
    columns: &'static [(&'static str, &'static str)],
    lines: Vec<GrowthLine>,
}

/// One line of a chart.
struct GrowthLine {
    name: String,
    points: Vec<Point>,
}

/// A size and the measurement there.
struct Point {
    x: u64,
    measured: Value,
}

/// Batches that are timed on a prepared dataset, for each method.
const BATCHES: u64 = 2_000;

/// Columns of a training step.
const STEP_COLUMNS: &[(&str, &str)] = &[
    ("ms a step", "step_ms_median"),
    ("events/s ranked", "eval_events_per_s"),
    ("MB", "peak_rss_mb"),
];

/// Measures all growths; writes the raw lines, the charts and a page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let bench = Bench {
        workspace,
        timing: Timing {
            threads: args.threads,
            steps: args.steps,
            device: "cpu",
        },
    };
    let growths = [
        bench.events(&args.events)?,
        bench.prepared_events(&args.prepared_events)?,
        bench.items()?,
        bench.windows()?,
        bench.hidden_sizes()?,
    ];
    let machine = Machine::detect(workspace);
    let folder = host::folder(workspace, &machine, "cpu");
    let mut raw = Vec::new();
    let mut page = format!(
        "# Growth\n\n\
         Batch 256, fp32 unless a line says otherwise, {} threads; medians of {} steps, each case in a \
         process of its own, whose peak memory is MB. The logs are SYNTHETIC, in RC15's format. Both \
         axes of a chart are logarithmic. [Raw lines](growth.jsonl).\n\n{}",
        args.threads,
        args.steps,
        host::facts(&machine)
    );
    for growth in &growths {
        for line in &growth.lines {
            raw.extend(line.points.iter().map(|point| point.measured.clone()));
        }
        let file = format!("growth-{}.svg", growth.x.replace(' ', "-"));
        let chart = svg::standalone(&line_chart::svg(&[growth.chart()])?);
        write_file(&folder.join(&file), chart)?;
        page += &format!(
            "\n## {}\n\n{}\n\n![]({file})\n\n{}",
            growth.title,
            growth.bottleneck,
            growth.table()
        );
    }
    write_file(&folder.join("growth.jsonl"), jsonl::to_text(&raw))?;
    write_file(&folder.join("growth.md"), &page)?;
    crate::index::write(workspace)?;
    println!("{page}");
    Ok(())
}

struct Bench<'a> {
    workspace: &'a Workspace,
    timing: Timing<'a>,
}

impl Bench<'_> {
    /// Preparation of logs with these numbers of raw events.
    fn events(&self, events: &[u64]) -> Result<Growth> {
        let prl = programs::prl(self.workspace, "cpu")?;
        let mut points = Vec::new();
        for &events in events {
            eprintln!("preparing {events} events");
            let measured = self.prepare(&prl, events)?;
            let x = measured["rows"].as_u64().unwrap_or_default();
            points.push(Point { x, measured });
        }
        Ok(Growth {
            title: "Events: preparing a log",
            x: "events",
            bottleneck: "Parsing the text dominates. It is streamed, and the clicks are spilled to \
                         disk, so memory holds one counter per session and the sample.",
            columns: &[
                ("seconds", "seconds"),
                ("seconds a million", "per_million"),
                ("MB", "peak_mb"),
            ],
            lines: vec![GrowthLine {
                name: "prl prepare".into(),
                points,
            }],
        })
    }

    /// Synthesises and prepares a log of about this many raw events.
    fn prepare(&self, prl: &Path, events: u64) -> Result<Value> {
        let dir = self.workspace.root.join("target/bench/growth");
        if dir.exists() {
            fs::remove_dir_all(&dir)
                .with_context(|| format!("failed to remove {}", dir.display()))?;
        }
        let raw = dir.join("raw");
        let sessions = (events as f64 / EVENTS_PER_SESSION) as u64;
        let mut synth = Command::new(prl);
        synth.args(["synth", "--like", "rc15"]);
        synth.args(["--sessions", &sessions.to_string(), "--out"]);
        measure::run(synth.arg(&raw))?;
        let mut prepare = Command::new(prl);
        prepare.args(["prepare", "--json", "--source", "rc15"]);
        prepare.args(["--sample", &sessions.min(SAMPLE).to_string()]);
        prepare
            .arg("--clicks")
            .arg(raw.join("yoochoose-clicks.dat"));
        prepare.arg("--buys").arg(raw.join("yoochoose-buys.dat"));
        prepare.arg("--out").arg(dir.join("prepared"));
        let measured = measure::run(&mut prepare)?;
        let rows = source_rows(&serde_json::from_str(&measured.output)?);
        fs::remove_dir_all(&dir)?;
        Ok(json!({
            "rows": rows,
            "seconds": measured.seconds,
            "per_million": 1e6 * measured.seconds / rows as f64,
            "peak_mb": measured.peak_mb,
        }))
    }

    /// Batches of prepared datasets with these numbers of events, and their inspection.
    fn prepared_events(&self, events: &[u64]) -> Result<Growth> {
        let prl = programs::prl(self.workspace, "cpu")?;
        let batch_speed = batch_speed(self.workspace)?;
        let dir = self.workspace.root.join("target/bench/growth-prepared");
        let mut lines: Vec<GrowthLine> = Vec::new();
        for &events in events {
            eprintln!("batches of {events} events");
            let mut cut = Command::new(&batch_speed);
            cut.args(["--events", &events.to_string()]);
            cut.args(["--batches", &BATCHES.to_string(), "--data"]);
            let cut = measure::run(cut.arg(&dir))?;
            let inspect = measure::run(Command::new(&prl).arg("inspect").arg(&dir))?;
            let start = start_up(&prl, &dir)?;
            fs::remove_dir_all(&dir)?;
            for mut measured in jsonl::parse(&cut.output)? {
                measured["inspect_s"] = inspect.seconds.into();
                for (key, value) in start.as_object().into_iter().flatten() {
                    measured[key] = value.clone();
                }
                let name = measured["method"].as_str().unwrap_or_default().to_owned();
                let x = measured["events"].as_u64().unwrap_or_default();
                let point = Point { x, measured };
                match lines.iter_mut().find(|line| line.name == name) {
                    Some(line) => line.points.push(point),
                    None => lines.push(GrowthLine {
                        name,
                        points: vec![point],
                    }),
                }
            }
        }
        Ok(Growth {
            title: "Prepared events: a batch of 256 rows, the start of a training, and prl inspect",
            x: "prepared events",
            bottleneck: "A batch reads a few cache lines a row, wherever they are: it does not depend \
                         on the log but through the processor's caches. A training opens the mapped \
                         file with a checksum and some sequential passes, in MB of the file a second; \
                         its memory without the mapped file holds the model and about .2 bytes an \
                         event.",
            columns: &[
                ("ms a batch", "batch_ms"),
                ("s to the first step", "first_step_s"),
                ("MB/s", "start_mb_per_s"),
                ("MB without the file", "anonymous_mb"),
                ("s of prl inspect", "inspect_s"),
            ],
            lines,
        })
    }

    fn items(&self) -> Result<Growth> {
        let mut cases = Vec::new();
        for items in ITEMS {
            let case = Case {
                items,
                ..Case::default()
            };
            cases.push((items, case));
        }
        Ok(Growth {
            title: "Items: a training step and ranking",
            x: "items",
            bottleneck: "The output layer dominates: three products of batch x hidden size x items, \
                         and Adam's pass over the weights and their moments, which exceed the cache \
                         from about ten thousand items on. Memory is three copies of embedding and \
                         head, and at most 80 MiB of exponentials.",
            columns: STEP_COLUMNS,
            lines: self.with_both_heads(&cases)?,
        })
    }

    fn windows(&self) -> Result<Growth> {
        let mut lines = Vec::new();
        for encoder in &ENCODERS {
            let mut cases = Vec::new();
            for window in WINDOWS {
                let case = Case {
                    encoder: encoder.name,
                    window,
                    ..Case::default()
                };
                cases.push((window, case));
            }
            lines.push(self.measure(encoder.name, &cases)?);
        }
        Ok(Growth {
            title: "Window length: a training step of each encoder",
            x: "window",
            bottleneck: "The output layer does not depend on the window. GRU's time steps are \
                         sequential, NextItNet's and SASRec's positions are computed in one product, \
                         Caser's filters are as long as the window, and SASRec's attention grows with \
                         its square, which is still small at 50.",
            columns: STEP_COLUMNS,
            lines,
        })
    }

    fn hidden_sizes(&self) -> Result<Growth> {
        let mut cases = Vec::new();
        for dim in HIDDEN_SIZES {
            let case = Case {
                dim,
                ..Case::default()
            };
            cases.push((dim, case));
        }
        Ok(Growth {
            title: "Hidden size: a training step",
            x: "width",
            bottleneck: "The output layer's products grow with the hidden size, the encoder's with \
                         its square; the exponentials of the softmax do not grow, so a larger hidden \
                         size is closer to the machine's peak.",
            columns: STEP_COLUMNS,
            lines: self.with_both_heads(&cases)?,
        })
    }

    /// The cases in fp32, and with the output layer's operands in bfloat16.
    fn with_both_heads(&self, cases: &[(usize, Case<'_>)]) -> Result<Vec<GrowthLine>> {
        let mut bf16 = Vec::new();
        for (x, case) in cases {
            bf16.push((*x, case.with_bf16_head()));
        }
        Ok(vec![
            self.measure("GRU normal", cases)?,
            self.measure("GRU normal, bf16 head", &bf16)?,
        ])
    }

    fn measure(&self, name: &str, cases: &[(usize, Case<'_>)]) -> Result<GrowthLine> {
        let mut points = Vec::new();
        for (x, case) in cases {
            eprintln!("{name}: {x}");
            let output = case.measure(self.workspace, &self.timing)?;
            points.push(Point {
                x: *x as u64,
                measured: serde_json::from_str(&output)?,
            });
        }
        Ok(GrowthLine {
            name: name.to_owned(),
            points,
        })
    }
}

/// Starts a training of some steps: seconds to its first step, the events file's size over them,
/// and the peak memory without mapped files.
fn start_up(prl: &Path, data: &Path) -> Result<Value> {
    let out = data.with_extension("run");
    let mut train = Command::new(prl);
    train.args(["train", "--recipe", "paper", "--encoder", "gru"]);
    train.args(["--method", "prl", "--no-validation", "--max-steps", "20"]);
    train.arg("--data").arg(data).arg("--out").arg(&out);
    let mut child = train
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("failed to run prl")?;
    let mut peak = f64::NAN;
    let status = loop {
        if let Some(mb) = measure::memory_mb(&child, Memory::Anonymous) {
            peak = peak.max(mb);
        }
        thread::sleep(Duration::from_millis(2));
        if let Some(status) = child.try_wait()? {
            break status;
        }
    };
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut text)?;
    }
    ensure!(status.success(), "prl train failed: {text}");
    fs::remove_dir_all(&out)?;
    let seconds = text
        .lines()
        .find_map(|line| line.strip_prefix("first step after "))
        .and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok())
        .context("prl train has not told its first step")?;
    let bytes = fs::metadata(data.join("events.safetensors"))?.len();
    Ok(json!({
        "first_step_s": seconds,
        "start_mb_per_s": bytes as f64 / 1e6 / seconds,
        "anonymous_mb": peak,
    }))
}

impl Growth {
    fn chart(&self) -> Chart {
        let (y, key) = self.columns[0];
        let mut lines = Vec::new();
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let mut points = Vec::new();
            for point in &line.points {
                // The chart draws a value with its interval; a median has none here.
                if let Some(y) = point.measured[key].as_f64() {
                    points.push([point.x as f64, y, y, y]);
                }
            }
            lines.push(Line {
                name: line.name.clone(),
                colour,
                points,
            });
        }
        Chart {
            title: self.title.into(),
            x: self.x.into(),
            y: y.into(),
            is_logarithmic: true,
            lines,
        }
    }

    fn table(&self) -> String {
        let mut header = vec!["", self.x];
        header.extend(self.columns.iter().map(|(title, _)| *title));
        let mut rows = Vec::new();
        for line in &self.lines {
            for point in &line.points {
                let mut cells = vec![line.name.clone(), point.x.to_string()];
                for (_, key) in self.columns {
                    let x = jsonl::number(&point.measured[key]);
                    cells.push(jsonl::cell(x, if x < 100.0 { 2 } else { 0 }));
                }
                rows.push(cells);
            }
        }
        markdown_table(&header, 1, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_has_table_and_chart() {
        let point = |x: u64, ms: f64| Point {
            x,
            measured: json!({ "step_ms_median": ms, "peak_rss_mb": 123.4 }),
        };
        let growth = Growth {
            title: "Items",
            x: "items",
            bottleneck: "",
            columns: STEP_COLUMNS,
            lines: vec![GrowthLine {
                name: "GRU".into(),
                points: vec![point(10, 1.25), point(100, 250.0)],
            }],
        };
        let table = growth.table();
        assert_eq!(table.lines().nth(2), Some("| GRU | 10 | 1.25 | - | 123 |"));
        assert_eq!(table.lines().nth(3), Some("| GRU | 100 | 250 | - | 123 |"));
        assert_eq!(
            growth.chart().lines[0].points,
            [[10.0, 1.25, 1.25, 1.25], [100.0, 250.0, 250.0, 250.0]]
        );
    }
}
