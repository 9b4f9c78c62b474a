//! Most frequent items of the training split, the same list for every session.

use std::ops::Range;

use prl_dataset::Dataset;

use crate::{Baseline, training_sessions};

/// Scores each item by its number of training events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popularity {
    counts: Vec<u32>,
}

impl Popularity {
    /// Counts the training events of each item.
    pub fn fit(data: &Dataset) -> Self {
        Self::fit_to(data, &training_sessions(data))
    }

    /// Counts the events in these ranges.
    pub fn fit_to(data: &Dataset, sessions: &[Range<usize>]) -> Self {
        let items = data.item_indices();
        let mut counts = vec![0_u32; data.items().len()];
        for session in sessions {
            for &item in &items[session.clone()] {
                counts[item as usize] = counts[item as usize].saturating_add(1);
            }
        }
        Self { counts }
    }

    /// Restores the baseline from saved counts.
    pub fn from_counts(counts: Vec<u32>) -> Self {
        Self { counts }
    }

    /// Number of training events of each item.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }
}

/// Divides by the sum, if it is positive.
pub(crate) fn normalise(weights: &mut [f64]) {
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        for weight in weights {
            *weight /= sum;
        }
    }
}

impl Baseline for Popularity {
    fn scores(&self, _: &[u32]) -> Vec<f32> {
        self.counts.iter().map(|&n| n as f32).collect()
    }

    /// (n + 1) / sum of (n + 1), so that an item without training events has a probability too.
    fn probabilities(&self, _: &[u32]) -> Vec<f64> {
        let mut all: Vec<f64> = self.counts.iter().map(|&n| f64::from(n) + 1.0).collect();
        normalise(&mut all);
        all
    }
}
