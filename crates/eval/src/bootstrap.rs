//! Cluster bootstrap: confidence intervals of means over events grouped in sessions.
//!
//! Events of one session are not independent, so whole sessions are drawn with replacement, as many
//! as there are; a mean is the sum of gains of the drawn sessions over their number of events. The
//! sums of each session are computed once, so a draw costs a few additions. Draw `i` is a pure
//! function of `(seed, i)` and independent of the number of threads.
//!
//! Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and
//! 13 (percentile interval).

use rand::Rng;
use rayon::prelude::*;

use crate::interval::{Interval, wilson};
use crate::metric::{Metric, PerMetric};

/// Number of bootstrap resamples.
pub const RESAMPLES: usize = 1_000;

/// Metrics that are not proportions: their intervals are bootstrapped.
const MEANS: [Metric; 4] = [Metric::Ndcg5, Metric::Ndcg10, Metric::Ndcg20, Metric::Mrr];

/// Intervals of all metrics over cases `(session, rank)`, in any order: Wilson score intervals for
/// HR, bootstrap intervals for the others. The latter need at least two sessions.
pub(crate) fn intervals(mut cases: Vec<(u32, u32)>, seed: u64) -> PerMetric<Option<Interval>> {
    cases.sort_unstable();
    let sessions: Vec<_> = cases.chunk_by(|a, b| a.0 == b.0).map(sums).collect();
    let draws = resample(&sessions, seed);
    let interval = |metric: Metric| match MEANS.iter().position(|&mean| mean == metric) {
        Some(i) => bootstrap_interval(&draws, i),
        None => hit_interval(&cases, metric),
    };
    PerMetric::from_fn(interval)
}

/// Percentile interval of `MEANS[i]` from the sums of the draws.
fn bootstrap_interval(draws: &[Sums], i: usize) -> Option<Interval> {
    let mut means = Vec::with_capacity(draws.len());
    for [n, gains @ ..] in draws {
        means.push(gains[i] / n);
    }
    Interval::percentile(means)
}

/// Bootstrap interval of a ratio: the sum of the first numbers of the sessions over that of the
/// second ones. Sessions whose second number is 0 count for nothing; `None` if fewer than two are
/// left.
pub fn ratio_interval(sessions: &[[f64; 2]], seed: u64) -> Option<Interval> {
    let counted: Vec<[f64; 2]> = sessions.iter().copied().filter(|s| s[1] > 0.0).collect();
    let mut ratios = Vec::with_capacity(RESAMPLES);
    for [sum, of] in resample(&counted, seed) {
        ratios.push(sum / of);
    }
    Interval::percentile(ratios)
}

/// Wilson score interval of a proportion of hits.
fn hit_interval(cases: &[(u32, u32)], metric: Metric) -> Option<Interval> {
    let mut hits = 0;
    for &(_, rank) in cases {
        hits += u64::from(metric.gain(rank) > 0.0);
    }
    wilson(hits, cases.len() as u64)
}

/// Number of cases, then the sum of gains of each of the [`MEANS`].
type Sums = [f64; 1 + MEANS.len()];

fn sums(session: &[(u32, u32)]) -> Sums {
    let mut sums = [0.0; 1 + MEANS.len()];
    sums[0] = session.len() as f64;
    for &(_, rank) in session {
        for (sum, metric) in sums[1..].iter_mut().zip(MEANS) {
            *sum += metric.gain(rank);
        }
    }
    sums
}

/// Element-wise sums of [`RESAMPLES`] draws of as many sessions as there are; empty for fewer than
/// two sessions.
pub(crate) fn resample<const W: usize>(sessions: &[[f64; W]], seed: u64) -> Vec<[f64; W]> {
    if sessions.len() < 2 {
        return Vec::new();
    }
    let draw = |i| {
        let mut rng = prl_seed::stream(seed, "bootstrap", i);
        let mut total = [0.0; W];
        for _ in 0..sessions.len() {
            let drawn = &sessions[rng.random_range(0..sessions.len())];
            for (total, value) in total.iter_mut().zip(drawn) {
                *total += value;
            }
        }
        total
    };
    (0..RESAMPLES as u64).into_par_iter().map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` sessions of one case each, half of them with rank 1 and half with rank 1000.
    fn coin(n: u32) -> Vec<(u32, u32)> {
        (0..n)
            .map(|session| (session, if session % 2 == 0 { 1 } else { 1000 }))
            .collect()
    }

    /// Asserts an interval of `mean` +- 1.96 `error`. An end taken from 1,000 draws is itself
    /// uncertain by 4.3% of the half width (the 2.5% quantile's standard error is sqrt(.025 x .975
    /// / 1,000) / .0584 = .085 errors): three times that passes.
    fn assert_normal(found: Option<Interval>, mean: f64, error: f64) {
        let (found, half) = (found.unwrap(), 1.96 * error);
        assert!(
            (found.lo - (mean - half)).abs() < 0.13 * half,
            "{found:?}, not {mean} +- {half}"
        );
        assert!(
            (found.hi - (mean + half)).abs() < 0.13 * half,
            "{found:?}, not {mean} +- {half}"
        );
    }

    /// The mean of n independent 0/1 gains has standard error sqrt(p (1 - p) / n).
    #[test]
    fn bootstrap_independent_cases_have_the_binomial_interval() {
        assert_normal(
            intervals(coin(10_000), 1).ndcg5,
            0.5,
            (0.25f64 / 10_000.0).sqrt(),
        );
    }

    /// With sessions of unequal size the mean is a ratio, whose standard error is sqrt(sum of (s_i
    /// - m n_i)^2) / N for sums s_i, sizes n_i and the mean m (linearised).
    #[test]
    fn bootstrap_unequal_sessions_have_the_ratio_estimator_interval() {
        let session =
            |i: u32| (0..1 + i % 9).map(move |_| (i, if i.is_multiple_of(3) { 1 } else { 1000 }));
        let cases: Vec<_> = (0..4_000).flat_map(session).collect();
        let n = cases.len() as f64;
        let mean = cases.iter().filter(|case| case.1 == 1).count() as f64 / n;
        let residuals = cases
            .chunk_by(|a, b| a.0 == b.0)
            .map(sums)
            .map(|s| s[3] - mean * s[0]);
        let error = residuals.map(|r| r * r).sum::<f64>().sqrt() / n;
        assert!(
            error > 2.0 * (mean * (1.0 - mean) / n).sqrt(),
            "sessions matter here"
        );
        assert_normal(intervals(cases, 2).ndcg20, mean, error);
    }

    #[test]
    fn bootstrap_repeated_events_leave_the_interval_unchanged() {
        let once = intervals(coin(200), 3);
        let thrice = intervals(
            coin(200).into_iter().flat_map(|case| [case; 3]).collect(),
            3,
        );
        assert_eq!(once.ndcg5, thrice.ndcg5);
        assert!(
            thrice.hr5.unwrap().lo > once.hr5.unwrap().lo,
            "which Wilson's does not see"
        );
    }

    /// Two sessions with gains 0 and 1: a draw's mean is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4.
    #[test]
    fn resample_draws_two_sessions_with_equal_probability() {
        let draws = resample(&[[0.0], [1.0]], 4);
        let share =
            |sum: f64| draws.iter().filter(|draw| draw[0] == sum).count() as f64 / RESAMPLES as f64;
        assert!(
            (share(0.0) - 0.25).abs() < 0.05
                && (share(1.0) - 0.5).abs() < 0.05
                && (share(2.0) - 0.25).abs() < 0.05
        );
        assert_eq!(
            intervals(coin(2), 4).mrr,
            Some(Interval { lo: 0.001, hi: 1.0 })
        );
    }

    #[test]
    fn bootstrap_single_session_has_no_interval() {
        let one = intervals(vec![(5, 1), (5, 2)], 0);
        assert_eq!((one.ndcg5, one.mrr), (None, None));
        assert!(one.hr5.is_some());
        assert_eq!(intervals(Vec::new(), 0), PerMetric::default());
    }
}
