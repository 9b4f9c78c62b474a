//! `prl-bench benchmarks`: the public click benchmarks under the conventions of the papers that
//! publish results on them, beside those results.
//!
//! First events are not cases, all items are ranked, and nothing is excluded. The number of epochs
//! is chosen on the last sessions of the training part; then a run of that many epochs is trained
//! on all of it and evaluated once on the test part. A finished cell of the same settings is kept.

mod cell;
mod page;
mod published;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prl_bench::jsonl;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::{Machine, Workspace, write_file};
use serde_json::Value;

use self::cell::{Cell, System};
use self::published::{BENCHMARKS, Benchmark};
use crate::cells::{finished, logs, perform_all};

/// Folder of the benchmarks among the logs.
const FOLDER: &str = "benchmarks";

/// Flags of `prl-bench benchmarks`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of benchmarks/NAME.csv.gz, with the columns session, time, item and split [default:
    /// datasets]
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Benchmarks
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "diginetica,yoochoose,retailrocket-views"
    )]
    benchmarks: Vec<String>,
    /// Encoders; '' trains none
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "core,gru,sasrec,caser,nextitnet"
    )]
    encoders: Vec<String>,
    /// Recipes of each encoder
    #[arg(long, value_delimiter = ',', default_value = "modern,paper")]
    recipes: Vec<String>,
    /// Seeds of each trained system
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Share of the training sessions, the last ones, on which epochs and weights are chosen
    #[arg(long, default_value_t = 0.05)]
    hold_out: f64,
    /// Train with an output layer in bfloat16: faster with AVX-512 BF16
    #[arg(long)]
    bf16_head: bool,
    /// Cells at once, each on one thread
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Make the page of the finished cells, and run nothing
    #[arg(long)]
    page_only: bool,
}

/// Program, folder and settings of all cells.
struct Setup {
    prl: PrlBinary,
    /// Prepared datasets and runs.
    dir: PathBuf,
    hold_out: f64,
    bf16_head: bool,
    /// Commit of the sources.
    commit: String,
}

/// Runs all cells that are not finished; writes the raw lines and the page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut benchmarks = Vec::new();
    for name in &args.benchmarks {
        let known = BENCHMARKS.iter().find(|known| known.name == name);
        benchmarks.push(known.with_context(|| unknown(name))?);
    }
    let machine = Machine::detect(workspace);
    let dir = workspace.root.join("runs/benchmarks");
    if !args.page_only {
        let setup = Setup {
            prl: PrlBinary::find(workspace, "cpu")?,
            dir: dir.clone(),
            hold_out: args.hold_out,
            bf16_head: args.bf16_head,
            commit: machine.commit.clone(),
        };
        let logs = logs(workspace, args.logs.as_deref(), FOLDER)?;
        for benchmark in &benchmarks {
            setup.prepare(benchmark, &logs)?;
        }
        for stage in [false, true] {
            let mut cells = cells(args, &benchmarks);
            // A blend needs its members.
            cells.retain(|cell| (cell.system == System::Blend) == stage);
            perform_all(cells, args.jobs, |cell| {
                let named = || format!("{} on {}", cell.title(), cell.benchmark.name);
                cell.perform(&setup).with_context(named)
            })?;
        }
    }
    let lines = finished_of_all(&dir)?;
    ensure!(
        !lines.is_empty(),
        "no cell is finished; run without --page-only"
    );
    let results = workspace.root.join("results/benchmarks");
    write_file(&results.join("cells.jsonl"), jsonl::to_text(&lines))?;
    let page = page::page(&lines, &machine);
    write_file(&results.join("README.md"), page)?;
    println!("{}", results.join("README.md").display());
    Ok(())
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = BENCHMARKS.iter().map(|known| known.name).collect();
    format!(
        "no benchmark is named {name:?}; there are {}",
        known.join(", ")
    )
}

/// All cells, those that matter most first.
fn cells<'a>(args: &'a Args, benchmarks: &[&'static Benchmark]) -> Vec<Cell<'a>> {
    let mut systems = vec![
        System::Baseline("popularity"),
        System::Baseline("last-items"),
        System::Baseline("session-knn"),
        System::Baseline("session-knn-tuned"),
    ];
    for recipe in &args.recipes {
        for encoder in args.encoders.iter().filter(|name| !name.is_empty()) {
            systems.push(System::Trained { encoder, recipe });
        }
    }
    if args.encoders.iter().any(|name| !name.is_empty()) {
        systems.push(System::Blend);
    }
    let mut cells = Vec::new();
    for seed in 0..args.seeds {
        for &system in &systems {
            for &benchmark in benchmarks {
                if seed == 0 || !matches!(system, System::Baseline(_)) {
                    cells.push(Cell {
                        benchmark,
                        system,
                        seed,
                    });
                }
            }
        }
    }
    cells
}

impl Setup {
    /// Prepares a log once, with its published split.
    fn prepare(&self, benchmark: &Benchmark, logs: &Path) -> Result<()> {
        let out = self.data(benchmark);
        if out.join("manifest.json").exists() {
            return Ok(());
        }
        let input = logs.join(FOLDER).join(format!("{}.csv.gz", benchmark.name));
        ensure!(input.exists(), "{} is missing", input.display());
        eprintln!("{}: preparing", benchmark.name);
        let (input, out) = (input.display().to_string(), out.display().to_string());
        self.call(&[
            "prepare",
            "--source",
            "csv",
            "--input",
            &input,
            "--columns",
            "session=session,time=time,item=item,split=split",
            "--max-length",
            "0",
            "--out",
            &out,
        ])?;
        Ok(())
    }
}

/// Lines of the finished cells.
fn finished_of_all(dir: &Path) -> Result<Vec<Value>> {
    let mut lines = Vec::new();
    for benchmark in BENCHMARKS {
        lines.extend(finished(&dir.join(benchmark.name))?);
    }
    Ok(lines)
}
