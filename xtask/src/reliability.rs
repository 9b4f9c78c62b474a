//! `cargo xtask reliability`: what is promised of data and runs, tried: training killed, disks that fail and fill, two at
//! once, readers fuzzed, memory watched, formats, numbers, dependencies. One table of what was tried, how often, what was lost.
//!
//! The binary is driven from outside, as anybody would; what only a test can reach is its test, which is run and says how often
//! it tried.

mod disk;
mod kill;
mod libfuzzer;
mod memory;
mod row;
mod runs;
mod smoke;
mod suites;
mod two;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::root;
use prl_experiments::Machine;
use prl_experiments::write_file;
use prl_report::markdown_table;
use row::Row;
use runs::Runs;

/// Flags of `reliability`.
#[derive(clap::Args)]
pub struct Args {
    /// Kills of each encoder under each method
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// Seconds of the smoke of each fuzz target
    #[arg(long, default_value_t = 20.0)]
    fuzz: f64,
    /// Seed of the fuzz targets' inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Bytes of the largest log that is prepared, in RC15's format
    #[arg(long, default_value_t = 1_000_000_000)]
    log: u64,
    /// Minutes of each fuzz target under libFuzzer
    #[arg(long, default_value_t = 8.0)]
    minutes: f64,
    /// Only these, the rest of the page as it was: kill, disk, two, fuzz, libfuzzer, memory, tests [default: all but libfuzzer]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the page goes [default: results]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A line of the table, with the part that found it and the code that it was found of.
#[derive(Serialize, Deserialize)]
struct Found {
    part: String,
    commit: String,
    #[serde(flatten)]
    row: Row,
}

/// The part that is only run where it is asked for: it builds every dependency anew, and takes every core for its minutes.
const LIBFUZZER: &str = "libfuzzer";

/// What one part of it makes of the binaries and the flags.
type Part = fn(&Runs, &Args) -> Result<Vec<Row>>;

/// The parts, in the order of the promises.
const PARTS: [(&str, Part); 7] = [
    ("kill", |runs, args| kill::run(runs, args.kills)),
    ("disk", |runs, _| disk::run(runs)),
    ("two", |runs, _| two::run(runs)),
    ("fuzz", |runs, args| smoke::run(runs, args.fuzz, args.seed)),
    (LIBFUZZER, |runs, args| libfuzzer::run(runs, args.minutes)),
    ("memory", |runs, args| memory::run(runs, args.log)),
    ("tests", |_, _| suites::run()),
];

/// Runs everything, or some of it, and writes the page: what is not run stands as it was found before.
pub fn run(args: &Args) -> Result<()> {
    for only in &args.only {
        ensure!(
            PARTS.iter().any(|(name, _)| name == only),
            "--only {only} is none of kill, disk, two, fuzz, libfuzzer, memory, tests"
        );
    }
    let runs = Runs::new()?;
    let out = args.out.clone().unwrap_or_else(|| root().join("results"));
    let kept = out.join("reliability.jsonl");
    let (mut rows, commit) = (read(&kept)?, Machine::detect(crate::workspace()).commit);
    let is_asked = |name: &str| args.only.iter().any(|only| only == name);
    let is_due = |name: &str| is_asked(name) || (args.only.is_empty() && name != LIBFUZZER);
    for (name, part) in PARTS.iter().filter(|(name, _)| is_due(name)) {
        eprintln!("==> {name}");
        rows.retain(|found| found.part != *name);
        for row in part(&runs, args)? {
            eprintln!("{}: {} times, lost {}", row.tried, row.times, row.lost);
            rows.push(Found {
                part: (*name).to_owned(),
                commit: commit.clone(),
                row,
            });
        }
        // The promises' own order.
        rows.sort_by_key(|found| found.row.promise);
        write_file(
            &kept,
            rows.iter()
                .map(|found| Ok(serde_json::to_string(found)? + "\n"))
                .collect::<Result<String>>()?,
        )?;
    }
    let page = page(&rows);
    println!("{page}");
    write_file(&out.join("reliability.md"), &page)?;
    let lost: u64 = rows.iter().map(|found| found.row.lost).sum();
    ensure!(lost == 0, "{lost} were lost");
    Ok(())
}

/// What was found before.
fn read(kept: &Path) -> Result<Vec<Found>> {
    let text = if kept.exists() {
        fs::read_to_string(kept)?
    } else {
        String::new()
    };
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

fn page(rows: &[Found]) -> String {
    let cells = |Found { commit, row, .. }: &Found| {
        let [times, lost] = [row.times, row.lost].map(|n| n.to_string());
        vec![
            row.promise.title().to_owned(),
            row.tried.clone(),
            commit.clone(),
            times,
            lost,
        ]
    };
    let table = markdown_table(
        &["promise", "what was tried", "commit", "times", "lost"],
        3,
        &rows.iter().map(cells).collect::<Vec<_>>(),
    );
    let mut excluded = String::new();
    for promise in row::Promise::ALL
        .iter()
        .filter(|promise| rows.iter().any(|found| found.row.promise == **promise))
    {
        excluded += &format!("- **{}**: {}\n", promise.title(), promise.excludes());
    }
    format!(
        "# Reliability\n\nWritten by `cargo xtask reliability`. Lost is what did not come out as promised. [Lines](reliability.jsonl).\n\n{}\n{table}\n## What \
         a promise leaves out\n\n{excluded}",
        Machine::detect(crate::workspace()).to_markdown()
    )
}
