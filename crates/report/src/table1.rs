//! Table 1: counts of the datasets, beside the paper's.

use prl_experiments::datasets::Counts;
use prl_experiments::experiment::Experiment;
use prl_experiments::paper;

/// A row of Table 1.
pub struct CountsRow<'a> {
    /// Title.
    pub title: String,
    /// Hash of the dataset; empty in the paper's row.
    pub hash: &'a str,
    /// Counts.
    pub counts: Counts,
}

impl CountsRow<'_> {
    /// Counts in the order of the columns: sessions, items, clicks, purchases.
    pub fn numbers(&self) -> [u64; 4] {
        let c = self.counts;
        [c.sessions, c.items, c.clicks, c.purchases]
    }
}

/// Rows of Table 1: each dataset before and after the filter of long sessions, and the paper's.
pub fn rows(experiment: &Experiment) -> Vec<CountsRow<'_>> {
    let mut rows = Vec::new();
    for dataset in &experiment.datasets {
        let title = dataset.source.title;
        let hash = dataset.manifest.dataset.as_str();
        let counts = &dataset.manifest.counts;
        rows.push(CountsRow {
            title: format!("{title} ({})", dataset.kind()),
            hash,
            counts: counts.before_length_filter,
        });
        rows.push(CountsRow {
            title: format!("{title}, at most 50 events"),
            hash,
            counts: counts.after_length_filter,
        });
        if let Some(counts) = paper::counts(dataset.source.name) {
            rows.push(CountsRow {
                title: format!("{title}, the paper"),
                hash: "",
                counts,
            });
        }
    }
    rows
}
