//! The paper's numbers, Tables 1 to 5; those of Tables 2 to 5 are data files beside the sources.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use prl_dataset::Kind;
use prl_eval::Metric;

use crate::datasets::Counts;
use crate::matrix::System;
use crate::outcome::kind_name;

const TABLES: &str = include_str!("../paper/tables.csv");
const SIGNIFICANCE: &str = include_str!("../paper/significance.csv");

/// Largest difference in HR that counts as reproduced: an independent rerun of the paper's
/// baselines came within it.
pub const TOLERANCE: f64 = 0.02;

/// Table 1: counts of a log.
pub fn counts(log: &str) -> Option<Counts> {
    match log {
        "rc15" => Some(Counts {
            sessions: 200_000,
            items: 26_702,
            clicks: 1_110_965,
            purchases: 43_946,
        }),
        "retailrocket" => Some(Counts {
            sessions: 195_523,
            items: 70_852,
            clicks: 1_176_680,
            purchases: 57_269,
        }),
        _ => None,
    }
}

/// A row of Tables 2 to 5.
#[derive(Clone, Debug)]
pub struct PaperRow {
    /// Number of the table.
    pub table: u32,
    /// Log, as `prl` names it.
    pub log: String,
    /// Encoder, as `prl` names it.
    pub encoder: String,
    /// Method, as `prl` names it.
    pub method: String,
    values: BTreeMap<String, f64>,
    starred: Vec<String>,
}

impl PaperRow {
    /// Whether it is the row of a system.
    pub fn matches(&self, system: &System) -> bool {
        Some(self.encoder.as_str()) == system.encoder
            && self.method == system.method
            && !system.released
    }

    /// Value of a metric of a kind.
    pub fn value(&self, kind: Kind, metric: Metric) -> Option<f64> {
        self.values.get(&column_name(kind, metric)).copied()
    }

    /// Whether the paper stars it: p < 0.1 against the best baseline.
    pub fn is_starred(&self, kind: Kind, metric: Metric) -> bool {
        self.starred.contains(&column_name(kind, metric))
    }
}

/// Name of a metric's column in the data files: `purchase_HR@5`.
pub fn column_name(kind: Kind, metric: Metric) -> String {
    format!("{}_{metric}", kind_name(kind))
}

/// A line of a data file: values by column name.
type Record = BTreeMap<String, String>;

/// Loads all rows of Tables 2 to 5.
///
/// # Errors
/// If a data file is invalid.
pub fn load() -> Result<Vec<PaperRow>> {
    let stars = records(SIGNIFICANCE).context("failed to read significance.csv")?;
    let tables = records(TABLES).context("failed to read tables.csv")?;
    let mut rows = Vec::new();
    for record in &tables {
        let mut values = BTreeMap::new();
        for (name, value) in record {
            if name.contains('@') {
                values.insert(name.clone(), value.parse()?);
            }
        }
        rows.push(PaperRow {
            table: field(record, "table")?.parse()?,
            log: field(record, "dataset")?.to_owned(),
            encoder: field(record, "encoder")?.to_owned(),
            method: field(record, "method")?.replace("w/o", "wo"),
            values,
            starred: starred_columns(&stars, record),
        });
    }
    Ok(rows)
}

fn field<'a>(record: &'a Record, name: &str) -> Result<&'a str> {
    let value = record.get(name);
    value
        .map(String::as_str)
        .with_context(|| format!("tables.csv has no column {name}"))
}

/// Names of the starred columns of a row of the tables.
fn starred_columns(stars: &[Record], row: &Record) -> Vec<String> {
    const KEYS: [&str; 4] = ["table", "dataset", "encoder", "method"];
    for record in stars {
        if KEYS.iter().all(|&key| record.get(key) == row.get(key)) {
            let names = record.get("starred_metrics").map_or("", String::as_str);
            return names.split(' ').map(str::to_owned).collect();
        }
    }
    Vec::new()
}

fn records(text: &str) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for record in csv::Reader::from_reader(text.as_bytes()).deserialize() {
        records.push(record?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_of_the_paper_are_loaded() {
        let rows = load().unwrap();
        assert_eq!(
            [2, 3, 4, 5].map(|n| rows.iter().filter(|row| row.table == n).count()),
            [16, 16, 6, 6]
        );
        let row = rows
            .iter()
            .find(|r| r.table == 2 && r.encoder == "gru" && r.method == "prl")
            .unwrap();
        assert_eq!(row.value(Kind::Purchase, Metric::Hr5), Some(0.4514));
        assert_eq!(row.value(Kind::Click, Metric::Ndcg20), Some(0.2598));
        assert!(
            row.is_starred(Kind::Purchase, Metric::Hr5)
                && !row.is_starred(Kind::Click, Metric::Hr5)
        );
        assert!(rows.iter().any(|r| r.table == 5 && r.method == "prl-wo"));
    }
}
