//! What the engine counts of itself: histograms that any thread may add to.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of seconds, from 100 microseconds to 10 seconds.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Upper bounds of questions in a batch.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// The sum is kept in millionths.
const MILLION: f64 = 1e6;

/// Counts of values by fixed upper bounds, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    /// Empty, over ascending bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Adds a value that is not negative.
    pub fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|&bound| bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum
            .fetch_add((value * MILLION) as u64, Ordering::Relaxed);
    }

    /// Each bound with the number of values up to it; the last bound is infinite.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let up_to = |(bound, count): (f64, &AtomicU64)| {
            total += count.load(Ordering::Relaxed);
            (bound, total)
        };
        bounds.zip(&self.counts).map(up_to).collect()
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / MILLION
    }
}

/// The engine's histograms.
#[derive(Debug)]
pub struct Stats {
    /// Requests in a batch.
    pub batch_size: Histogram,
    /// Seconds that a batch took.
    pub inference: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            batch_size: Histogram::new(BATCH),
            inference: Histogram::new(SECONDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn values_fall_under_the_first_bound_that_holds_them() {
        let h = Histogram::new(&[1.0, 2.0]);
        [0.5, 1.0, 1.5, 9.0].into_iter().for_each(|v| h.record(v));
        assert_eq!(h.cumulative(), [(1.0, 2), (2.0, 3), (f64::INFINITY, 4)]);
        assert_eq!(h.sum(), 12.0);
    }
}
