//! Metrics of a set of cases without intervals, as validation during training computes them.

use prl_dataset::{Kind, Rewards};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::metric::{Case, Metric, PerMetric};

/// Number of cases of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Number of clicks.
    pub click: u64,
    /// Number of purchases.
    pub purchase: u64,
}

/// Metrics, micro-averaged over the cases of a kind; `None` for a kind without cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Number of cases.
    pub events: Events,
    /// Purchases only.
    pub purchase: PerMetric<Option<f64>>,
    /// Clicks only.
    pub click: PerMetric<Option<f64>>,
    /// All events.
    pub all: PerMetric<Option<f64>>,
    /// Undiscounted sum of the rewards of the events whose item has rank 1 (paper, Figures 4 and
    /// 5).
    #[serde(rename = "reward@1")]
    pub reward_at_1: f64,
}

impl Scores {
    /// Computes the metrics of `cases` `[N]`, in any order.
    ///
    /// # Errors
    /// [`Error::RankZero`] if a rank is 0.
    pub fn new(cases: &[Case], rewards: Rewards) -> Result<Self, Error> {
        if let Some(case) = cases.iter().position(|case| case.rank == 0) {
            return Err(Error::RankZero { case });
        }
        let (click, purchase) = (
            ranks(cases, Some(Kind::Click)),
            ranks(cases, Some(Kind::Purchase)),
        );
        Ok(Self {
            events: Events {
                click: click.len() as u64,
                purchase: purchase.len() as u64,
            },
            purchase: means(&purchase),
            click: means(&click),
            all: means(&ranks(cases, None)),
            reward_at_1: rewards.click * count_first(&click)
                + rewards.purchase * count_first(&purchase),
        })
    }
}

/// Ranks of one kind, or of all, ascending: sums in this order do not depend on the order of the
/// cases.
pub(crate) fn ranks(cases: &[Case], kind: Option<Kind>) -> Vec<u32> {
    let mut ranks = Vec::new();
    for case in cases {
        if case.is_of(kind) {
            ranks.push(case.rank);
        }
    }
    ranks.sort_unstable();
    ranks
}

/// Number of leading ones in ascending ranks.
fn count_first(ranks: &[u32]) -> f64 {
    ranks.partition_point(|&rank| rank == 1) as f64
}

fn means(ranks: &[u32]) -> PerMetric<Option<f64>> {
    PerMetric::from_fn(|metric| mean(ranks, metric))
}

fn mean(ranks: &[u32], metric: Metric) -> Option<f64> {
    if ranks.is_empty() {
        return None;
    }
    let mut sum = 0.0;
    for &rank in ranks {
        sum += metric.gain(rank);
    }
    Some(sum / ranks.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn click(rank: u32) -> Case {
        Case {
            kind: Kind::Click,
            rank,
        }
    }

    fn purchase(rank: u32) -> Case {
        Case {
            kind: Kind::Purchase,
            rank,
        }
    }

    #[test]
    fn scores_match_hand_computation() {
        let cases = [click(1), purchase(3), click(7), purchase(1), click(25)];
        let found = Scores::new(
            &cases,
            Rewards {
                click: 0.2,
                purchase: 1.0,
            },
        )
        .unwrap();
        assert_eq!(
            found.events,
            Events {
                click: 3,
                purchase: 2
            }
        );
        assert_eq!(found.purchase.hr5, Some(1.0));
        assert_eq!(found.purchase.ndcg5, Some(0.75), "(1 + 1/2) / 2");
        assert_eq!(found.purchase.mrr, Some((1.0 + 1.0 / 3.0) / 2.0));
        assert_eq!(found.click.hr5, Some(1.0 / 3.0));
        assert_eq!(found.click.hr20, Some(2.0 / 3.0));
        assert_eq!(found.click.ndcg10, Some((1.0 + 1.0 / 3.0) / 3.0));
        assert_eq!(found.all.hr10, Some(0.8));
        assert_eq!(found.reward_at_1, 1.2);
    }

    #[test]
    fn a_kind_without_events_has_no_metrics() {
        let found = Scores::new(&[click(1)], Rewards::default()).unwrap();
        assert_eq!(found.purchase, PerMetric::default());
        assert_eq!(found.click.hr5, Some(1.0));
        let none = Scores::new(&[], Rewards::default()).unwrap();
        assert_eq!((none.all, none.reward_at_1), (PerMetric::default(), 0.0));
    }

    #[test]
    fn scores_rank_zero_is_refused() {
        let found = Scores::new(&[click(2), click(0)], Rewards::default());
        assert_eq!(found, Err(Error::RankZero { case: 1 }));
    }

    fn cases() -> impl Strategy<Value = Vec<Case>> {
        let case = (any::<bool>(), 1u32..40)
            .prop_map(|(bought, rank)| if bought { purchase(rank) } else { click(rank) });
        prop::collection::vec(case, 0..60)
    }

    /// HR@k and NDCG@k by their definitions.
    fn by_definition(cases: &[Case], kind: Kind, k: u32) -> (Option<f64>, Option<f64>) {
        let (mut n, mut hits, mut dcg) = (0.0, 0.0, 0.0);
        for case in cases.iter().filter(|case| case.kind == kind) {
            n += 1.0;
            if case.rank <= k {
                hits += 1.0;
                dcg += 2f64.ln() / f64::from(case.rank + 1).ln();
            }
        }
        if n > 0.0 {
            (Some(hits / n), Some(dcg / n))
        } else {
            (None, None)
        }
    }

    proptest! {
        #[test]
        fn scores_match_the_definitions(cases in cases()) {
            let found = Scores::new(&cases, Rewards { click: 0.2, purchase: 1.0 }).unwrap();
            for (kind, values) in [(Kind::Click, found.click), (Kind::Purchase, found.purchase)] {
                for (k, hr, ndcg) in [
                    (5, values.hr5, values.ndcg5),
                    (10, values.hr10, values.ndcg10),
                    (20, values.hr20, values.ndcg20),
                ] {
                    let expected = by_definition(&cases, kind, k);
                    prop_assert_eq!(hr, expected.0);
                    prop_assert_eq!(ndcg.is_some(), expected.1.is_some());
                    prop_assert!((ndcg.unwrap_or(0.0) - expected.1.unwrap_or(0.0)).abs() < 1e-12);
                }
            }
        }

        #[test]
        fn scores_are_independent_of_the_order_of_cases((one, other) in cases().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle()))) {
            let measure = |cases: &[Case]| Scores::new(cases, Rewards::default());
            prop_assert_eq!(measure(&one), measure(&other));
        }
    }
}
