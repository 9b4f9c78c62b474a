//! `cargo xtask bench serve`: latency of a server under load, up to the rate at which it falls behind.
//!
//! The server is the release binary, as a user starts it, and shares its cores with the load generator, which sends at a
//! constant rate and counts a latency from when the request was due. What is measured does not depend on what a model has
//! learned, so its weights are those of a single step on made-up sessions over a catalogue of the wanted size.

mod model;
mod server;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::results;
use crate::programs;
use prl_experiments::Machine;
use prl_experiments::write_file;
use prl_report::markdown_table;
use server::Server;

/// A 99th percentile above this is no service any more: the rates stop here.
const TOO_LATE_MS: f64 = 1_000.0;

/// Flags of `bench serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Encoders, each under PRL
    #[arg(long, value_delimiter = ',', default_value = "gru,sasrec")]
    encoders: Vec<String>,
    /// Sizes of the catalogue
    #[arg(long, value_delimiter = ',', default_value = "70852")]
    items: Vec<usize>,
    /// Requests a second, ascending, until the server falls behind
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "250,500,1000,2000,3000,4000,6000,8000"
    )]
    rates: Vec<u32>,
    /// Seconds at each rate
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// The rate that is held for longer
    #[arg(long, default_value_t = 1_000)]
    hold: u32,
    /// Seconds that it is held
    #[arg(long, default_value_t = 60)]
    hold_seconds: u32,
    /// Requests that are sent at twice that rate at the end, to see whether memory grows; 0 for none
    #[arg(long, default_value_t = 0)]
    soak: u32,
}

/// What is served.
struct Case<'a> {
    encoder: &'a str,
    items: usize,
}

/// Measures each case and writes a page; the lines of cases that were measured before are kept.
pub fn run(args: &Args) -> Result<()> {
    let programs = build()?;
    for &items in &args.items {
        for encoder in &args.encoders {
            let case = Case { encoder, items };
            let lines = measure(args, &case, &programs)?;
            keep(&case, &lines)?;
        }
    }
    println!("{}", results().join("serve.md").display());
    Ok(())
}

/// Where `prl` and the two examples lie.
struct Programs {
    prl: PathBuf,
    ask: PathBuf,
    load: PathBuf,
}

/// All that serving needs of the binary: the raw readers would only take their time to build.
const FEATURES: &str = "prl-cli/serve,prl-cli/gru,prl-cli/caser,prl-cli/nextitnet,prl-cli/sasrec";

fn build() -> Result<Programs> {
    let what = [
        "-p",
        "prl-cli",
        "-p",
        "prl-engine",
        "-p",
        "prl-serve",
        "--bins",
        "--examples",
    ];
    let lean = ["--no-default-features", "--features", FEATURES];
    let [prl, ask, load] = programs::build(
        &[&what[..], &lean[..]].concat(),
        ["prl", "ask_speed", "load"],
        "cpu",
    )?;
    Ok(Programs { prl, ask, load })
}

/// One JSON object a measurement.
fn measure(args: &Args, case: &Case<'_>, programs: &Programs) -> Result<Vec<Value>> {
    let run = model::run(case, &programs.prl)?;
    let mut lines = Vec::new();
    let mut add = |kind: &str, mut line: Value| {
        let said = json!({ "kind": kind, "encoder": case.encoder, "items": case.items, "machine": Machine::detect(crate::workspace()).lines() });
        if let (Some(line), Some(said)) = (line.as_object_mut(), said.as_object()) {
            line.extend(said.clone());
        }
        eprintln!("{line}");
        lines.push(line);
    };
    add("one", said(Command::new(&programs.ask).arg(&run))?);
    let server = Server::start(&programs.prl, &run)?;
    add(
        "memory",
        json!({ "when": "started", "memory": server.memory() }),
    );
    let load = |rate: u32, seconds: u32| -> Result<Value> {
        let mut load = Command::new(&programs.load);
        let mut line =
            said(load.args([server.address(), &rate.to_string(), &seconds.to_string()]))?;
        line["rate"] = rate.into();
        line["seconds"] = seconds.into();
        Ok(line)
    };
    // The first requests find everything cold.
    load(200, 3)?;
    add("hold", load(args.hold, args.hold_seconds)?);
    for &rate in &args.rates {
        let line = load(rate, args.seconds)?;
        let is_behind =
            line["failed"] != 0 || line["p99_ms"].as_f64().is_none_or(|ms| ms > TOO_LATE_MS);
        add("rate", line);
        if is_behind {
            break;
        }
    }
    if args.soak > 0 {
        add(
            "memory",
            json!({ "when": "before the last requests", "memory": server.memory() }),
        );
        let rate = 2 * args.hold;
        add("hold", load(rate, args.soak.div_ceil(rate))?);
    }
    add(
        "memory",
        json!({ "when": "at the end", "memory": server.memory() }),
    );
    server.stop()?;
    Ok(lines)
}

/// The one JSON object that a program prints.
fn said(program: &mut Command) -> Result<Value> {
    let output = program
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run {program:?}"))?;
    ensure!(output.status.success(), "{program:?} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Puts the lines of a case in the place of those it had, and writes the page anew.
fn keep(case: &Case<'_>, lines: &[Value]) -> Result<()> {
    let path = results().join("serve.jsonl");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let mut all: Vec<Value> = before
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    all.retain(|line| line["encoder"] != case.encoder || line["items"] != case.items);
    all.extend_from_slice(lines);
    let raw: String = all.iter().map(|line| format!("{line}\n")).collect();
    write_file(&path, raw)?;
    write_file(&results().join("serve.md"), page(&all))
}

fn page(lines: &[Value]) -> String {
    let of = |kind: &str| {
        lines
            .iter()
            .filter(|line| line["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let mut machines: Vec<&Value> = lines.iter().map(|line| &line["machine"]).collect();
    machines.dedup();
    let machine = |lines: &&Value| -> String {
        lines
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|line| format!("- {line}\n"))
            .collect()
    };
    let machines: Vec<String> = machines.iter().map(machine).collect();
    let name = |line: &Value| vec![text(&line["encoder"]), text(&line["items"])];
    let row = |line: &Value, keys: &[(&str, usize)]| {
        let cells = keys.iter().map(|&(key, digits)| number(&line[key], digits));
        name(line).into_iter().chain(cells).collect::<Vec<_>>()
    };
    let loads = |kind: &str| -> Vec<Vec<String>> {
        let keys = [
            ("rate", 0),
            ("seconds", 0),
            ("answered_per_second", 0),
            ("failed", 0),
        ];
        let times = ["p50_ms", "p90_ms", "p99_ms", "max_ms"].map(|key| (key, 2));
        of(kind)
            .into_iter()
            .map(|line| row(line, &[keys, times].concat()))
            .collect()
    };
    let load_header = [
        "encoder",
        "items",
        "requests/s",
        "seconds",
        "answered/s",
        "failed",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
    ];
    let ones: Vec<_> = of("one")
        .into_iter()
        .map(|line| {
            row(
                line,
                &[
                    ("p50_ms", 3),
                    ("p90_ms", 3),
                    ("p99_ms", 3),
                    ("mean_inference_ms", 3),
                ],
            )
        })
        .collect();
    let memory: Vec<_> = of("memory")
        .into_iter()
        .map(|line| {
            let cells = [
                text(&line["when"]),
                number(&line["memory"]["now_mb"], 0),
                number(&line["memory"]["peak_mb"], 0),
            ];
            name(line).into_iter().chain(cells).collect()
        })
        .collect();
    format!(
        "# Serving\n\nPRL on each encoder, window 10, width 64, the whole catalogue scored, top 20, the session's own items left \
         out, sessions of 1 to 10 items. The load generator sends at a constant rate on 32 connections and shares the machine's \
         cores with the server; a latency counts from when the request was due. [Raw lines](serve.jsonl).\n\n{}\n\
         One rate, held:\n\n{}\nUp to saturation:\n\n{}\nOne recommendation in process, raw ids in and out, one after another:\n\n{}\n\
         The server's memory, MB:\n\n{}",
        machines.join("\n"),
        markdown_table(&load_header, 1, &loads("hold")),
        markdown_table(&load_header, 1, &loads("rate")),
        markdown_table(
            &[
                "encoder",
                "items",
                "p50 ms",
                "p90 ms",
                "p99 ms",
                "of it inference, mean"
            ],
            1,
            &ones
        ),
        markdown_table(&["encoder", "items", "when", "now", "peak"], 1, &memory),
    )
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value, digits: usize) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".to_owned(), |x| format!("{x:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_every_measurement() {
        let line = |kind: &str, rest: Value| {
            let mut line = json!({"kind": kind, "encoder": "gru", "items": 5, "machine": ["processor: x, 2 cores"]});
            line.as_object_mut()
                .unwrap()
                .extend(rest.as_object().unwrap().clone());
            line
        };
        let load = json!({"rate": 1000, "seconds": 60, "answered_per_second": 999.6, "failed": 0, "p50_ms": 0.5,
            "p90_ms": 1.0, "p99_ms": 2.0, "max_ms": 3.0});
        let page = page(&[
            line(
                "one",
                json!({"p50_ms": 0.25, "p90_ms": 0.3, "p99_ms": 0.4, "mean_inference_ms": 0.2}),
            ),
            line("hold", load.clone()),
            line("rate", load),
            line(
                "memory",
                json!({"when": "started", "memory": {"now_mb": 90.4, "peak_mb": 100.0}}),
            ),
        ]);
        assert_eq!(
            page.matches("| gru | 5 | 1000 | 60 | 1000 | 0 | 0.50 | 1.00 | 2.00 | 3.00 |")
                .count(),
            2
        );
        assert!(page.contains("| gru | 5 | 0.250 | 0.300 | 0.400 | 0.200 |"));
        assert!(page.contains("| gru | 5 | started | 90 | 100 |"));
        assert_eq!(page.matches("- processor: x, 2 cores").count(), 1);
    }
}
