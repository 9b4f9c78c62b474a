//! Paired significance test of two systems on the same cases.
//!
//! Events of one session are not independent, so the session is the unit. Under the null hypothesis
//! that the systems are exchangeable, swapping them in any set of sessions, which flips the signs
//! of those sessions' differences, is as likely as the observation: the p-value is the share of
//! random sign patterns that are at least as extreme (P. I. Good, Permutation, Parametric, and
//! Bootstrap Tests of Hypotheses, 2005). The interval is a cluster bootstrap interval. Both
//! describe variation over test cases, not over training seeds; runs of several seeds are averaged
//! per case first.

use prl_dataset::Kind;
use rand::RngCore;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bootstrap::resample;
use crate::error::Error;
use crate::interval::Interval;
use crate::metric::{Case, Metric};

/// Number of random sign patterns P; the smallest possible p-value is 1 / (P + 1).
pub const PERMUTATIONS: usize = 9_999;

/// Difference between two systems `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Metric of `a` minus metric of `b`.
    pub difference: f64,
    /// 95% interval of the difference; `None` for fewer than two sessions.
    pub interval: Option<Interval>,
    /// Two-sided p-value under the null hypothesis that the systems are exchangeable.
    pub p_value: f64,
}

/// Compares two systems on the same cases by `metric`, over the events of one `kind` or, with
/// `None`, over all events.
///
/// `a` and `b` hold the runs of each system (often one), every run `[N]` in the order of `sessions`
/// `[N]`. Returns `None` without runs or without events to compare.
///
/// # Errors
/// [`Error`] if a run and `sessions` differ in length, a rank is 0, or two runs differ in the kind
/// of a case.
///
/// ```
/// use prl_eval::{Case, Kind::Click, Metric, compare};
///
/// let ours = [1, 2, 9].map(|rank| Case { kind: Click, rank });
/// let theirs = [1, 8, 9].map(|rank| Case { kind: Click, rank });
/// let result = compare(&[&ours], &[&theirs], &[0, 1, 2], Some(Click), Metric::Hr5, 1)?;
/// assert_eq!(result.map(|result| result.difference), Some(1.0 / 3.0));
/// # Ok::<(), prl_eval::Error>(())
/// ```
pub fn compare(
    a: &[&[Case]],
    b: &[&[Case]],
    sessions: &[u32],
    kind: Option<Kind>,
    metric: Metric,
    seed: u64,
) -> Result<Option<Comparison>, Error> {
    check(a.iter().chain(b), sessions.len())?;
    let (Some(first), false) = (a.first(), b.is_empty()) else {
        return Ok(None);
    };
    let mut differences = Vec::new();
    for (i, &session) in sessions.iter().enumerate() {
        if first[i].is_of(kind) {
            let difference = mean_gain(a, i, metric) - mean_gain(b, i, metric);
            differences.push((session, difference));
        }
    }
    if differences.is_empty() {
        return Ok(None);
    }
    // A total order on (session, difference) makes the sums independent of the order of the cases.
    differences.sort_unstable_by(|x, y| x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)));
    // Number of cases and sum of differences of each session.
    let (mut by_session, mut sums) = (Vec::new(), Vec::new());
    for session in differences.chunk_by(|x, y| x.0 == y.0) {
        let sum: f64 = session.iter().map(|case| case.1).sum();
        by_session.push([session.len() as f64, sum]);
        sums.push(sum);
    }
    let mut means = Vec::new();
    for [n, sum] in resample(&by_session, seed) {
        means.push(sum / n);
    }
    Ok(Some(Comparison {
        difference: sums.iter().sum::<f64>() / differences.len() as f64,
        interval: Interval::percentile(means),
        p_value: sign_flip(&sums, PERMUTATIONS, seed),
    }))
}

/// Gain of case `i`, averaged over the runs of a system.
fn mean_gain(runs: &[&[Case]], i: usize, metric: Metric) -> f64 {
    let mut sum = 0.0;
    for run in runs {
        sum += metric.gain(run[i].rank);
    }
    sum / runs.len() as f64
}

/// Checks that all runs are over the same cases.
fn check<'a>(
    runs: impl Iterator<Item = &'a &'a [Case]> + Clone,
    cases: usize,
) -> Result<(), Error> {
    for run in runs.clone() {
        if run.len() != cases {
            return Err(Error::Length {
                what: "ranks of a run",
                found: run.len(),
                expected: cases,
                cases,
            });
        }
    }
    for run in runs.clone() {
        if let Some(case) = run.iter().position(|case| case.rank == 0) {
            return Err(Error::RankZero { case });
        }
    }
    let mut first: Option<&[Case]> = None;
    for run in runs {
        let first = *first.get_or_insert(run);
        let differs = first.iter().zip(*run).position(|(x, y)| x.kind != y.kind);
        if let Some(case) = differs {
            return Err(Error::Unpaired { case });
        }
    }
    Ok(())
}

/// Two-sided p-value of the sum of `differences` under random signs; the observation counts as one
/// of the patterns.
fn sign_flip(differences: &[f64], permutations: usize, seed: u64) -> f64 {
    // Zero differences have no sign, and are the majority when two good systems are compared.
    let mut differences = differences.to_vec();
    differences.retain(|&difference| difference != 0.0);
    // The margin keeps patterns that tie in exact arithmetic from falling below by rounding.
    let threshold = differences.iter().sum::<f64>().abs() * (1.0 - 1e-9);
    let extreme = |i: &u64| {
        let mut rng = prl_seed::stream(seed, "sign-flip", *i);
        let mut total = 0.0;
        for block in differences.chunks(64) {
            let signs = rng.next_u64();
            // The sign is flipped by XOR: a branch on a random bit would be mispredicted half the
            // time.
            let mut sum = 0.0;
            for (i, d) in block.iter().enumerate() {
                sum += f64::from_bits(d.to_bits() ^ (signs >> i << 63));
            }
            total += sum;
        }
        f64::abs(total) >= threshold
    };
    let patterns = (0..permutations as u64).into_par_iter();
    let count = patterns.filter(extreme).count();
    (1 + count) as f64 / (1 + permutations) as f64
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    fn clicks(ranks: impl IntoIterator<Item = u32>) -> Vec<Case> {
        ranks
            .into_iter()
            .map(|rank| Case {
                kind: Kind::Click,
                rank,
            })
            .collect()
    }

    /// Comparison of one run each by HR@5 over clicks.
    fn by_hr5(a: &[Case], b: &[Case], sessions: &[u32]) -> Comparison {
        compare(&[a], &[b], sessions, Some(Kind::Click), Metric::Hr5, 7)
            .unwrap()
            .unwrap()
    }

    /// Five sessions, all won: of the 2^5 sign patterns only two are as extreme.
    #[test]
    fn compare_five_wins_has_the_exact_p_value() {
        let found = by_hr5(&clicks([1; 5]), &clicks([9; 5]), &[0, 1, 2, 3, 4]);
        assert_eq!(
            (found.difference, found.interval),
            (1.0, Some(Interval { lo: 1.0, hi: 1.0 }))
        );
        assert!(
            (found.p_value - 2.0 / 32.0).abs() < 0.008,
            "{}",
            found.p_value
        );
    }

    /// Eight wins and two losses are the sign test: p = 2 (1 + 10 + 45) / 1024 = .109, wherever the
    /// systems tie beside them.
    #[test]
    fn compare_wins_and_losses_match_the_sign_test() {
        let a = clicks([1; 8].into_iter().chain([9; 2]).chain([3; 20]));
        let b = clicks([9; 8].into_iter().chain([1; 2]).chain([3; 20]));
        let found = by_hr5(&a, &b, &(0..30).collect::<Vec<_>>());
        assert!((found.difference - 0.2).abs() < 1e-12);
        assert!(
            (found.p_value - 112.0 / 1024.0).abs() < 0.01,
            "{}",
            found.p_value
        );
    }

    #[test]
    fn compare_a_system_with_itself_has_p_value_one() {
        let ranks = clicks(1..50);
        let found = by_hr5(&ranks, &ranks, &(0..49).collect::<Vec<_>>());
        assert_eq!((found.difference, found.p_value), (0.0, 1.0));
    }

    /// Under the null hypothesis one p-value in ten is at most .1.
    #[test]
    fn sign_flip_keeps_its_level() {
        let trials = 1_000;
        let rejects = |trial: &u64| {
            let mut rng = prl_seed::stream(11, "trial", *trial);
            let differences: Vec<f64> = (0..30).map(|_| rng.random_range(-1.0..1.0)).collect();
            sign_flip(&differences, 99, *trial) <= 0.1
        };
        let rejected = (0..trials).filter(rejects).count() as f64 / trials as f64;
        // Three standard errors of the share.
        assert!(
            (rejected - 0.1).abs() < 3.0 * (0.1f64 * 0.9 / trials as f64).sqrt(),
            "{rejected}"
        );
    }

    /// A hundred wins in one session are one independent observation.
    #[test]
    fn compare_uses_the_session_as_the_unit() {
        let found = by_hr5(&clicks([1; 100]), &clicks([9; 100]), &[0; 100]);
        assert_eq!(
            (found.difference, found.interval, found.p_value),
            (1.0, None, 1.0)
        );
    }

    #[test]
    fn compare_averages_several_runs() {
        let (good, bad) = (clicks([1, 1, 1]), clicks([9, 9, 9]));
        let found = compare(&[&good, &bad], &[&bad], &[0, 1, 2], None, Metric::Hr5, 1)
            .unwrap()
            .unwrap();
        assert_eq!(found.difference, 0.5);
        assert_eq!(
            compare(&[], &[&bad], &[0, 1, 2], None, Metric::Hr5, 1),
            Ok(None)
        );
        assert_eq!(
            compare(
                &[&good],
                &[&bad],
                &[0, 1, 2],
                Some(Kind::Purchase),
                Metric::Hr5,
                1
            ),
            Ok(None)
        );
    }

    #[test]
    fn compare_different_cases_are_refused() {
        let (a, mut b) = (clicks([1, 2]), clicks([1, 2]));
        let refused = |b: &[Case]| compare(&[&a], &[b], &[0, 1], None, Metric::Mrr, 1).unwrap_err();
        assert!(matches!(
            refused(&b[..1]),
            Error::Length {
                found: 1,
                expected: 2,
                ..
            }
        ));
        b[1].kind = Kind::Purchase;
        assert_eq!(refused(&b), Error::Unpaired { case: 1 });
        b[1].rank = 0;
        assert_eq!(refused(&b), Error::RankZero { case: 1 });
    }
}
