//! Lock-free histograms of the engine: batch sizes and inference times.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bucket bounds of durations: 100 microseconds to 10 seconds.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Bucket bounds of batch sizes.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Resolution of a histogram's sum, which is a fixed-point number so that adding to it is one
/// atomic instruction.
const PER_UNIT: f64 = 1e6;

/// Histogram with fixed bucket bounds; recording is lock-free.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty histogram with ascending upper bounds; a last, unbounded bucket is added.
    pub fn new(bounds: &'static [f64]) -> Self {
        let mut counts = Vec::new();
        counts.resize_with(bounds.len() + 1, AtomicU64::default);
        Self {
            bounds,
            counts,
            sum: AtomicU64::new(0),
        }
    }

    /// Adds a non-negative value.
    pub fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|&bound| bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum
            .fetch_add((value * PER_UNIT) as u64, Ordering::Relaxed);
    }

    /// Upper bounds (inclusive, the last one infinite) with the number of values in each bucket.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut buckets = Vec::with_capacity(self.counts.len());
        for (i, count) in self.counts.iter().enumerate() {
            let bound = self.bounds.get(i).copied().unwrap_or(f64::INFINITY);
            buckets.push((bound, count.load(Ordering::Relaxed)));
        }
        buckets
    }

    /// Sum of all values, to a resolution of 1e-6.
    pub fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / PER_UNIT
    }
}

/// The engine's histograms.
#[derive(Debug)]
pub struct Stats {
    /// Requests in a batch.
    pub batch_size: Histogram,
    /// Seconds per inference.
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
    fn value_is_counted_in_first_bucket_that_holds_it() {
        let h = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 9.0] {
            h.record(value);
        }
        assert_eq!(h.buckets(), [(1.0, 2), (2.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(h.sum(), 12.0);
    }
}
