//! What a rank is worth: HR@k, NDCG@k and MRR, all of them the mean of a gain over cases.

use std::fmt;

use prl_dataset::Kind;
use serde::{Deserialize, Serialize};

/// One event that was predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The kind of the event.
    pub kind: Kind,
    /// The [pessimistic rank](crate::pessimistic_rank) of its item among all items, from 1.
    pub rank: u32,
}

/// A metric over ranks, in the order of the paper's tables, MRR last.
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
    /// All of them.
    pub const ALL: [Metric; 7] = [
        Metric::Hr5,
        Metric::Ndcg5,
        Metric::Hr10,
        Metric::Ndcg10,
        Metric::Hr20,
        Metric::Ndcg20,
        Metric::Mrr,
    ];

    /// What one case adds to the mean: HR@k counts a rank within k; NDCG@k gives it 1 / log2(rank + 1), the ideal gain
    /// being 1 as each case has one relevant item; MRR is 1 / rank, without a cutoff.
    pub fn gain(self, rank: u32) -> f64 {
        let hit = |k| if rank <= k { 1.0 } else { 0.0 };
        let discounted = |k| {
            if rank <= k {
                1.0 / f64::from(rank + 1).log2()
            } else {
                0.0
            }
        };
        match self {
            Metric::Hr5 => hit(5),
            Metric::Ndcg5 => discounted(5),
            Metric::Hr10 => hit(10),
            Metric::Ndcg10 => discounted(10),
            Metric::Hr20 => hit(20),
            Metric::Ndcg20 => discounted(20),
            Metric::Mrr => 1.0 / f64::from(rank),
        }
    }

    /// Whether every gain is 0 or 1, so that the mean is a share.
    pub fn is_share(self) -> bool {
        matches!(self, Metric::Hr5 | Metric::Hr10 | Metric::Hr20)
    }

    /// As in reports: `HR@5`, `NDCG@5`, ..., `MRR`.
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

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One value for each [`Metric`], under its name in JSON.
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
    /// The value that `value` gives for each metric.
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

    /// The value of one metric.
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
    fn gains_by_hand() {
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
        assert!(Metric::Mrr.gain(u32::MAX) > 0.0);
    }

    #[test]
    fn every_metric_finds_its_own_value() {
        let names = PerMetric::from_fn(Metric::name);
        assert!(Metric::ALL.iter().all(|&m| *names.get(m) == m.name()));
        let json = serde_json::to_value(names).unwrap();
        assert!(Metric::ALL.iter().all(|&m| json[m.name()] == m.name()));
    }
}
