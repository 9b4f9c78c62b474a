//! `cargo xtask reproduce`: the paper's tables and figures from raw logs, or from synthetic stand-ins where there are none.
//!
//! Everything is done by the `prl` binary, in a directory a run; results are read from those directories alone. So what is
//! done is skipped, a kill loses one run's last steps, and a second call with nothing left only writes the pages again. A run
//! that failed is not tried again unless that is asked for.

mod cases;
mod code;
mod csvs;
mod data;
mod devices;
mod figures;
#[cfg(test)]
mod fixture;
mod forest;
mod index;
mod index_table;
mod markdown;
mod matrix;
mod notes;
mod outcome;
mod page;
mod panel;
mod paper;
mod prl;
mod progress;
mod queue;
mod rows;
mod schedule;
mod significance;
mod spec;
mod study;
mod sweep;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::machine::Machine;
use crate::root;
use data::{Dataset, SOURCES};
use notes::Count;
use prl::Prl;
use queue::Compute;
use schedule::{Cut, Scale};
use significance::Tests;
use spec::Filter;
use study::{Study, Wish};

/// Flags of `reproduce`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the raw logs lie: DIR/retailrocket/events.csv, DIR/rc15/yoochoose-clicks.dat and yoochoose-buys.dat
    #[arg(long, default_value = "datasets")]
    datasets: PathBuf,
    /// How much of it all
    #[arg(long, value_enum, default_value = "quick")]
    scale: Scale,
    /// Only these logs
    #[arg(long, value_delimiter = ',', default_value = "rc15,retailrocket")]
    logs: Vec<String>,
    /// Only these encoders, and what needs none [default: all; quick scale: GRU, and the others with normal and PRL]
    #[arg(long, value_delimiter = ',')]
    encoders: Vec<String>,
    /// Only these methods [default: all; quick scale: see --encoders]
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    /// Seeds of every trained row (quick scale repeats GRU normal and PRL only)
    #[arg(long, default_value_t = 3)]
    repeats: u64,
    /// Steps of every run in place of the scale's, with as many validations
    #[arg(long)]
    steps: Option<u64>,
    /// Validations of every run in place of the scale's
    #[arg(long)]
    validations: Option<u64>,
    /// Runs at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// auto, cpu, cuda or cuda:N; cuda spreads the runs over all GPUs
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of all runs together [default: one for each core]
    #[arg(long)]
    threads: Option<usize>,
    /// Try again what failed before
    #[arg(long)]
    retry_failed: bool,
    /// Run nothing: write the pages of the runs that this version of the code made, as their page names it
    #[arg(long, conflicts_with = "retry_failed")]
    code: Option<String>,
    /// Where the runs and the prepared data lie [default: runs]
    #[arg(long)]
    runs: Option<PathBuf>,
    /// Where the pages go [default: results/SCALE]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs what is not done and writes the pages.
pub fn run(args: Args) -> Result<()> {
    ensure!(args.jobs > 0 && args.repeats > 0, "--jobs and --repeats must be at least 1");
    ensure!(args.steps != Some(0) && args.validations != Some(0), "--steps and --validations must be at least 1");
    let names: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
    if let Some(log) = args.logs.iter().find(|log| !names.contains(&log.as_str())) {
        bail!("--logs {log} is not one of {}", names.join(", "));
    }
    let filter = Filter { encoders: args.encoders, methods: args.methods };
    filter.check()?;
    let machine = Machine::here();
    let threads = args.threads.unwrap_or(machine.cores).div_euclid(args.jobs).max(1);
    let prl = Prl::find(&args.device)?;
    let runs = args.runs.unwrap_or_else(|| root().join("runs"));
    let open = |source| Dataset::open(source, &args.datasets, &runs.join("data"), args.scale, &prl);
    let wanted = SOURCES.iter().filter(|source| args.logs.iter().any(|log| log == source.name));
    let datasets = wanted.map(open).collect::<Result<Vec<_>>>()?;
    let cut = Cut { steps: args.steps, validations: args.validations };
    let wish = Wish { scale: args.scale, repeats: args.repeats, cut, filter };
    let code = args.code.clone().unwrap_or_else(|| prl.code.clone());
    let study = Study::plan(wish, prl.version.clone(), code, machine, datasets, &runs.join(args.scale.name()));
    let out = args.out.unwrap_or_else(|| root().join("results").join(args.scale.name()));
    let (paper, tests) = (paper::rows()?, Tests::default());
    let write = |outcomes: &[_]| page::write(&study, outcomes, &paper, &tests, &out);
    let devices = devices::of_jobs(&args.device, args.jobs);
    let compute = Compute { threads, devices, retry_failed: args.retry_failed };
    let (outcomes, failed) = if args.code.is_some() {
        let outcomes = queue::look(&study);
        write(&outcomes)?;
        (outcomes, 0)
    } else {
        queue::run(&study, &prl, &compute, write)?
    };
    println!("{}", out.join("README.md").display());
    let before = Count::of(&outcomes).failed - failed;
    if before > 0 {
        eprintln!("{before} runs failed before and were not tried again; --retry-failed tries them");
    }
    if failed > 0 { bail!("{failed} runs failed; their cells say why") } else { Ok(()) }
}
