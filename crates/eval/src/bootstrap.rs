//! The cluster bootstrap: intervals for means over events that come in sessions.
//!
//! The events of one session are not independent, so whole sessions are drawn with replacement, as many as there are, and
//! a mean is the drawn sessions' sum of gains over their number of events. Each session's sums are taken once, so that a
//! draw costs a few additions. Draw `i` is a pure function of `(seed, i)`: threads change nothing.
//!
//! Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13 (percentile interval).

use rand::Rng;
use rayon::prelude::*;

use crate::interval::{Interval, wilson};
use crate::metric::{Metric, PerMetric};

/// The number of times the sessions are drawn.
pub const RESAMPLES: usize = 1_000;

/// The metrics that are no shares, whose intervals are bootstrapped.
const MEANS: [Metric; 4] = [Metric::Ndcg5, Metric::Ndcg10, Metric::Ndcg20, Metric::Mrr];

/// Intervals of all metrics over cases `(session, rank)`, in any order: Wilson's for HR, the bootstrap's for the others.
/// The latter need two sessions, as one says nothing of how sessions differ.
pub(crate) fn intervals(mut cases: Vec<(u32, u32)>, seed: u64) -> PerMetric<Option<Interval>> {
    cases.sort_unstable();
    let sessions: Vec<_> = cases.chunk_by(|a, b| a.0 == b.0).map(sums).collect();
    let draws = resample(&sessions, seed);
    PerMetric::from_fn(
        |metric| match MEANS.iter().position(|&mean| mean == metric) {
            Some(i) => {
                Interval::percentile(draws.iter().map(|[n, gains @ ..]| gains[i] / n).collect())
            }
            None => wilson(
                cases
                    .iter()
                    .filter(|&&(_, rank)| metric.gain(rank) > 0.0)
                    .count() as u64,
                cases.len() as u64,
            ),
        },
    )
}

/// A session's number of cases, then its sum of each of the [`MEANS`].
fn sums(session: &[(u32, u32)]) -> [f64; 1 + MEANS.len()] {
    std::array::from_fn(|i| match i {
        0 => session.len() as f64,
        _ => session
            .iter()
            .map(|&(_, rank)| MEANS[i - 1].gain(rank))
            .sum(),
    })
}

/// The sums over [`RESAMPLES`] draws of as many sessions as there are; none from fewer than two sessions.
pub(crate) fn resample<const W: usize>(sessions: &[[f64; W]], seed: u64) -> Vec<[f64; W]> {
    if sessions.len() < 2 {
        return Vec::new();
    }
    let draw = |i| {
        let mut rng = prl_seed::stream(seed, "bootstrap", i);
        let mut total = [0.0; W];
        for _ in 0..sessions.len() {
            let drawn = &sessions[rng.random_range(0..sessions.len())];
            total
                .iter_mut()
                .zip(drawn)
                .for_each(|(total, value)| *total += value);
        }
        total
    };
    (0..RESAMPLES as u64).into_par_iter().map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` sessions of one case each, half of them ranked first and half nowhere.
    fn coin(n: u32) -> Vec<(u32, u32)> {
        (0..n)
            .map(|session| (session, if session % 2 == 0 { 1 } else { 1000 }))
            .collect()
    }

    /// Asserts an interval of `mean` +- 1.96 `error`. An end taken from 1,000 draws is itself uncertain by 4.3% of the half
    /// width (the 2.5% quantile's standard error is sqrt(.025 x .975 / 1,000) / .0584 = .085 errors): three times that passes.
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
    fn independent_cases_have_the_binomial_interval() {
        assert_normal(
            intervals(coin(10_000), 1).ndcg5,
            0.5,
            (0.25f64 / 10_000.0).sqrt(),
        );
    }

    /// With sessions of unequal size the mean is a ratio, whose standard error is sqrt(sum of (s_i - m n_i)^2) / N for
    /// sums s_i, sizes n_i and the mean m (linearised).
    #[test]
    fn unequal_sessions_have_the_ratio_estimators_interval() {
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
    fn events_repeated_within_a_session_add_no_certainty() {
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
    fn two_sessions_are_drawn_as_they_should() {
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
    fn one_session_gives_no_bootstrap_interval() {
        let one = intervals(vec![(5, 1), (5, 2)], 0);
        assert_eq!((one.ndcg5, one.mrr), (None, None));
        assert!(one.hr5.is_some());
        assert_eq!(intervals(Vec::new(), 0), PerMetric::default());
    }
}
