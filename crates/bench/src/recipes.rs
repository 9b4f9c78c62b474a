//! `prl-bench recipes`: both recipes and the baselines on real logs in RetailRocket's format, with
//! the protocol's split: clicks and purchases, several splits and seeds, paired tests.
//!
//! Weights are selected on the validation split of each dataset. A finished cell is kept and not
//! repeated.

mod page;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prl_bench::jsonl;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::{Machine, Workspace, write_file};
use serde_json::{Value, json};

use crate::cells::{LINE, call, finished, fresh, logs, perform_all};

/// Flags of `prl-bench recipes`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the logs, NAME/events.csv [default: datasets]
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Logs
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "retailrocket-slice,retailrocket-week"
    )]
    names: Vec<String>,
    /// Splits of each log, by the seeds of their preparation
    #[arg(long, default_value_t = 2)]
    splits: u64,
    /// Seeds of each trained system
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Cells at once, each on one thread
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Make the page of the finished cells, and run nothing
    #[arg(long)]
    page_only: bool,
}

/// A log.
pub struct Log {
    /// Name of its folder.
    name: &'static str,
    /// Title on the page.
    title: &'static str,
    /// Origin, and limits of its tables.
    note: &'static str,
}

/// The logs.
const LOGS: [Log; 2] = [
    Log {
        name: "retailrocket-slice",
        title: "The slice, without repeats",
        note: "The last fifth of RetailRocket's log, **de-duplicated** by who published it: all of \
               its (visitor, item) pairs are distinct, so that nobody in it buys what was viewed. \
               Its click columns are those of a sparse log; its purchases say nothing about a shop \
               and are left out.",
    },
    Log {
        name: "retailrocket-week",
        title: "The week, with repeats",
        note: "Nine days of RetailRocket **with repeats** (32 % of the events are of an item that \
               the visitor had before, and 72 % of the carts), 46,350 events; rare items and short \
               sessions were filtered by who published it. A split's test part has some 130 \
               purchases, so that a purchase column moves by .03 to .04 with chance.",
    },
];

/// A system: its name on the page and its flags of `prl train`.
struct System {
    name: &'static str,
    flags: &'static [&'static str],
    /// Whether seeds differ.
    is_trained: bool,
}

const fn trained(name: &'static str, flags: &'static [&'static str]) -> System {
    System {
        name,
        flags,
        is_trained: true,
    }
}

const fn baseline(name: &'static str, flags: &'static [&'static str]) -> System {
    System {
        name,
        flags,
        is_trained: false,
    }
}

/// The system that the others are tested against.
pub const REFERENCE: &str = "last items";

/// The systems, in the order of the page.
const SYSTEMS: [System; 12] = [
    baseline("popularity", &["--method", "popularity"]),
    baseline(REFERENCE, &["--method", "last-items"]),
    baseline("last items, then kNN", &["--method", "last-items-knn"]),
    baseline("session-kNN, as published", &["--method", "session-knn"]),
    baseline("session-kNN, tuned", &["--method", "session-knn-tuned"]),
    trained(
        "GRU, normal, paper",
        &[
            "--method",
            "normal",
            "--encoder",
            "gru",
            "--recipe",
            "paper",
        ],
    ),
    trained(
        "GRU, PRL, paper",
        &["--method", "prl", "--encoder", "gru", "--recipe", "paper"],
    ),
    trained(
        "GRU, normal, modern",
        &["--method", "normal", "--encoder", "gru"],
    ),
    trained(
        "SASRec, normal, modern",
        &["--method", "normal", "--encoder", "sasrec"],
    ),
    trained("core, normal, modern", &["--method", "normal"]),
    trained("core, PRL, modern", &["--method", "prl"]),
    baseline(BLEND, &[]),
];

const BLEND: &str = "blend";
/// Members of the blend.
const MEMBERS: [&str; 3] = [
    "core, normal, modern",
    "GRU, normal, modern",
    "session-kNN, tuned",
];
/// The paper's recipe validates every 2,000 steps, which on these logs is nearly the whole
/// training.
const PAPER_LIMITS: [&str; 6] = ["--eval-every", "0", "--epochs", "10", "--patience", "3"];

/// A system with a seed on a split of a log.
struct Cell<'a> {
    log: &'a Log,
    split: u64,
    system: &'a System,
    seed: u64,
}

/// Runs all cells that are not finished; writes the raw lines and the page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut chosen = Vec::new();
    for name in &args.names {
        let known = LOGS.iter().find(|log| log.name == name);
        chosen.push(known.with_context(|| format!("no log is named {name:?}"))?);
    }
    let machine = Machine::detect(workspace);
    let dir = workspace.root.join("runs/recipes");
    if !args.page_only {
        let prl = PrlBinary::find(workspace, "cpu")?;
        let raw = logs(workspace, args.logs.as_deref(), LOGS[0].name)?;
        for log in &chosen {
            for split in 0..args.splits {
                prepare(&prl, &raw.join(log.name), &dir_of(&dir, log, split), split)?;
            }
        }
        for is_blend in [false, true] {
            let mut cells = cells(args, &chosen);
            cells.retain(|cell| (cell.system.name == BLEND) == is_blend);
            perform_all(cells, args.jobs, |cell| {
                let named = || format!("{} on {}", cell.system.name, cell.log.name);
                cell.perform(&prl, &machine.commit, &dir)
                    .with_context(named)
            })?;
        }
    }
    let mut lines = Vec::new();
    for log in &LOGS {
        for split in 0..args.splits {
            lines.extend(finished(&dir_of(&dir, log, split))?);
        }
    }
    ensure!(
        !lines.is_empty(),
        "no cell is finished; run without --page-only"
    );
    let results = workspace.root.join("results/recipes");
    write_file(&results.join("cells.jsonl"), jsonl::to_text(&lines))?;
    let page = page::page(&lines, &dir, &machine)?;
    write_file(&results.join("README.md"), page)?;
    println!("{}", results.join("README.md").display());
    Ok(())
}

fn dir_of(dir: &Path, log: &Log, split: u64) -> PathBuf {
    dir.join(format!("{}-{split}", log.name))
}

/// Prepares a log once by the protocol.
fn prepare(prl: &PrlBinary, log: &Path, dir: &Path, split: u64) -> Result<()> {
    let out = dir.join("dataset");
    if out.join("manifest.json").exists() {
        return Ok(());
    }
    let input = log.join("events.csv").display().to_string();
    let (out, seed) = (out.display().to_string(), split.to_string());
    let source = ["prepare", "--source", "retailrocket", "--input", &input];
    call(
        prl,
        &[&source[..], &["--seed", &seed, "--out", &out]].concat(),
    )?;
    Ok(())
}

fn cells<'a>(args: &Args, logs: &[&'a Log]) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    for seed in 0..args.seeds {
        for split in 0..args.splits {
            for &log in logs {
                for system in &SYSTEMS {
                    if seed == 0 || system.is_trained || system.name == BLEND {
                        cells.push(Cell {
                            log,
                            split,
                            system,
                            seed,
                        });
                    }
                }
            }
        }
    }
    cells
}

/// Name of a cell's folder.
fn folder(system: &str, seed: u64) -> String {
    format!("{}-{seed}", system.to_lowercase().replace([',', ' '], "-"))
}

impl Cell<'_> {
    /// Trains and evaluates the cell unless it is finished.
    fn perform(&self, prl: &PrlBinary, commit: &str, dir: &Path) -> Result<()> {
        let split = dir_of(dir, self.log, self.split);
        let cell = split.join(folder(self.system.name, self.seed));
        if cell.join(LINE).exists() {
            return Ok(());
        }
        eprintln!(
            "{}, split {}: {}",
            self.log.name, self.split, self.system.name
        );
        let run = cell.join("run");
        let (data, out) = (split.join("dataset").display().to_string(), fresh(&run)?);
        let seed = self.seed.to_string();
        let mut flags: Vec<String> = Vec::new();
        if self.system.name == BLEND {
            flags.push("blend".into());
            for member in MEMBERS {
                let is_trained = SYSTEMS.iter().any(|s| s.name == member && s.is_trained);
                let seed = if is_trained { self.seed } else { 0 };
                let member = split.join(folder(member, seed)).join("run");
                flags.push(member.display().to_string());
            }
        } else {
            flags.extend(["train", "--data", &data].map(str::to_owned));
            flags.extend(self.system.flags.iter().map(|&flag| flag.to_owned()));
            if self.system.is_trained {
                flags.extend(["--seed", &seed].map(str::to_owned));
            }
            if self.system.flags.contains(&"paper") {
                flags.extend(PAPER_LIMITS.map(str::to_owned));
            }
        }
        flags.extend(["--out", &out].map(str::to_owned));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let trained = call(prl, &flags)?;
        let cases = cell.join("cases.csv").display().to_string();
        let evaluate = ["evaluate", "--run", &out, "--json", "--cases", &cases];
        let report: Value = serde_json::from_str(&call(prl, &evaluate)?.output)?;
        let line = json!({
            "log": self.log.name,
            "split": self.split,
            "system": self.system.name,
            "seed": self.seed,
            "code": prl.code,
            "commit": commit,
            "seconds": trained.seconds,
            "peak_mb": trained.peak_mb,
            "events": report["events"],
            "click": report["click"],
            "purchase": report["purchase"],
        });
        write_file(&cell.join(LINE), format!("{line}\n"))
    }
}
