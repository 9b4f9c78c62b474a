//! The paper's numbers: its Tables 1 to 5, kept as data in `xtask/paper`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use prl_dataset::Kind;
use prl_eval::Metric;

use crate::datasets::Counts;
use crate::matrix::System;
use crate::outcome::kind_name;

const TABLES: &str = include_str!("../paper/tables.csv");
const SIGNIFICANCE: &str = include_str!("../paper/significance.csv");

/// A difference in HR up to this counts as reproduced: what an independent rerun of the paper's baselines came within.
pub const TOLERANCE: f64 = 0.02;

/// Table 1, by log.
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
    /// The table.
    pub table: u32,
    /// The log, as `prl` names it.
    pub log: String,
    /// The encoder, as `prl` names it.
    pub encoder: String,
    /// The method, as `prl` names it.
    pub method: String,
    values: BTreeMap<String, f64>,
    starred: Vec<String>,
}

impl PaperRow {
    /// Whether it is of this system.
    pub fn is_of(&self, system: &System) -> bool {
        Some(self.encoder.as_str()) == system.encoder
            && self.method == system.method
            && !system.released
    }

    /// A metric of a kind.
    pub fn value(&self, kind: Kind, metric: Metric) -> Option<f64> {
        self.values.get(&column(kind, metric)).copied()
    }

    /// Whether the paper stars it: p < 0.1 against the best baseline.
    pub fn is_starred(&self, kind: Kind, metric: Metric) -> bool {
        self.starred.contains(&column(kind, metric))
    }
}

/// The name of a metric's column.
pub fn column(kind: Kind, metric: Metric) -> String {
    format!("{}_{metric}", kind_name(kind))
}

/// All rows of Tables 2 to 5.
pub fn rows() -> Result<Vec<PaperRow>> {
    let stars = records(SIGNIFICANCE).context("failed to read significance.csv")?;
    let tables = records(TABLES).context("failed to read tables.csv")?;
    let row = |record: BTreeMap<String, String>| {
        let text = |name: &str| {
            record
                .get(name)
                .cloned()
                .with_context(|| format!("tables.csv has no column {name}"))
        };
        let is_same = |other: &&BTreeMap<String, String>| {
            ["table", "dataset", "encoder", "method"]
                .iter()
                .all(|&key| other.get(key) == record.get(key))
        };
        let starred = stars
            .iter()
            .find(is_same)
            .and_then(|stars| stars.get("starred_metrics"));
        let metrics = record.iter().filter(|(name, _)| name.contains('@'));
        Ok(PaperRow {
            table: text("table")?.parse()?,
            log: text("dataset")?,
            encoder: text("encoder")?,
            method: text("method")?.replace("w/o", "wo"),
            values: metrics
                .map(|(name, value)| Ok((name.clone(), value.parse()?)))
                .collect::<Result<_>>()?,
            starred: starred
                .map(|names| names.split(' ').map(str::to_owned).collect())
                .unwrap_or_default(),
        })
    };
    tables.iter().cloned().map(row).collect()
}

fn records(text: &str) -> Result<Vec<BTreeMap<String, String>>> {
    Ok(csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_rows_are_all_there() {
        let rows = rows().unwrap();
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
