//! `cargo xtask reproduce`: the paper's tables from raw logs, or from synthetic stand-ins where there are none.
//!
//! Everything is done by the `prl` binary, in a directory a run; results are read from those directories alone. So what is
//! done is skipped, a kill loses one run's last steps, and a second call with nothing left only writes the pages again.

mod data;
mod outcome;
mod page;
mod paper;
mod prl;
mod queue;
mod spec;
mod study;
mod tables;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::machine::Machine;
use crate::root;
use data::{Dataset, SOURCES};
use outcome::Outcome;
use prl::Prl;
use queue::Compute;
use spec::Scale;
use study::Study;

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
    /// Seeds of every trained row
    #[arg(long, default_value_t = 3)]
    repeats: u64,
    /// Runs at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of all runs together [default: one for each core]
    #[arg(long)]
    threads: Option<usize>,
    /// Where the pages go [default: results/SCALE]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs what is not done and writes the pages.
pub fn run(args: Args) -> Result<()> {
    ensure!(args.jobs > 0 && args.repeats > 0, "--jobs and --repeats must be at least 1");
    let names: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
    if let Some(log) = args.logs.iter().find(|log| !names.contains(&log.as_str())) {
        bail!("--logs {log} is not one of {}", names.join(", "));
    }
    let machine = Machine::here();
    let threads = args.threads.unwrap_or(machine.cores).div_euclid(args.jobs).max(1);
    let prl = Prl::find(&args.device)?;
    let runs = root().join("runs");
    let open = |source| Dataset::open(source, &args.datasets, &runs.join("data"), args.scale, &prl);
    let wanted = SOURCES.iter().filter(|source| args.logs.iter().any(|log| log == source.name));
    let datasets = wanted.map(open).collect::<Result<Vec<_>>>()?;
    let version = prl.version.clone();
    let study = Study::plan(args.scale, args.repeats, version, machine, datasets, &runs.join(args.scale.name()));
    let out = args.out.unwrap_or_else(|| root().join("results").join(args.scale.name()));
    let compute = Compute { jobs: args.jobs, threads, device: args.device };
    let paper = paper::rows()?;
    let outcomes = queue::run(&study, &prl, &compute, |outcomes| page::write(&study, outcomes, &paper, &out))?;
    println!("{}", out.join("README.md").display());
    let failed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed(_))).count();
    if failed > 0 { bail!("{failed} runs failed; their cells say why") } else { Ok(()) }
}
