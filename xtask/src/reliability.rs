//! `cargo xtask reliability`: tests of the guarantees for data and runs. Training is killed, disks
//! fail and fill, two processes use one run directory, readers are fuzzed, memory is watched, and
//! the tests of formats, numbers and dependencies run. The page has one row per trial.
//!
//! The `prl` binary is driven from outside, as users run it. Guarantees that only a test inside a
//! crate can check are run as tests, whose output has the number of trials.

mod disk;
mod kill;
mod libfuzzer;
mod lock_test;
mod memory;
mod promise;
mod runs;
mod smoke;
mod test_suites;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use prl_experiments::{Machine, write_file};
use prl_report::markdown_table;
use serde::{Deserialize, Serialize};

use crate::{root, workspace};
use promise::{Promise, Trial};
use runs::Runs;

/// Flags of `reliability`.
#[derive(clap::Args)]
pub struct Args {
    /// Kills per encoder and method
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// Seconds of the fuzz smoke test per target
    #[arg(long, default_value_t = 20.0)]
    fuzz: f64,
    /// Seed of the fuzz targets' inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Bytes of the largest prepared log, in RC15's format
    #[arg(long, default_value_t = 1_000_000_000)]
    log: u64,
    /// Minutes per fuzz target under libFuzzer
    #[arg(long, default_value_t = 8.0)]
    minutes: f64,
    /// Run only these parts and keep the other rows of the page: kill, disk, lock, fuzz, libfuzzer,
    /// memory, tests [default: all but libfuzzer]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Output directory [default: results]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A part of the page.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Part {
    Kill,
    Disk,
    #[serde(alias = "two")]
    Lock,
    Fuzz,
    /// Runs only if named: it rebuilds every dependency, and uses all cores for its minutes.
    Libfuzzer,
    Memory,
    Tests,
}

const PARTS: [(Part, &str); 7] = [
    (Part::Kill, "kill"),
    (Part::Disk, "disk"),
    (Part::Lock, "lock"),
    (Part::Fuzz, "fuzz"),
    (Part::Libfuzzer, "libfuzzer"),
    (Part::Memory, "memory"),
    (Part::Tests, "tests"),
];

/// A row of the page as it is stored.
#[derive(Serialize, Deserialize)]
struct Record {
    part: Part,
    /// Commit of the tested code.
    commit: String,
    #[serde(flatten)]
    trial: Trial,
}

/// Runs the chosen parts and writes the page; rows of other parts are kept.
///
/// # Errors
/// If a guarantee is broken, or a part cannot be run.
pub fn run(args: &Args) -> Result<()> {
    let parts = chosen_parts(&args.only)?;
    let runs = Runs::new()?;
    let out = args.out.clone().unwrap_or_else(|| root().join("results"));
    let stored = out.join("reliability.jsonl");
    let mut records = read(&stored)?;
    let machine = Machine::detect(workspace());
    for (part, name) in parts {
        eprintln!("==> {name}");
        let trials = run_part(part, &runs, args)?;
        records.retain(|record| record.part != part);
        for trial in trials {
            eprintln!(
                "{}: {} times, lost {}",
                trial.tried, trial.times, trial.lost
            );
            records.push(Record {
                part,
                commit: machine.commit.clone(),
                trial,
            });
        }
        records.sort_by_key(|record| record.trial.promise);
        let mut lines = String::new();
        for record in &records {
            lines += &format!("{}\n", serde_json::to_string(record)?);
        }
        write_file(&stored, lines)?;
    }
    let page = page(&records, &machine);
    println!("{page}");
    write_file(&out.join("reliability.md"), &page)?;
    let lost: u64 = records.iter().map(|record| record.trial.lost).sum();
    ensure!(lost == 0, "{lost} trials broke a guarantee; see the page");
    Ok(())
}

/// The parts of these names in the page's order; without names all but libFuzzer.
fn chosen_parts(only: &[String]) -> Result<Vec<(Part, &'static str)>> {
    for name in only {
        let is_known = name == "two" || PARTS.iter().any(|(_, part)| part == name);
        if !is_known {
            let names = PARTS.map(|(_, name)| name).join(", ");
            bail!("--only {name} is no part; expected one of {names}");
        }
    }
    let mut chosen = Vec::new();
    for (part, name) in PARTS {
        let is_named = only
            .iter()
            .any(|o| o == name || part == Part::Lock && o == "two");
        if is_named || only.is_empty() && part != Part::Libfuzzer {
            chosen.push((part, name));
        }
    }
    Ok(chosen)
}

fn run_part(part: Part, runs: &Runs, args: &Args) -> Result<Vec<Trial>> {
    match part {
        Part::Kill => kill::run(runs, args.kills),
        Part::Disk => disk::run(runs),
        Part::Lock => lock_test::run(runs),
        Part::Fuzz => smoke::run(runs, args.fuzz, args.seed),
        Part::Libfuzzer => libfuzzer::run(runs, args.minutes),
        Part::Memory => memory::run(runs, args.log),
        Part::Tests => test_suites::run(),
    }
}

/// Stored rows; none if the file is missing.
fn read(path: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    if !path.exists() {
        return Ok(records);
    }
    for line in fs::read_to_string(path)?.lines() {
        let record = serde_json::from_str(line);
        records.push(record.with_context(|| format!("failed to read {}", path.display()))?);
    }
    Ok(records)
}

fn page(records: &[Record], machine: &Machine) -> String {
    let mut rows = Vec::new();
    for Record { commit, trial, .. } in records {
        rows.push(vec![
            trial.promise.title().to_owned(),
            trial.tried.clone(),
            commit.clone(),
            trial.times.to_string(),
            trial.lost.to_string(),
        ]);
    }
    let header = ["promise", "what was tried", "commit", "times", "lost"];
    let mut limits = String::new();
    for promise in Promise::ALL {
        if records.iter().any(|record| record.trial.promise == promise) {
            limits += &format!("- **{}**: {}\n", promise.title(), promise.limits());
        }
    }
    format!(
        "# Reliability\n\n\
         Written by `cargo xtask reliability`. Lost is the number of trials that broke the promise. \
         [Lines](reliability.jsonl).\n\n{}\n{}\n## Limits of the promises\n\n{limits}",
        machine.to_markdown(),
        markdown_table(&header, 3, &rows),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Result<Vec<&'static str>> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        Ok(chosen_parts(&only)?
            .into_iter()
            .map(|(_, name)| name)
            .collect())
    }

    #[test]
    fn libfuzzer_runs_only_if_named() {
        assert_eq!(names(&[]).unwrap().len(), 6);
        assert_eq!(
            names(&["tests", "libfuzzer"]).unwrap(),
            ["libfuzzer", "tests"]
        );
    }

    #[test]
    fn unknown_part_is_refused_and_former_name_accepted() {
        let error = names(&["kills"]).unwrap_err().to_string();
        assert!(
            error.contains("expected one of kill, disk, lock"),
            "{error}"
        );
        assert_eq!(names(&["two"]).unwrap(), ["lock"]);
    }

    #[test]
    fn committed_rows_are_read() {
        let records = read(&root().join("results/reliability.jsonl")).unwrap();
        assert!(records.iter().any(|record| record.part == Part::Lock));
        let page = page(&records, &Machine::detect(workspace()));
        assert!(
            page.contains("| Resume is exact | SIGKILL while training"),
            "{page}"
        );
    }
}
