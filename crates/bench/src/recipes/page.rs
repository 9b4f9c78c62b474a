//! The page of the recipes.

use std::path::Path;

use anyhow::{Context, Result};
use prl_bench::jsonl::{cell, number};
use prl_dataset::Kind;
use prl_eval::{Case, Comparison, Metric, compare};
use prl_experiments::Machine;
use prl_experiments::cases::Cases;
use prl_experiments::significance::holm;
use prl_report::markdown_table;
use serde_json::Value;

use crate::cells::provenance;

use super::{LOGS, Log, REFERENCE, SYSTEMS, dir_of, folder};

/// Seed of the tests' random signs.
const TEST_SEED: u64 = 1;
/// Level of the tests.
const LEVEL: f64 = 0.05;

/// A column of the tables.
type Column = (Kind, Metric);

const CLICKS: [Column; 2] = [(Kind::Click, Metric::Hr20), (Kind::Click, Metric::Ndcg20)];
const ALL: [Column; 4] = [
    CLICKS[0],
    CLICKS[1],
    (Kind::Purchase, Metric::Hr5),
    (Kind::Purchase, Metric::Hr20),
];

fn title((kind, metric): Column) -> String {
    format!("{} {}", kind.name(), metric.name())
}

/// Columns that a log can show.
fn columns(log: &Log) -> &'static [Column] {
    if log.name == "retailrocket-slice" {
        &CLICKS
    } else {
        &ALL
    }
}

/// The page of these cells, whose cases lie under `dir`.
pub fn page(lines: &[Value], dir: &Path, machine: &Machine) -> Result<String> {
    let mut page = format!(
        "# The two recipes on two real logs\n\n\
         Test split, every event a case, all items ranked, ties against the target. Means over \
         the splits and seeds that the table names, weights selected on the validation split. \
         `modern` and `paper` are the recipes with the default flags of `prl train`; the recipe \
         paper is validated after every pass, for 10 epochs at most. The blend is of `core` and \
         GRU (normal, modern) and the tuned session-kNN, its weights chosen on the validation \
         split. Seconds are of one training on one thread beside another. [Raw \
         lines](cells.jsonl), a cell each.\n\n{}",
        provenance(machine, lines)
    );
    for log in &LOGS {
        let mut of_log = Vec::new();
        for line in lines {
            if line["log"] == log.name {
                of_log.push(line);
            }
        }
        if of_log.is_empty() {
            continue;
        }
        page += &format!("\n## {}\n\n{}\n\n", log.title, log.note);
        page += &table(log, &of_log);
        page += &tests(log, &of_log, dir)?;
    }
    Ok(page + "\n```sh\ncargo xtask bench recipes      # a finished cell is not repeated\n```\n")
}

/// Cells of a system.
fn of_system<'a>(lines: &[&'a Value], system: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    for &line in lines {
        if line["system"] == system {
            found.push(line);
        }
    }
    found
}

fn table(log: &Log, lines: &[&Value]) -> String {
    let mut header = vec![String::new()];
    header.extend(columns(log).iter().map(|&column| title(column)));
    header.extend(["splits x seeds", "seconds"].map(str::to_owned));
    let mut rows = Vec::new();
    for system in &SYSTEMS {
        let lines = of_system(lines, system.name);
        if lines.is_empty() {
            continue;
        }
        let mut row = vec![system.name.to_owned()];
        for (kind, metric) in columns(log) {
            let mut sum = 0.0;
            for line in &lines {
                sum += number(&line[kind.name()][metric.name()]);
            }
            row.push(cell(sum / lines.len() as f64, 4));
        }
        row.push(extent(&lines));
        let mut seconds = 0.0;
        for line in &lines {
            seconds += number(&line["seconds"]);
        }
        row.push(cell(seconds / lines.len() as f64, 0));
        rows.push(row);
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    markdown_table(&header, 1, &rows)
}

/// Number of splits and seeds of these cells.
fn extent(lines: &[&Value]) -> String {
    let distinct = |key: &str| {
        let mut values = Vec::new();
        for line in lines {
            values.push(line[key].as_u64());
        }
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    format!("{} x {}", distinct("split"), distinct("seed"))
}

/// Paired tests of the modern systems against the reference, Holm-corrected over the log's tests.
fn tests(log: &Log, lines: &[&Value], dir: &Path) -> Result<String> {
    let mut splits: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["split"].as_u64())
        .collect();
    splits.sort_unstable();
    splits.dedup();
    let mut tested: Vec<(String, Column, Comparison)> = Vec::new();
    for split in splits {
        let of_split: Vec<&Value> = lines
            .iter()
            .filter(|line| line["split"] == split)
            .copied()
            .collect();
        let reference = cases(log, &of_split, REFERENCE, split, dir)?;
        for system in &SYSTEMS {
            let cases = cases(log, &of_split, system.name, split, dir)?;
            if !is_tested(system.name) || cases.is_empty() || reference.is_empty() {
                continue;
            }
            for &column in columns(log) {
                let runs = |cases: &'_ [Cases]| -> Vec<Vec<Case>> {
                    cases.iter().map(|run| run.cases.clone()).collect()
                };
                let (a, b) = (runs(&cases), runs(&reference));
                let a: Vec<&[Case]> = a.iter().map(Vec::as_slice).collect();
                let b: Vec<&[Case]> = b.iter().map(Vec::as_slice).collect();
                let (kind, metric) = column;
                let sessions = &reference[0].sessions;
                let result = compare(&a, &b, sessions, Some(kind), metric, TEST_SEED)?;
                if let Some(result) = result {
                    tested.push((format!("{}, split {split}", system.name), column, result));
                }
            }
        }
    }
    let mut p_values = Vec::new();
    for (_, _, result) in &tested {
        p_values.push(result.p_value);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut below = 0;
    for ((name, _, result), p) in tested.iter().zip(holm(&p_values)) {
        let mut text = format!("{:+.4}", result.difference);
        if p < LEVEL {
            text.push('*');
            below += usize::from(result.difference < 0.0);
        }
        match rows.last_mut() {
            Some(row) if row[0] == *name => row.push(text),
            _ => rows.push(vec![name.clone(), text]),
        }
    }
    if rows.is_empty() {
        return Ok(String::new());
    }
    let mut header = vec![format!("minus {REFERENCE}")];
    header.extend(columns(log).iter().map(|&column| title(column)));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    Ok(format!(
        "\nDifferences to {REFERENCE}, seeds averaged case by case; a star: p < {LEVEL} in a paired \
         permutation test over sessions, Holm-corrected over this table. Significantly below: \
         {below}.\n\n{}",
        markdown_table(&header, 1, &rows)
    ))
}

/// Whether a system is tested against the reference.
fn is_tested(system: &str) -> bool {
    system.ends_with("modern") || system == super::BLEND
}

/// Cases of each seed of a system.
fn cases(log: &Log, lines: &[&Value], system: &str, split: u64, dir: &Path) -> Result<Vec<Cases>> {
    let mut all = Vec::new();
    for line in of_system(lines, system) {
        let seed = line["seed"].as_u64().context("a cell without a seed")?;
        let path = dir_of(dir, log, split)
            .join(folder(system, seed))
            .join("cases.csv");
        all.push(Cases::read(&path)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table_has_the_means_over_splits_and_seeds() {
        let line = |split: u64, seed: u64, hr: f64| {
            json!({"log": "retailrocket-week", "split": split, "seed": seed, "seconds": 2.0,
                "system": "core, normal, modern", "click": {"HR@20": hr, "NDCG@20": 0.5},
                "purchase": {"HR@5": 0.75, "HR@20": 1.0}})
        };
        let lines = [line(0, 0, 0.25), line(1, 0, 0.75)];
        let lines: Vec<&Value> = lines.iter().collect();
        let table = table(&LOGS[1], &lines);
        let row = "| core, normal, modern | 0.5000 | 0.5000 | 0.7500 | 1.0000 | 2 x 1 | 2 |";
        assert!(table.contains(row), "{table}");
        assert!(title(ALL[2]) == "purchase HR@5" && columns(&LOGS[0]).len() == 2);
    }
}
