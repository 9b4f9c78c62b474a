//! What a prepared dataset looks like: Table 1, session lengths, popularity, repeats, and what leaks between the splits.
//!
//! Everything is counted from the mapped arrays. Beside them this takes 8 bytes a session and 8 bytes an item, never a copy of
//! the log.

mod display;
mod leaks;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataset::Dataset;
use crate::manifest::{Counts, DatasetCounts};

pub use leaks::{DuplicateSessions, Leaks, Overlap};

/// The shares of the items whose part of the events the popularity curve gives.
const TOPS: [f64; 5] = [0.01, 0.05, 0.10, 0.20, 0.50];
/// Where the bins of the length histogram begin; the last is open.
const BINS: [u64; 7] = [1, 2, 3, 5, 10, 20, 51];

/// What `prl inspect` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Audit {
    /// The dataset's hash.
    pub dataset: String,
    /// The kind of its source.
    pub source: String,
    /// Made by `prl synth`, not by people.
    pub synthetic: bool,
    /// Table 1 before and after the length filter, and the rows left out.
    pub counts: DatasetCounts,
    /// Sessions with a target in each split, and those targets.
    pub splits: BTreeMap<String, Counts>,
    /// Events per session.
    pub lengths: Lengths,
    /// How the events spread over the items.
    pub popularity: Popularity,
    /// The share of events whose item occurred earlier in their session.
    pub repeat_share: f64,
    /// What one split tells of another.
    pub leaks: Leaks,
}

/// Events per session. Quantiles are nearest ranks: the smallest length that at least that share of the sessions does not
/// exceed. All is 0 without sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// The shortest.
    pub min: u64,
    /// Half the sessions are no longer.
    pub median: u64,
    /// The mean.
    pub mean: f64,
    /// Nine in ten are no longer.
    pub p90: u64,
    /// Ninety-nine in a hundred are no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// Sessions by length, in bins of growing width.
    pub histogram: Vec<Bin>,
}

/// One bar of the length histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// The shortest length in it.
    pub from: u64,
    /// The longest; `None` for the last bin.
    pub to: Option<u64>,
    /// Its sessions.
    pub sessions: u64,
}

/// How the events spread over the items that occur.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Popularity {
    /// What the most popular items take.
    pub top: Vec<TopShare>,
    /// The Gini coefficient of events per item: 0 when all items are alike, near 1 when a few take all.
    pub gini: f64,
}

/// The part of the events on the most popular items.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TopShare {
    /// The share of the items, most popular first (rounded up to whole items).
    pub items: f64,
    /// The share of the events on them.
    pub events: f64,
}

impl Audit {
    /// Counts everything: one pass for each of lengths, popularity and repeats, three for the leaks.
    pub fn new(data: &Dataset) -> Self {
        let manifest = data.manifest();
        Self {
            dataset: manifest.dataset.clone(),
            source: manifest.input.source.kind.clone(),
            synthetic: manifest.input.source.synthetic,
            counts: manifest.input.counts.clone(),
            splits: manifest.splits.clone(),
            lengths: Lengths::new(data),
            popularity: Popularity::new(data),
            repeat_share: repeat_share(data),
            leaks: Leaks::new(data),
        }
    }
}

impl Lengths {
    fn new(data: &Dataset) -> Self {
        let mut lengths: Vec<u64> = data.sessions().map(|s| s.len() as u64).collect();
        lengths.sort_unstable();
        let bin = |n: usize| {
            let (from, next) = (BINS[n], BINS.get(n + 1).copied());
            let below = |bound: u64| lengths.partition_point(|&l| l < bound);
            let sessions = (next.map_or(lengths.len(), below) - below(from)) as u64;
            Bin {
                from,
                to: next.map(|n| n - 1),
                sessions,
            }
        };
        let quantile = |q: f64| {
            let rank = (q * lengths.len() as f64).ceil() as usize;
            lengths.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            min: lengths.first().copied().unwrap_or(0),
            median: quantile(0.5),
            mean: share(data.item_indices().len(), lengths.len()),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: lengths.last().copied().unwrap_or(0),
            histogram: (0..BINS.len()).map(bin).collect(),
        }
    }
}

impl Popularity {
    fn new(data: &Dataset) -> Self {
        let mut counts = vec![0u64; data.items().len()];
        data.item_indices()
            .iter()
            .for_each(|&i| counts[i as usize] += 1);
        counts.retain(|&c| c > 0);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let events = data.item_indices().len();
        let top = |items: f64| {
            let first = (items * counts.len() as f64).ceil() as usize;
            TopShare {
                items,
                events: share(counts[..first].iter().sum::<u64>() as usize, events),
            }
        };
        // Over counts in descending order: sum of (n + 1 - 2 rank) count, over n times the events.
        let n = counts.len() as f64;
        let spread: f64 = (1..)
            .zip(&counts)
            .map(|(rank, &c)| (n + 1.0 - 2.0 * f64::from(rank)) * c as f64)
            .sum();
        let gini = if events == 0 {
            0.0
        } else {
            spread / (n * events as f64)
        };
        Self {
            top: TOPS.map(top).to_vec(),
            gini,
        }
    }
}

fn repeat_share(data: &Dataset) -> f64 {
    let items = data.item_indices();
    // For each item the last session that had it, counted from one.
    let mut last = vec![0usize; data.items().len()];
    let mut repeats = 0;
    for (number, session) in (1..).zip(data.sessions()) {
        for &item in &items[session] {
            repeats += usize::from(std::mem::replace(&mut last[item as usize], number) == number);
        }
    }
    share(repeats, items.len())
}

/// A part of a whole; 0 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests;
