//! Ranking metrics HR@k, NDCG@k and MRR: each is the mean of a gain over cases.

use std::fmt;

use prl_dataset::Kind;
use serde::{Deserialize, Serialize};

/// Rank of a target that is not ranked: left out by a convention, or unknown to the model. A miss
/// at every cutoff, with a reciprocal rank of 0.
pub const NOT_RANKED: u32 = u32::MAX;

/// One test case: an event and the rank that a model gave its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Kind of the event.
    pub kind: Kind,
    /// [Pessimistic rank](crate::pessimistic_rank) of the event's item among the ranked items, from
    /// 1, or [`NOT_RANKED`].
    pub rank: u32,
}

impl Case {
    /// Whether the event is of this kind; always true for `None`, which stands for all kinds.
    pub(crate) fn is_of(&self, kind: Option<Kind>) -> bool {
        match kind {
            Some(kind) => self.kind == kind,
            None => true,
        }
    }
}

/// Ranking metric, in the column order of the paper's tables, then MRR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Metric {
    Hr5,
    Ndcg5,
    Hr10,
    Ndcg10,
    Hr20,
    Ndcg20,
    Mrr,
}

impl Metric {
    /// All metrics, in order.
    pub const ALL: [Metric; 7] = [
        Metric::Hr5,
        Metric::Ndcg5,
        Metric::Hr10,
        Metric::Ndcg10,
        Metric::Hr20,
        Metric::Ndcg20,
        Metric::Mrr,
    ];

    /// Gain of one case with this rank: for HR@k 1 if rank <= k; for NDCG@k 1 / log2(rank + 1) if
    /// rank <= k, as the ideal DCG of one relevant item is 1; for MRR 1 / rank without a cutoff. 0
    /// if the rank is [`NOT_RANKED`].
    pub fn gain(self, rank: u32) -> f64 {
        match self {
            Metric::Hr5 => hit(rank, 5),
            Metric::Ndcg5 => discounted_hit(rank, 5),
            Metric::Hr10 => hit(rank, 10),
            Metric::Ndcg10 => discounted_hit(rank, 10),
            Metric::Hr20 => hit(rank, 20),
            Metric::Ndcg20 => discounted_hit(rank, 20),
            Metric::Mrr if rank == NOT_RANKED => 0.0,
            Metric::Mrr => 1.0 / f64::from(rank),
        }
    }

    /// Whether every gain is 0 or 1, so that the mean is a proportion.
    pub fn is_share(self) -> bool {
        matches!(self, Metric::Hr5 | Metric::Hr10 | Metric::Hr20)
    }

    /// Name in reports: `HR@5`, `NDCG@5`, ..., `MRR`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Hr5 => "HR@5",
            Metric::Ndcg5 => "NDCG@5",
            Metric::Hr10 => "HR@10",
            Metric::Ndcg10 => "NDCG@10",
            Metric::Hr20 => "HR@20",
            Metric::Ndcg20 => "NDCG@20",
            Metric::Mrr => "MRR",
        }
    }
}

pub(crate) fn hit(rank: u32, k: u32) -> f64 {
    if rank <= k { 1.0 } else { 0.0 }
}

pub(crate) fn discounted_hit(rank: u32, k: u32) -> f64 {
    if rank <= k {
        1.0 / f64::from(rank + 1).log2()
    } else {
        0.0
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One value for each [`Metric`], keyed by its name in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PerMetric<T> {
    #[serde(rename = "HR@5")]
    pub hr5: T,
    #[serde(rename = "NDCG@5")]
    pub ndcg5: T,
    #[serde(rename = "HR@10")]
    pub hr10: T,
    #[serde(rename = "NDCG@10")]
    pub ndcg10: T,
    #[serde(rename = "HR@20")]
    pub hr20: T,
    #[serde(rename = "NDCG@20")]
    pub ndcg20: T,
    #[serde(rename = "MRR")]
    pub mrr: T,
}

impl<T> PerMetric<T> {
    /// Calls `value` for each metric, in order.
    pub fn from_fn(mut value: impl FnMut(Metric) -> T) -> Self {
        Self {
            hr5: value(Metric::Hr5),
            ndcg5: value(Metric::Ndcg5),
            hr10: value(Metric::Hr10),
            ndcg10: value(Metric::Ndcg10),
            hr20: value(Metric::Hr20),
            ndcg20: value(Metric::Ndcg20),
            mrr: value(Metric::Mrr),
        }
    }

    /// Value of one metric.
    pub fn get(&self, metric: Metric) -> &T {
        match metric {
            Metric::Hr5 => &self.hr5,
            Metric::Ndcg5 => &self.ndcg5,
            Metric::Hr10 => &self.hr10,
            Metric::Ndcg10 => &self.ndcg10,
            Metric::Hr20 => &self.hr20,
            Metric::Ndcg20 => &self.ndcg20,
            Metric::Mrr => &self.mrr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_match_hand_computation() {
        assert_eq!(Metric::Ndcg5.gain(1), 1.0);
        assert_eq!(Metric::Ndcg5.gain(3), 0.5, "1 / log2(4)");
        assert!(
            (Metric::Ndcg5.gain(5) - 0.386_852_807_234_541_6).abs() < 1e-15,
            "1 / log2(6)"
        );
        assert_eq!(Metric::Ndcg5.gain(6), 0.0);
        assert_eq!(Metric::Ndcg10.gain(7), 1.0 / 3.0, "1 / log2(8)");
        assert_eq!((Metric::Hr10.gain(10), Metric::Hr10.gain(11)), (1.0, 0.0));
        assert_eq!((Metric::Hr20.gain(20), Metric::Hr20.gain(21)), (1.0, 0.0));
        assert_eq!(Metric::Mrr.gain(4), 0.25);
        assert!(Metric::Mrr.gain(NOT_RANKED - 1) > 0.0);
        assert!(
            Metric::ALL
                .iter()
                .all(|metric| metric.gain(NOT_RANKED) == 0.0)
        );
    }

    #[test]
    fn per_metric_maps_each_metric_to_its_field() {
        let names = PerMetric::from_fn(Metric::name);
        assert!(Metric::ALL.iter().all(|&m| *names.get(m) == m.name()));
        let json = serde_json::to_value(names).unwrap();
        assert!(Metric::ALL.iter().all(|&m| json[m.name()] == m.name()));
    }
}
