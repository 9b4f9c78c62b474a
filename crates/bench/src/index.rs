//! Index of the machines' pages, `results/bench/README.md`: side by side the main figures of each
//! machine, with links to its pages.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use prl_bench::jsonl::{self, cell, number};
use prl_experiments::{Workspace, write_file};
use prl_report::markdown_table;
use serde_json::Value;

use crate::matrix_cost;

/// Pages of a machine: file name without extension, and title.
const PAGES: [(&str, &str); 8] = [
    ("steps", "steps and ranking"),
    ("peers", "beside PyTorch"),
    ("rectools", "beside RecTools"),
    ("growth", "growth"),
    ("prepare", "preparation"),
    ("neighbours", "neighbour searches"),
    ("rounding", "bfloat16 and the metrics"),
    ("serve", "server"),
];

/// Catalogue size of the index's figures.
const ITEMS: u64 = 70_852;

/// Writes the index from the raw lines of every machine.
///
/// # Errors
/// If a folder or its lines cannot be read.
pub fn write(workspace: &Workspace) -> Result<()> {
    let dir = crate::results(workspace);
    let mut hosts = Vec::new();
    let entries =
        fs::read_dir(&dir).with_context(|| format!("failed to read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            hosts.push(path);
        }
    }
    hosts.sort();
    write_file(&dir.join("README.md"), page(&hosts)?)
}

fn page(hosts: &[std::path::PathBuf]) -> Result<String> {
    let header = [
        "machine",
        "commit",
        "GRU, ms",
        "GRU bf16, ms",
        "PRL, ms",
        "PRL bf16, ms",
        "SASRec PRL, ms",
        "ranked/s, GRU",
        "product, GFLOP/s",
        "matrix, h",
        "pages",
    ];
    let mut rows = Vec::new();
    for host in hosts {
        let name = host
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let lines = lines(&host.join("steps.jsonl"))?;
        let step = |encoder, method, is_bf16| {
            let line = find(&lines, encoder, method, is_bf16);
            line.map_or(f64::NAN, |line| number(&line["step_ms_median"]))
        };
        // A step on a GPU takes about a millisecond.
        let decimals = if name.starts_with("nvidia") { 3 } else { 1 };
        let mut cells = vec![name.clone(), commit(&host.join("steps.md"))];
        for (encoder, method, is_bf16) in [
            ("gru", "normal", false),
            ("gru", "normal", true),
            ("gru", "prl", false),
            ("gru", "prl", true),
            ("sasrec", "prl", false),
        ] {
            cells.push(cell(step(encoder, method, is_bf16), decimals));
        }
        let gru = find(&lines, "gru", "normal", false);
        let ranked = gru.map_or(f64::NAN, |line| number(&line["eval_events_per_s"]));
        cells.push(cell(ranked, 0));
        let mut product = f64::NAN;
        for line in &lines {
            product = product.max(number(&line["product_gflops"]));
        }
        cells.push(cell(product, 0));
        cells.push(cell(matrix_cost::hours(&lines).unwrap_or(f64::NAN), 1));
        cells.push(links(host, &name));
        rows.push(cells);
    }
    Ok(format!(
        "# Benches, a folder a machine\n\n\
         Milliseconds a training step at {ITEMS} items (batch 256, window length 10, hidden size 64, fp32 \
         or with the output layer in bfloat16), events ranked a second, and hours of the paper's matrix of 150 runs in fp32 from these \
         times. Machines are not compared \
         with each other here but listed side by side; each page names its commit, and a page of one \
         machine never replaces that of another. `cargo xtask bench` writes the folder of the machine \
         that it runs on.\n\n{}",
        markdown_table(&header, 2, &rows)
    ))
}

/// Raw lines of a file; none if there is no such file.
fn lines(path: &Path) -> Result<Vec<Value>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            jsonl::parse(&text).with_context(|| format!("failed to read {}", path.display()))
        }
        Err(_) => Ok(Vec::new()),
    }
}

fn find<'a>(lines: &'a [Value], encoder: &str, method: &str, is_bf16: bool) -> Option<&'a Value> {
    lines.iter().find(|line| {
        line["encoder"] == encoder
            && line["method"] == method
            && line["items"] == ITEMS
            && (line["bf16_head"] == true) == is_bf16
            && line["recipe"] != "modern"
            && line["without_matrix_engine"] != true
    })
}

/// Commit that a page names.
fn commit(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap_or_default();
    let commit = text
        .lines()
        .find_map(|line| line.strip_prefix("- commit: "));
    commit.unwrap_or("-").to_owned()
}

fn links(host: &Path, name: &str) -> String {
    let mut links = Vec::new();
    for (file, title) in PAGES {
        if host.join(file).with_extension("md").exists() {
            links.push(format!("[{title}]({name}/{file}.md)"));
        }
    }
    links.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn machines_are_listed_with_figures_commit_and_pages() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("amd-epyc");
        fs::create_dir(&host).unwrap();
        let line = |method: &str, is_bf16: bool, ms: f64| {
            json!({"encoder": "gru", "method": method, "items": ITEMS, "bf16_head": is_bf16,
                   "step_ms_median": ms, "eval_events_per_s": 5e4, "product_gflops": 200.0})
        };
        let mut without_engine = line("normal", true, 50.0);
        without_engine["without_matrix_engine"] = true.into();
        let with_engine = line("normal", true, 30.0);
        let raw = [line("normal", false, 40.0), without_engine, with_engine];
        fs::write(host.join("steps.jsonl"), jsonl::to_text(&raw)).unwrap();
        fs::write(host.join("steps.md"), "# Steps\n\n- commit: abc\n").unwrap();
        let page = page(&[host]).unwrap();
        let row = "| amd-epyc | abc | 40.0 | 30.0 | - | - | - | 50000 | 200 | - | [steps and \
                   ranking](amd-epyc/steps.md) |";
        assert!(page.contains(row), "{page}");
    }
}
