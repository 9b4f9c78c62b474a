//! `prl-bench neighbours`: latency and memory of the neighbour searches against the size of the
//! log.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use prl_bench::jsonl::{self, cell, number, text};
use prl_bench::measure;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::{Machine, Workspace, write_file};
use prl_report::markdown_table;
use serde_json::Value;

use crate::compare::{Committed, Quantity};
use crate::host;
use crate::programs::neighbour_speed;

/// Flags of `prl-bench neighbours`.
#[derive(clap::Args)]
pub struct Args {
    /// Clicks of the logs
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000")]
    clicks: Vec<u64>,
    /// Queries that are timed at each size
    #[arg(long, default_value_t = 20_000)]
    queries: usize,
}

/// Events of a synthetic session that are kept, approximately: those of sessions of 2 to 50 events.
const EVENTS_PER_SESSION: f64 = 5.77;
const KEYS: [&str; 2] = ["method", "clicks"];

const P50: Quantity = Quantity {
    name: "p50, ms",
    key: "p50_ms",
    quartiles: ["", ""],
    is_rate: false,
};
const P90: Quantity = Quantity {
    name: "p90, ms",
    key: "p90_ms",
    quartiles: ["", ""],
    is_rate: false,
};

/// Measures every size; writes the raw lines and a page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let prl = PrlBinary::find(workspace, "cpu")?;
    let search = neighbour_speed(workspace)?;
    let dir = workspace.root.join("target/bench/neighbours");
    let mut lines = Vec::new();
    for &clicks in &args.clicks {
        eprintln!("{clicks} clicks");
        if dir.exists() {
            fs::remove_dir_all(&dir)
                .with_context(|| format!("failed to remove {}", dir.display()))?;
        }
        let (raw, prepared) = (dir.join("raw"), dir.join("prepared"));
        // Eight tenths of the events are for training.
        let sessions = (clicks as f64 / 0.8 / EVENTS_PER_SESSION) as u64;
        let mut synth = Command::new(prl.program());
        synth.args(["synth", "--like", "rc15", "--sessions"]);
        measure::run(synth.arg(sessions.to_string()).arg("--out").arg(&raw))?;
        let mut prepare = Command::new(prl.program());
        prepare.args(["prepare", "--source", "rc15", "--sample"]);
        prepare.arg(sessions.to_string());
        prepare
            .arg("--clicks")
            .arg(raw.join("yoochoose-clicks.dat"));
        prepare.arg("--buys").arg(raw.join("yoochoose-buys.dat"));
        measure::run(prepare.arg("--out").arg(&prepared))?;
        let mut timed = Command::new(&search);
        timed.args(["--queries", &args.queries.to_string(), "--data"]);
        lines.extend(jsonl::parse(&measure::run(timed.arg(&prepared))?.output)?);
    }
    fs::remove_dir_all(&dir)?;
    let machine = Machine::detect(workspace);
    let folder = host::folder(workspace, &machine, "cpu");
    let file = folder.join("neighbours.jsonl");
    let mut page = page(args.queries, &lines, &machine);
    if let Some(committed) = Committed::of(workspace, &file) {
        page += &committed.section(&KEYS, &[P50, P90], &lines).0;
    }
    write_file(&file, jsonl::to_text(&lines))?;
    write_file(&folder.join("neighbours.md"), &page)?;
    crate::index::write(workspace)?;
    println!("{page}");
    Ok(())
}

fn page(queries: usize, lines: &[Value], machine: &Machine) -> String {
    let header = [
        "method",
        "clicks",
        "p50, ms",
        "p90, ms",
        "p99, ms",
        "most, ms",
        "built in, s",
        "MB",
        "bytes a click",
    ];
    let mut rows = Vec::new();
    for line in lines {
        let mut cells = vec![text(&line["method"]), text(&line["clicks"])];
        for key in ["p50_ms", "p90_ms", "p99_ms", "max_ms"] {
            cells.push(cell(number(&line[key]), 3));
        }
        cells.push(cell(number(&line["fit_s"]), 1));
        cells.push(cell(number(&line["mb"]), 0));
        cells.push(cell(number(&line["bytes_per_click"]), 1));
        rows.push(cells);
    }
    format!(
        "# Neighbour searches\n\n\
         SYNTHETIC logs in RC15's format; {queries} histories from their validation and test parts, one \
         at a time on one thread, the 21 best items each: the search itself, without a server. Clicks \
         are those of the training part; MB and bytes are those of the search's arrays. [Raw \
         lines](neighbours.jsonl).\n\n{}\n{}",
        host::facts(machine),
        markdown_table(&header, 1, &rows)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn page_has_percentiles_and_memory() {
        let line = json!({
            "method": "session-knn", "clicks": 10, "p50_ms": 0.1, "p90_ms": 0.25, "p99_ms": 0.5,
            "max_ms": 1.0, "fit_s": 2.0, "mb": 90.0, "bytes_per_click": 9.0,
        });
        let page = page(5, &[line], &Machine::detect(&Workspace::repository()));
        let row = "| session-knn | 10 | 0.100 | 0.250 | 0.500 | 1.000 | 2.0 | 90 | 9.0 |";
        assert!(page.contains(row), "{page}");
    }
}
