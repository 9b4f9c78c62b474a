//! `cargo xtask bench growth`: what grows with the log, the catalogue, the window and the width, and what limits it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use plotters::style::RGBColor;
use serde_json::{Value, json};

use super::results;
use super::steps::Case;
use crate::{programs, root, timed};
use prl_experiments::Machine;
use prl_experiments::matrix::ENCODERS;
use prl_experiments::write_file;
use prl_report::line_chart::{self, Chart, Line};
use prl_report::markdown_table;
use prl_report::svg;

/// Flags of `bench growth`.
#[derive(clap::Args)]
pub struct Args {
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Steps of each case that are timed
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Raw events of the logs that are prepared, in RC15's format
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100000,1000000,10000000,100000000"
    )]
    events: Vec<u64>,
}

/// Raw events for each session that RC15's filter keeps, about.
const EVENTS_PER_SESSION: f64 = 6.17;
const ITEMS: [usize; 5] = [10_000, 31_600, 100_000, 316_000, 1_000_000];
const WINDOWS: [usize; 4] = [5, 10, 20, 50];
const WIDTHS: [usize; 4] = [32, 64, 128, 256];
const COLOURS: [RGBColor; 4] = [
    RGBColor(47, 129, 247),
    RGBColor(214, 118, 26),
    RGBColor(152, 94, 214),
    RGBColor(28, 150, 105),
];

/// One thing that grows: a table and a chart.
struct Growth {
    title: &'static str,
    /// What the axis below counts.
    x: &'static str,
    /// What limits it, in a sentence.
    limit: &'static str,
    /// The columns of the table after `x`, and how a line gives them.
    columns: &'static [(&'static str, &'static str)],
    /// The column that is drawn.
    drawn: usize,
    /// Each line's name and points.
    lines: Vec<(String, Points)>,
}

/// The values of what grows, and what was measured there.
type Points = Vec<(u64, Value)>;

/// Measures everything, keeps the raw lines and writes a page with its charts.
pub fn run(args: &Args) -> Result<()> {
    let growths = [events(args)?, items(args)?, windows(args)?, widths(args)?];
    let points = growths
        .iter()
        .flat_map(|growth| growth.lines.iter().flat_map(|(_, points)| points));
    let raw: String = points.map(|(_, line)| format!("{line}\n")).collect();
    write_file(&results().join("growth.jsonl"), raw)?;
    let mut page = format!(
        "# Growth\n\nBatch 256, fp32 unless a line says otherwise, {} threads; medians of {} steps, each case in a \
         process of its own, whose peak is MB. The logs are SYNTHETIC, in RC15's format. Both axes of a chart are logarithmic. [Raw lines](growth.jsonl).\n\n{}",
        args.threads,
        args.steps,
        Machine::detect(crate::workspace()).to_markdown()
    );
    for growth in &growths {
        let file = format!("growth-{}.svg", growth.x);
        write_file(
            &results().join(&file),
            svg::standalone(&line_chart::svg(&[growth.chart()])?),
        )?;
        page += &format!(
            "\n## {}\n\n{}\n\n![]({file})\n\n{}",
            growth.title,
            growth.limit,
            growth.table()
        );
    }
    write_file(&results().join("growth.md"), &page)?;
    println!("{page}");
    Ok(())
}

/// The log: what `prl prepare` takes.
fn events(args: &Args) -> Result<Growth> {
    let prl = programs::prl("cpu")?;
    let mut points = Vec::new();
    for &events in &args.events {
        eprintln!("preparing {events} events");
        let line = prepared(&prl, events)?;
        points.push((line["rows"].as_u64().unwrap_or_default(), line));
    }
    Ok(Growth {
        title: "Events: preparing a log",
        x: "events",
        limit: "Reading the text is what takes the time. It is streamed and the clicks wait on disk, so memory holds a counter for \
                each session and the sample.",
        columns: &[
            ("seconds", "seconds"),
            ("seconds a million", "per_million"),
            ("MB", "peak_mb"),
        ],
        drawn: 0,
        lines: vec![("prl prepare".into(), points)],
    })
}

fn prepared(prl: &Path, events: u64) -> Result<Value> {
    let dir: PathBuf = root().join("target/bench/growth");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("failed to remove {}", dir.display()))?;
    }
    let (raw, out) = (dir.join("raw"), dir.join("prepared"));
    let sessions = (events as f64 / EVENTS_PER_SESSION) as u64;
    let mut synth = Command::new(prl);
    timed::run(
        synth
            .args([
                "synth",
                "--like",
                "rc15",
                "--sessions",
                &sessions.to_string(),
                "--out",
            ])
            .arg(&raw),
    )?;
    let mut prepare = Command::new(prl);
    prepare.args([
        "prepare",
        "--json",
        "--source",
        "rc15",
        "--sample",
        &sessions.min(200_000).to_string(),
    ]);
    prepare
        .arg("--clicks")
        .arg(raw.join("yoochoose-clicks.dat"))
        .arg("--buys")
        .arg(raw.join("yoochoose-buys.dat"));
    let done = timed::run(prepare.arg("--out").arg(&out))?;
    let manifest: Value = serde_json::from_str(&done.output)?;
    let files = manifest["source"]["files"].as_array();
    let rows: u64 = files
        .into_iter()
        .flatten()
        .filter_map(|file| file["rows"].as_u64())
        .sum();
    fs::remove_dir_all(&dir)?;
    let per_million = 1e6 * done.seconds / rows as f64;
    Ok(
        json!({ "rows": rows, "seconds": done.seconds, "per_million": per_million, "peak_mb": done.peak_mb }),
    )
}

/// Times some cases, by what grows.
fn cases<'a>(args: &Args, cases: impl IntoIterator<Item = (usize, Case<'a>)>) -> Result<Points> {
    let measure = |(x, case): (usize, Case<'_>)| {
        eprintln!(
            "{} {}: {} items, window {}, width {}",
            case.encoder, case.method, case.items, case.window, case.dim
        );
        Ok((
            x as u64,
            serde_json::from_str(&case.measure(args.threads, args.steps, "cpu")?)?,
        ))
    };
    cases.into_iter().map(measure).collect()
}

/// Cases of GRU under cross-entropy in fp32, and with the output layer's factors in bfloat16.
fn with_both_heads(
    args: &Args,
    values: &[usize],
    case: impl Fn(usize) -> Case<'static>,
) -> Result<Vec<(String, Points)>> {
    let line = |(name, bf16_head): (&str, bool)| {
        let points = values.iter().map(|&x| {
            (
                x,
                Case {
                    bf16_head,
                    ..case(x)
                },
            )
        });
        Ok((name.to_owned(), cases(args, points)?))
    };
    [("GRU normal", false), ("GRU normal, bf16 head", true)]
        .into_iter()
        .map(line)
        .collect()
}

const STEP: &[(&str, &str)] = &[
    ("ms a step", "step_ms_median"),
    ("events/s ranked", "eval_events_per_s"),
    ("MB", "peak_rss_mb"),
];

fn items(args: &Args) -> Result<Growth> {
    Ok(Growth {
        title: "Items: a training step and ranking",
        x: "items",
        limit: "The output layer is all of it: three products of batch x width x items, and Adam's pass over the weights and \
                their moments, which leave the cache from some ten thousand items on. Memory is three copies of both ends, \
                and at most 80 MiB of exponentials.",
        columns: STEP,
        drawn: 0,
        lines: with_both_heads(args, &ITEMS, |items| Case {
            items,
            ..Case::default()
        })?,
    })
}

fn windows(args: &Args) -> Result<Growth> {
    let line = |encoder: &'static str| {
        let case = |&window: &usize| {
            (
                window,
                Case {
                    encoder,
                    window,
                    ..Case::default()
                },
            )
        };
        Ok((encoder.to_owned(), cases(args, WINDOWS.iter().map(case))?))
    };
    Ok(Growth {
        title: "Window: a training step of each encoder",
        x: "window",
        limit: "The output layer does not see the window. GRU's steps follow one another, NextItNet's and SASRec's positions \
                go through products all at once, Caser's filters are as long as the window, and SASRec's attention grows \
                with its square, which is still small at 50.",
        columns: STEP,
        drawn: 0,
        lines: ENCODERS
            .iter()
            .map(|encoder| line(encoder.name))
            .collect::<Result<_>>()?,
    })
}

fn widths(args: &Args) -> Result<Growth> {
    Ok(Growth {
        title: "Width: a training step",
        x: "width",
        limit: "The output layer's products grow with the width, the encoder's with its square; the exponentials of the \
                softmax do not grow, so a wider layer is nearer to the machine's peak.",
        columns: STEP,
        drawn: 0,
        lines: with_both_heads(args, &WIDTHS, |dim| Case {
            dim,
            ..Case::default()
        })?,
    })
}

impl Growth {
    fn chart(&self) -> Chart {
        let (y, key) = self.columns[self.drawn];
        let point = |(x, line): &(u64, Value)| {
            let y = line[key].as_f64()?;
            Some([*x as f64, y, y, y])
        };
        let line = |((name, points), colour): (&(String, Points), RGBColor)| Line {
            name: name.clone(),
            colour,
            points: points.iter().filter_map(point).collect(),
        };
        let lines = self.lines.iter().zip(COLOURS).map(line).collect();
        Chart {
            title: self.title.into(),
            x: self.x.into(),
            y: y.into(),
            is_logarithmic: true,
            lines,
        }
    }

    fn table(&self) -> String {
        let header: Vec<&str> = ["", self.x]
            .into_iter()
            .chain(self.columns.iter().map(|(name, _)| *name))
            .collect();
        let cell = |line: &Value, key: &str| match line[key].as_f64() {
            Some(x) if x < 100.0 => format!("{x:.2}"),
            Some(x) => format!("{x:.0}"),
            None => "-".into(),
        };
        let row = |name: &str, (x, line): &(u64, Value)| {
            let cells = self.columns.iter().map(|(_, key)| cell(line, key));
            [name.to_owned(), x.to_string()]
                .into_iter()
                .chain(cells)
                .collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = self
            .lines
            .iter()
            .flat_map(|(name, points)| points.iter().map(|point| row(name, point)))
            .collect();
        markdown_table(&header, 1, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growth_is_a_table_and_a_chart() {
        let point = |x: u64, ms: f64| (x, json!({ "step_ms_median": ms, "peak_rss_mb": 123.4 }));
        let growth = Growth {
            title: "Items",
            x: "items",
            limit: "",
            columns: STEP,
            drawn: 0,
            lines: vec![("GRU".into(), vec![point(10, 1.25), point(100, 250.0)])],
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
