//! The metrics of a set of cases, without intervals: what validation during training needs.

use prl_dataset::{Kind, Rewards};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::metric::{Case, Metric, PerMetric};

/// How many cases there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Clicks.
    pub click: u64,
    /// Purchases.
    pub purchase: u64,
}

/// The metrics, micro-averaged over the cases of a kind; `None` for a kind without a case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The number of cases.
    pub events: Events,
    /// Over purchases.
    pub purchase: PerMetric<Option<f64>>,
    /// Over clicks.
    pub click: PerMetric<Option<f64>>,
    /// Over both together.
    pub all: PerMetric<Option<f64>>,
    /// The sum of the rewards of the events whose item is ranked first, undiscounted (paper, Figures 4 and 5).
    #[serde(rename = "reward@1")]
    pub reward_at_1: f64,
}

impl Scores {
    /// Measures `cases` `[N]`, in any order.
    ///
    /// # Errors
    /// [`Error::RankZero`] if a rank counts from 0.
    pub fn of(cases: &[Case], rewards: Rewards) -> Result<Self, Error> {
        if let Some(case) = cases.iter().position(|case| case.rank == 0) {
            return Err(Error::RankZero { case });
        }
        let (click, purchase) = (
            ranks(cases, Some(Kind::Click)),
            ranks(cases, Some(Kind::Purchase)),
        );
        let firsts = |ranks: &[u32]| ranks.partition_point(|&rank| rank == 1) as f64;
        Ok(Self {
            events: Events {
                click: click.len() as u64,
                purchase: purchase.len() as u64,
            },
            purchase: means(&purchase),
            click: means(&click),
            all: means(&ranks(cases, None)),
            reward_at_1: rewards.click * firsts(&click) + rewards.purchase * firsts(&purchase),
        })
    }
}

/// The ranks of one kind, or of all, ascending: summed in this order, they give one result whatever the order of the cases.
fn ranks(cases: &[Case], kind: Option<Kind>) -> Vec<u32> {
    let chosen = cases
        .iter()
        .filter(|case| kind.is_none_or(|kind| case.kind == kind));
    let mut ranks: Vec<u32> = chosen.map(|case| case.rank).collect();
    ranks.sort_unstable();
    ranks
}

fn means(ranks: &[u32]) -> PerMetric<Option<f64>> {
    let mean = |metric: Metric| {
        ranks.iter().map(|&rank| metric.gain(rank)).sum::<f64>() / ranks.len() as f64
    };
    PerMetric::from_fn(|metric| (!ranks.is_empty()).then(|| mean(metric)))
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
    fn by_hand() {
        let cases = [click(1), purchase(3), click(7), purchase(1), click(25)];
        let found = Scores::of(
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
        let found = Scores::of(&[click(1)], Rewards::default()).unwrap();
        assert_eq!(found.purchase, PerMetric::default());
        assert_eq!(found.click.hr5, Some(1.0));
        let none = Scores::of(&[], Rewards::default()).unwrap();
        assert_eq!((none.all, none.reward_at_1), (PerMetric::default(), 0.0));
    }

    #[test]
    fn rank_zero_is_refused() {
        let found = Scores::of(&[click(2), click(0)], Rewards::default());
        assert_eq!(found, Err(Error::RankZero { case: 1 }));
    }

    fn cases() -> impl Strategy<Value = Vec<Case>> {
        let case = (any::<bool>(), 1u32..40)
            .prop_map(|(bought, rank)| if bought { purchase(rank) } else { click(rank) });
        prop::collection::vec(case, 0..60)
    }

    /// HR@k and NDCG@k by their definitions.
    fn plain(cases: &[Case], kind: Kind, k: u32) -> (Option<f64>, Option<f64>) {
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
        fn agrees_with_the_definitions(cases in cases()) {
            let found = Scores::of(&cases, Rewards { click: 0.2, purchase: 1.0 }).unwrap();
            for (kind, values) in [(Kind::Click, found.click), (Kind::Purchase, found.purchase)] {
                for (k, hr, ndcg) in [
                    (5, values.hr5, values.ndcg5),
                    (10, values.hr10, values.ndcg10),
                    (20, values.hr20, values.ndcg20),
                ] {
                    let expected = plain(&cases, kind, k);
                    prop_assert_eq!(hr, expected.0);
                    prop_assert_eq!(ndcg.is_some(), expected.1.is_some());
                    prop_assert!((ndcg.unwrap_or(0.0) - expected.1.unwrap_or(0.0)).abs() < 1e-12);
                }
            }
        }

        #[test]
        fn the_order_of_cases_is_nothing((one, other) in cases().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle()))) {
            let measure = |cases: &[Case]| Scores::of(cases, Rewards::default());
            prop_assert_eq!(measure(&one), measure(&other));
        }
    }
}
