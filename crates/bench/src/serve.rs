//! `prl-bench serve`: latency of a server at rising request rates, up to saturation.
//!
//! The server is the release binary, started as a user starts it. It shares its cores with the load
//! generator, which sends at a constant rate and counts a latency from the time at which the
//! request was due. Speed does not depend on the values of the weights, so the model has those of a
//! single training step on synthetic sessions over a catalogue of a given size.

mod model;
mod page;
mod server;
mod stores;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use prl_bench::jsonl::{self, number};
use prl_experiments::{Machine, Workspace, programs, write_file};
use serde_json::{Value, json};

use crate::host;
use server::Server;

/// 99th percentile from which a server counts as saturated.
const SATURATED_MS: f64 = 1_000.0;

/// Flags of `prl-bench serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Encoders, each under PRL
    #[arg(long, value_delimiter = ',', default_value = "gru,sasrec")]
    encoders: Vec<String>,
    /// Catalogue sizes
    #[arg(long, value_delimiter = ',', default_value = "70852")]
    items: Vec<usize>,
    /// Requests per second, ascending, until the server is saturated
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "250,500,1000,2000,3000,4000,6000,8000"
    )]
    rates: Vec<u32>,
    /// First pass in 8 bits, each measured in turn: never, or auto (on large catalogues)
    #[arg(long, value_delimiter = ',', default_value = "auto")]
    first_pass: Vec<String>,
    /// Seconds at each rate
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Rate that is held for longer
    #[arg(long, default_value_t = 1_000)]
    hold: u32,
    /// Seconds at that rate
    #[arg(long, default_value_t = 60)]
    hold_seconds: u32,
    /// Sessions that the server stores in place of such a measurement; 0 for none
    #[arg(long, default_value_t = 0)]
    stored: u32,
    /// Where they are stored: memory, disk, redis (a redis-server of its own)
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "memory,disk,redis",
        requires = "stored"
    )]
    stores: Vec<String>,
    /// Requests at twice that rate at the end, to detect growing memory; 0 for none
    #[arg(long, default_value_t = 0)]
    soak: u32,
}

/// A served model.
struct Case<'a> {
    encoder: &'a str,
    items: usize,
    /// Value of `PRL_FIRST_PASS`.
    first_pass: &'a str,
}

/// Measures each case and writes a page; lines of cases that are not measured now are kept.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let programs = Programs::build(workspace)?;
    let folder = host::folder(workspace, &Machine::detect(workspace), "cpu");
    for &items in &args.items {
        for encoder in &args.encoders {
            for first_pass in &args.first_pass {
                let case = Case {
                    encoder,
                    items,
                    first_pass,
                };
                if args.stored > 0 {
                    let lines = stores::measure(workspace, args, &case, &programs)?;
                    store(&folder, &case, lines, stores::is_stored)?;
                } else {
                    let lines = measure(workspace, args, &case, &programs)?;
                    store(&folder, &case, lines, |line| !stores::is_stored(line))?;
                }
            }
        }
    }
    crate::index::write(workspace)?;
    println!("{}", folder.join("serve.md").display());
    Ok(())
}

/// Paths of `prl` and of the two examples.
struct Programs {
    prl: PathBuf,
    /// One recommendation after another, in process.
    ask: PathBuf,
    /// Load generator.
    load: PathBuf,
}

impl Programs {
    fn build(workspace: &Workspace) -> Result<Self> {
        // Without the raw readers, which take longest to build and are not needed here.
        const FEATURES: &str =
            "prl-cli/serve,prl-cli/gru,prl-cli/caser,prl-cli/nextitnet,prl-cli/sasrec";
        let packages = [
            "--package",
            "prl-cli",
            "--package",
            "prl-engine",
            "--package",
            "prl-serve",
            "--bins",
            "--examples",
            "--no-default-features",
            "--features",
            FEATURES,
        ];
        let names = ["prl", "ask_speed", "load"];
        let [prl, ask, load] = programs::build(workspace, &packages, names, "cpu")?;
        Ok(Self { prl, ask, load })
    }
}

/// Measurements of one case, and what they have in common.
struct Recorder {
    common: Value,
    lines: Vec<Value>,
}

impl Recorder {
    fn new(workspace: &Workspace, case: &Case<'_>) -> Self {
        Self {
            common: json!({
                "encoder": case.encoder,
                "items": case.items,
                "first_pass": case.first_pass,
                "machine": host::fact_lines(&Machine::detect(workspace)),
            }),
            lines: Vec::new(),
        }
    }

    fn add(&mut self, kind: &str, mut line: Value) {
        line["kind"] = kind.into();
        for key in ["encoder", "items", "first_pass", "machine"] {
            line[key] = self.common[key].clone();
        }
        eprintln!("{line}");
        self.lines.push(line);
    }

    fn add_memory(&mut self, when: &str, server: &Server) {
        self.add("memory", json!({ "when": when, "memory": server.memory() }));
    }
}

/// One JSON object per measurement.
fn measure(
    workspace: &Workspace,
    args: &Args,
    case: &Case<'_>,
    programs: &Programs,
) -> Result<Vec<Value>> {
    let run = model::train(workspace, case, &programs.prl)?;
    let mut recorder = Recorder::new(workspace, case);
    recorder.add(
        "one",
        json_output(
            Command::new(&programs.ask)
                .arg(&run)
                .env("PRL_FIRST_PASS", case.first_pass),
        )?,
    );
    let server = Server::start(workspace, &programs.prl, &run, &[], case.first_pass)?;
    recorder.add_memory("started", &server);
    let load = |rate: u32, seconds: u32| -> Result<Value> {
        let mut load = Command::new(&programs.load);
        load.args([server.address(), &rate.to_string(), &seconds.to_string()]);
        let mut line = json_output(&mut load)?;
        line["rate"] = rate.into();
        line["seconds"] = seconds.into();
        Ok(line)
    };
    // Warm-up: the first requests fill caches and start threads.
    load(200, 3)?;
    recorder.add("hold", load(args.hold, args.hold_seconds)?);
    for &rate in &args.rates {
        let line = load(rate, args.seconds)?;
        // A missing percentile is NaN, and saturated.
        let is_sustained = line["failed"] == 0 && number(&line["p99_ms"]) <= SATURATED_MS;
        recorder.add("rate", line);
        if !is_sustained {
            break;
        }
    }
    if args.soak > 0 {
        recorder.add_memory("before the last requests", &server);
        let rate = 2 * args.hold;
        recorder.add("hold", load(rate, args.soak.div_ceil(rate))?);
    }
    recorder.add_memory("at the end", &server);
    server.stop()?;
    Ok(recorder.lines)
}

/// The JSON object that a program prints.
fn json_output(program: &mut Command) -> Result<Value> {
    let output = program
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run {program:?}"))?;
    ensure!(output.status.success(), "{program:?} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Replaces the lines of a case that are of a measurement and rewrites the page.
fn store(
    folder: &Path,
    case: &Case<'_>,
    lines: Vec<Value>,
    is_replaced: impl Fn(&Value) -> bool,
) -> Result<()> {
    let path = folder.join("serve.jsonl");
    let mut all = if path.exists() {
        jsonl::parse(&fs::read_to_string(&path)?)?
    } else {
        Vec::new()
    };
    all.retain(|line| {
        // Lines of older versions were measured without a first pass.
        let first_pass = line["first_pass"].as_str().unwrap_or("never");
        let is_model = line["encoder"] == case.encoder && line["items"] == case.items;
        !is_model || first_pass != case.first_pass || !is_replaced(line)
    });
    all.extend(lines);
    write_file(&path, jsonl::to_text(&all))?;
    write_file(&folder.join("serve.md"), page::render(&all))
}
