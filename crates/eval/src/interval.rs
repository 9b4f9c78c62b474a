//! 95% confidence intervals, and the Wilson score interval of a proportion.

use serde::{Deserialize, Serialize};

/// 97.5% quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// 95% confidence interval; `[lo, hi]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Lower bound.
    pub lo: f64,
    /// Upper bound.
    pub hi: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([lo, hi]: [f64; 2]) -> Self {
        Self { lo, hi }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.lo, interval.hi]
    }
}

impl Interval {
    /// Central 95% of a sample, linear between order statistics; `None` for an empty sample.
    pub(crate) fn percentile(mut sample: Vec<f64>) -> Option<Self> {
        sample.sort_unstable_by(f64::total_cmp);
        let last = sample.len().checked_sub(1)?;
        let quantile = |q: f64| {
            let at = q * last as f64;
            let below = at.floor() as usize;
            let above = sample[(below + 1).min(last)];
            sample[below] + (at - at.floor()) * (above - sample[below])
        };
        Some(Self {
            lo: quantile(0.025),
            hi: quantile(0.975),
        })
    }
}

/// Wilson score interval of `hits` out of `n`; `None` for `n` = 0. Unlike the normal approximation
/// it stays within \[0, 1\] and keeps its level near the bounds. It assumes independent cases,
/// which the cases of one session are only approximately.
///
/// Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA
/// 22 (1927).
pub fn wilson(hits: u64, n: u64) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let (n, z2) = (n as f64, Z * Z);
    let p = hits as f64 / n;
    let centre = p + z2 / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // Rounding could exceed the bounds of a proportion.
    Some(Interval {
        lo: ((centre - half) / scale).max(0.0),
        hi: ((centre + half) / scale).min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in
    /// Medicine 17 (1998), Table I, method 3 (score, without continuity correction).
    #[test]
    fn wilson_matches_published_values() {
        for (hits, n, lo, hi) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let found = wilson(hits, n).unwrap();
            assert!(
                (found.lo - lo).abs() < 5.1e-5 && (found.hi - hi).abs() < 5.1e-5,
                "{hits}/{n}: {found:?}"
            );
        }
        assert_eq!(wilson(20, 20).unwrap().hi, 1.0);
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn percentile_interpolates_linearly() {
        let sample = (0..=40).rev().map(f64::from).collect();
        assert_eq!(
            Interval::percentile(sample),
            Some(Interval { lo: 1.0, hi: 39.0 })
        );
        assert_eq!(
            Interval::percentile(vec![0.0, 1.0]),
            Some(Interval {
                lo: 0.025,
                hi: 0.975
            })
        );
        assert_eq!(
            Interval::percentile(vec![3.0]),
            Some(Interval { lo: 3.0, hi: 3.0 })
        );
        assert_eq!(Interval::percentile(vec![]), None);
    }
}
