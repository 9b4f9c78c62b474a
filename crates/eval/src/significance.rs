//! Is one system better than another? A paired test over the same cases.
//!
//! The events of one session are not independent, so the session is the unit. If the systems are exchangeable, swapping
//! them in any set of sessions, which flips the sign of those sessions' differences, is as likely as what was observed: the
//! p-value is the share of random sign patterns at least as extreme (P. I. Good, Permutation, Parametric, and Bootstrap
//! Tests of Hypotheses, 2005). The interval is the cluster bootstrap's. Both speak of the test cases, not of other seeds
//! of training; runs of several seeds are averaged case by case first.

use prl_dataset::Kind;
use rand::RngCore;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bootstrap::resample;
use crate::error::Error;
use crate::interval::Interval;
use crate::metric::{Case, Metric};

/// The number of random sign patterns; the least possible p-value is one over one more than this.
pub const PERMUTATIONS: usize = 9_999;

/// How system `a` differs from system `b`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The metric of `a` less that of `b`.
    pub difference: f64,
    /// Its 95% interval; `None` from fewer than two sessions.
    pub interval: Option<Interval>,
    /// The chance of a difference at least this large, either way, were the systems alike.
    pub p_value: f64,
}

/// Compares two systems on the same cases by `metric`, over the events of one `kind` or, with `None`, of both.
///
/// `a` and `b` hold the runs of each, every run `[N]` in the same order as `sessions` `[N]`; one run each is the plain case.
/// `None` if there is no run or no event to compare on.
///
/// # Errors
/// If a run is not of the sessions' length, has a rank 0, or differs from another in the kind of a case.
///
/// ```
/// # use {prl_eval::{Case, Metric, compare}, prl_dataset::Kind::Click};
/// let ours = [1, 2, 9].map(|rank| Case { kind: Click, rank });
/// let theirs = [1, 8, 9].map(|rank| Case { kind: Click, rank });
/// let found = compare(&[&ours], &[&theirs], &[0, 1, 2], Some(Click), Metric::Hr5, 1)?;
/// assert_eq!(found.map(|found| found.difference), Some(1.0 / 3.0));
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
    let gain = |runs: &[&[Case]], i: usize| {
        runs.iter().map(|run| metric.gain(run[i].rank)).sum::<f64>() / runs.len() as f64
    };
    let chosen = (0..sessions.len()).filter(|&i| kind.is_none_or(|kind| first[i].kind == kind));
    let mut differences: Vec<(u32, f64)> = chosen
        .map(|i| (sessions[i], gain(a, i) - gain(b, i)))
        .collect();
    if differences.is_empty() {
        return Ok(None);
    }
    // Sorted to the last bit, so that sums do not depend on the order of the cases.
    differences.sort_unstable_by(|x, y| x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)));
    let by_session: Vec<[f64; 2]> = differences
        .chunk_by(|x, y| x.0 == y.0)
        .map(|session| {
            [
                session.len() as f64,
                session.iter().map(|case| case.1).sum(),
            ]
        })
        .collect();
    let draws = resample(&by_session, seed)
        .into_iter()
        .map(|[n, sum]| sum / n)
        .collect();
    let sums: Vec<f64> = by_session.iter().map(|session| session[1]).collect();
    Ok(Some(Comparison {
        difference: sums.iter().sum::<f64>() / differences.len() as f64,
        interval: Interval::percentile(draws),
        p_value: sign_flip(&sums, PERMUTATIONS, seed),
    }))
}

/// That all runs are over the same cases.
fn check<'a>(
    mut runs: impl Iterator<Item = &'a &'a [Case]> + Clone,
    cases: usize,
) -> Result<(), Error> {
    if let Some(run) = runs.clone().find(|run| run.len() != cases) {
        return Err(Error::Length {
            what: "ranks of a run",
            found: run.len(),
            expected: cases,
            cases,
        });
    }
    if let Some(case) = runs
        .clone()
        .find_map(|run| run.iter().position(|case| case.rank == 0))
    {
        return Err(Error::RankZero { case });
    }
    let Some(first) = runs.next() else {
        return Ok(());
    };
    let differs = |run: &&[Case]| first.iter().zip(*run).position(|(x, y)| x.kind != y.kind);
    runs.find_map(differs)
        .map_or(Ok(()), |case| Err(Error::Unpaired { case }))
}

/// The two-sided p-value of the sum of `differences` under random signs, what was observed counted as one of the patterns.
fn sign_flip(differences: &[f64], permutations: usize, seed: u64) -> f64 {
    // A difference of zero has no sign; most sessions are ranked alike by two good systems.
    let differences: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    // Patterns that tie with the observed one in exact arithmetic must not fall below it by rounding.
    let bar = differences.iter().sum::<f64>().abs() * (1.0 - 1e-9);
    let extreme = |i: &u64| {
        let mut rng = prl_seed::stream(seed, "sign-flip", *i);
        let mut total = 0.0;
        for block in differences.chunks(64) {
            let signs = rng.next_u64();
            // The sign bit is set without a branch, which a random bit would mispredict half the time.
            total += block
                .iter()
                .enumerate()
                .map(|(i, d)| f64::from_bits(d.to_bits() ^ (signs >> i << 63)))
                .sum::<f64>();
        }
        f64::abs(total) >= bar
    };
    let count = (0..permutations as u64)
        .into_par_iter()
        .filter(extreme)
        .count();
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

    /// One run each, one case a session unless told.
    fn by_hr5(a: &[Case], b: &[Case], sessions: &[u32]) -> Comparison {
        compare(&[a], &[b], sessions, Some(Kind::Click), Metric::Hr5, 7)
            .unwrap()
            .unwrap()
    }

    /// Five sessions, all won: of the 2^5 sign patterns only two are as extreme.
    #[test]
    fn p_value_of_five_wins() {
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

    /// Eight wins and two losses are the sign test: p = 2 (1 + 10 + 45) / 1024 = .109, wherever the systems tie beside them.
    #[test]
    fn p_value_of_the_sign_test() {
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
    fn a_system_does_not_differ_from_itself() {
        let ranks = clicks(1..50);
        let found = by_hr5(&ranks, &ranks, &(0..49).collect::<Vec<_>>());
        assert_eq!((found.difference, found.p_value), (0.0, 1.0));
    }

    /// Under the null hypothesis one p-value in ten is at most .1.
    #[test]
    fn level_is_kept() {
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

    /// One session that wins a hundred times is one win, not a hundred.
    #[test]
    fn the_session_is_the_unit() {
        let found = by_hr5(&clicks([1; 100]), &clicks([9; 100]), &[0; 100]);
        assert_eq!(
            (found.difference, found.interval, found.p_value),
            (1.0, None, 1.0)
        );
    }

    #[test]
    fn several_runs_are_averaged() {
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
    fn other_cases_are_refused() {
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
