//! Metrics at any cutoff k: HR@k, NDCG@k, MRR@k, precision@k, and coverage of the lists.
//!
//! A case has one relevant item, its target, so recall@k equals HR@k and precision@k is HR@k / k.

use std::collections::BTreeMap;
use std::fmt;

use prl_dataset::Kind;
use serde::{Deserialize, Serialize};

use crate::bootstrap::resample;
use crate::error::Error;
use crate::interval::{Interval, wilson};
use crate::metric::{Case, discounted_hit, hit};
use crate::recommended::Recommended;
use crate::scores::ranks;

/// Values by name, such as `MRR@20`; `None` for a kind without cases.
pub type Named<T> = BTreeMap<String, Option<T>>;

/// Metrics at the requested cutoffs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cutoffs {
    /// The cutoffs, ascending.
    pub k: Vec<u32>,
    /// Purchases only.
    pub purchase: Named<f64>,
    /// Clicks only.
    pub click: Named<f64>,
    /// All events.
    pub all: Named<f64>,
    /// 95% intervals of these metrics.
    pub intervals: CutoffIntervals,
    /// `coverage@k`, the share of all items that occur in the top k of some case, and
    /// `mean_popularity@k`, the mean number of training events of the items in these lists.
    #[serde(flatten)]
    pub lists: Named<f64>,
}

/// 95% intervals: Wilson score for HR and precision, bootstrap over sessions for NDCG and MRR.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CutoffIntervals {
    /// Purchases only.
    pub purchase: Named<Interval>,
    /// Clicks only.
    pub click: Named<Interval>,
    /// All events.
    pub all: Named<Interval>,
}

impl Cutoffs {
    /// Metrics of `cases` `[N]` of `sessions` `[N]` at the cutoffs `k`, in any order; `seed` is
    /// that of the bootstrap.
    ///
    /// # Errors
    /// [`Error::RankZero`] if a rank is 0.
    pub fn new(
        k: &[u32],
        cases: &[Case],
        sessions: &[u32],
        recommended: Option<&Recommended>,
        seed: u64,
    ) -> Result<Self, Error> {
        if let Some(case) = cases.iter().position(|case| case.rank == 0) {
            return Err(Error::RankZero { case });
        }
        let mut k = k.to_vec();
        k.sort_unstable();
        k.dedup();
        let mut all = Self {
            k,
            ..Self::default()
        };
        for kind in [Some(Kind::Purchase), Some(Kind::Click), None] {
            let mut values = Named::new();
            let mut intervals = Named::new();
            let mut chosen = Vec::new();
            for (case, &session) in cases.iter().zip(sessions) {
                if case.is_of(kind) {
                    chosen.push((session, case.rank));
                }
            }
            chosen.sort_unstable();
            let ranks = ranks(cases, kind);
            for &k in &all.k {
                add_values(&mut values, &ranks, k);
                add_intervals(&mut intervals, &chosen, k, seed);
            }
            match kind {
                Some(Kind::Purchase) => {
                    (all.purchase, all.intervals.purchase) = (values, intervals)
                }
                Some(Kind::Click) => (all.click, all.intervals.click) = (values, intervals),
                None => (all.all, all.intervals.all) = (values, intervals),
            }
        }
        for &k in &all.k {
            let (coverage, popularity) = match recommended {
                Some(lists) => (lists.coverage(k), lists.mean_popularity(k)),
                None => (None, None),
            };
            all.lists.insert(format!("coverage@{k}"), coverage);
            all.lists.insert(format!("mean_popularity@{k}"), popularity);
        }
        Ok(all)
    }
}

/// Number of cases, hits, and the sums of the gains of NDCG@k and MRR@k.
type Sums = [f64; 4];

fn sums(ranks: impl IntoIterator<Item = u32>, k: u32) -> Sums {
    let mut sums = [0.0; 4];
    for rank in ranks {
        sums[0] += 1.0;
        sums[1] += hit(rank, k);
        sums[2] += discounted_hit(rank, k);
        if rank <= k {
            sums[3] += 1.0 / f64::from(rank);
        }
    }
    sums
}

/// Adds the metrics at `k` of ascending `ranks`.
fn add_values(values: &mut Named<f64>, ranks: &[u32], k: u32) {
    let [n, hits, dcg, reciprocal] = sums(ranks.iter().copied(), k);
    let mean = |sum: f64| (n > 0.0).then_some(sum / n);
    values.insert(format!("HR@{k}"), mean(hits));
    values.insert(format!("NDCG@{k}"), mean(dcg));
    values.insert(format!("MRR@{k}"), mean(reciprocal));
    values.insert(format!("precision@{k}"), mean(hits / f64::from(k)));
}

/// Adds the intervals at `k` of cases `(session, rank)`, ascending.
fn add_intervals(intervals: &mut Named<Interval>, cases: &[(u32, u32)], k: u32, seed: u64) {
    let mut by_session = Vec::new();
    let mut hits = 0;
    for session in cases.chunk_by(|a, b| a.0 == b.0) {
        let sums = sums(session.iter().map(|case| case.1), k);
        hits += sums[1] as u64;
        by_session.push(sums);
    }
    let (mut dcg, mut reciprocal) = (Vec::new(), Vec::new());
    for [n, _, dcg_sum, reciprocal_sum] in resample(&by_session, seed) {
        dcg.push(dcg_sum / n);
        reciprocal.push(reciprocal_sum / n);
    }
    let share = wilson(hits, cases.len() as u64);
    let scale = f64::from(k);
    let precision = share.map(|share| Interval {
        lo: share.lo / scale,
        hi: share.hi / scale,
    });
    intervals.insert(format!("HR@{k}"), share);
    intervals.insert(format!("NDCG@{k}"), Interval::percentile(dcg));
    intervals.insert(format!("MRR@{k}"), Interval::percentile(reciprocal));
    intervals.insert(format!("precision@{k}"), precision);
}

/// Names of the metrics of a kind, in the order of the table's columns.
const COLUMNS: [&str; 4] = ["HR", "NDCG", "MRR", "precision"];
/// Names of the metrics of the lists.
const LIST_COLUMNS: [&str; 2] = ["coverage", "mean_popularity"];

impl fmt::Display for Cutoffs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10}{:>5}", "", "k")?;
        for name in COLUMNS {
            write!(f, "{name:>11}")?;
        }
        writeln!(f, "{:>11}{:>17}", LIST_COLUMNS[0], "mean popularity")?;
        let kinds = [
            ("purchase", &self.purchase),
            ("click", &self.click),
            ("all", &self.all),
        ];
        for (kind, values) in kinds {
            for k in &self.k {
                write!(f, "{kind:10}{k:5}")?;
                for name in COLUMNS {
                    number(f, values.get(&format!("{name}@{k}")), (11, 4))?;
                }
                if kind == "all" {
                    for (name, width) in LIST_COLUMNS.into_iter().zip([(11, 4), (17, 1)]) {
                        number(f, self.lists.get(&format!("{name}@{k}")), width)?;
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// Writes a value with a width and a number of decimals, or `-` if it is undefined.
fn number(
    f: &mut fmt::Formatter<'_>,
    value: Option<&Option<f64>>,
    (width, decimals): (usize, usize),
) -> fmt::Result {
    match value {
        Some(Some(value)) => write!(f, "{value:width$.decimals$}"),
        _ => write!(f, "{:>width$}", "-"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metric::NOT_RANKED;

    fn click(rank: u32) -> Case {
        Case {
            kind: Kind::Click,
            rank,
        }
    }

    fn measure(k: &[u32], cases: &[Case]) -> Cutoffs {
        let sessions: Vec<u32> = (0..cases.len() as u32).collect();
        Cutoffs::new(k, cases, &sessions, None, 1).unwrap()
    }

    /// Ranks 1, 3, 4 and a target that is not ranked: at k = 3 two hits, 1/1 + 1/3 of reciprocal
    /// rank and 1 + 1/2 of discounted gain over four cases.
    #[test]
    fn metrics_at_k_match_hand_computation() {
        let cases = [click(4), click(1), click(NOT_RANKED), click(3)];
        let found = measure(&[3, 1, 3], &cases);
        assert_eq!(found.k, [1, 3]);
        assert_eq!(found.all["HR@3"], Some(0.5));
        assert_eq!(found.all["NDCG@3"], Some(1.5 / 4.0));
        assert_eq!(found.all["MRR@3"], Some((1.0 + 1.0 / 3.0) / 4.0));
        assert_eq!(found.all["precision@3"], Some(0.5 / 3.0));
        assert_eq!(found.all["HR@1"], Some(0.25));
        assert_eq!(found.all["MRR@1"], Some(0.25));
        assert_eq!(found.click, found.all);
        assert_eq!(found.purchase["HR@3"], None);
        let (share, precision) = (
            found.intervals.all["HR@3"].unwrap(),
            found.intervals.all["precision@3"].unwrap(),
        );
        assert_eq!(Some(share), wilson(2, 4));
        assert!((precision.hi - share.hi / 3.0).abs() < 1e-15);
    }

    #[test]
    fn not_ranked_target_is_a_miss_at_the_largest_cutoff() {
        let found = measure(&[u32::MAX - 1], &[click(NOT_RANKED), click(7)]);
        let name = format!("HR@{}", u32::MAX - 1);
        assert_eq!(found.all[&name], Some(0.5));
    }

    #[test]
    fn rank_zero_is_refused() {
        let found = Cutoffs::new(&[5], &[click(0)], &[0], None, 1);
        assert_eq!(found, Err(Error::RankZero { case: 0 }));
    }

    #[test]
    fn table_has_a_row_for_each_kind_and_cutoff() {
        let table = measure(&[1, 20], &[click(1), click(2)]).to_string();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0][..5], ["k", "HR", "NDCG", "MRR", "precision"]);
        assert_eq!(rows[1], ["purchase", "1", "-", "-", "-", "-"]);
        assert_eq!(
            rows[6],
            [
                "all", "20", "1.0000", "0.8155", "0.7500", "0.0500", "-", "-"
            ]
        );
        assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    }

    proptest! {
        /// Against the definitions over the list that a rank stands for: position `rank` holds the
        /// one relevant item.
        #[test]
        fn metrics_at_k_match_the_definitions(
            ranks in prop::collection::vec(1_u32..30, 1..40),
            k in 1_u32..25,
        ) {
            let cases: Vec<Case> = ranks.iter().map(|&rank| click(rank)).collect();
            let found = measure(&[k], &cases);
            let (mut hits, mut dcg, mut reciprocal, mut precision) = (0.0, 0.0, 0.0, 0.0);
            for &rank in &ranks {
                let relevant: Vec<bool> = (1..=k).map(|place| place == rank).collect();
                let found = relevant.iter().filter(|&&is_target| is_target).count() as f64;
                hits += found;
                precision += found / f64::from(k);
                for (place, &is_target) in (1..).zip(&relevant) {
                    if is_target {
                        dcg += 2f64.ln() / f64::ln(f64::from(place) + 1.0);
                        reciprocal += 1.0 / f64::from(place);
                    }
                }
            }
            let n = ranks.len() as f64;
            for (name, expected) in [
                ("HR", hits), ("NDCG", dcg), ("MRR", reciprocal), ("precision", precision),
            ] {
                let value = found.all[&format!("{name}@{k}")].unwrap();
                prop_assert!((value - expected / n).abs() < 1e-12, "{name}: {value}");
            }
        }
    }
}
