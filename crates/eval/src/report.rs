//! The report of an evaluation: what `prl evaluate --json` prints and the result tables are made of.

use prl_dataset::{Kind, Rewards, Split};
use serde::{Deserialize, Serialize};

use crate::bootstrap::intervals;
use crate::error::Error;
use crate::interval::Interval;
use crate::metric::{Case, PerMetric};
use crate::recommended::Recommended;
use crate::scores::Scores;

/// What was measured, and under which prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The split the cases are from.
    pub split: Split,
    /// The hash of the prepared dataset.
    pub dataset: String,
    /// The mean of the inference prompt; `None` for a method without a prompt.
    pub mu: Option<f64>,
    /// Its standard deviation.
    pub eps: Option<f64>,
    /// The whole prompt, as whoever asked writes it; `None` for a method without a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<serde_json::Value>,
    /// What an event is worth in reward@1.
    pub rewards: Rewards,
    /// The seed of the bootstrap's draws.
    pub interval_seed: u64,
}

/// How equal scores are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TieRule {
    /// They count against the target, the one rule there is.
    #[default]
    Pessimistic,
}

/// 95% intervals: Wilson's for HR, the bootstrap over sessions for NDCG and MRR; `None` where there is too little.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Over purchases.
    pub purchase: PerMetric<Option<Interval>>,
    /// Over clicks.
    pub click: PerMetric<Option<Interval>>,
    /// Over both together.
    pub all: PerMetric<Option<Interval>>,
}

/// The metrics of one system on one split. [`Display`](std::fmt::Display) gives the table for a terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was measured.
    #[serde(flatten)]
    pub setting: Setting,
    /// The metrics.
    #[serde(flatten)]
    pub scores: Scores,
    /// Their intervals.
    pub intervals: Intervals,
    /// The share of all items that are in the top 20 of some case; `None` unless the lists were handed over.
    #[serde(rename = "coverage@20")]
    pub coverage_at_20: Option<f64>,
    /// The mean number of training events of the items in the top 20s.
    #[serde(rename = "mean_popularity@20")]
    pub mean_popularity_at_20: Option<f64>,
    /// How equal scores were ranked.
    pub tie_rule: TieRule,
    /// How fast the cases were ranked, if the caller took the time: nothing here can know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<f64>,
}

impl Report {
    /// Measures `cases` `[N]`, in any order, from `sessions` `[N]`: equal numbers mean one session.
    ///
    /// # Errors
    /// If the arrays are not of one length, a rank is 0, or a recommended item does not exist.
    pub fn new(
        setting: Setting,
        cases: &[Case],
        sessions: &[u32],
        recommended: Option<Recommended<'_>>,
    ) -> Result<Self, Error> {
        if sessions.len() != cases.len() {
            let (found, expected) = (sessions.len(), cases.len());
            return Err(Error::Length {
                what: "sessions",
                found,
                expected,
                cases: expected,
            });
        }
        let scores = Scores::of(cases, setting.rewards)?;
        let lists = recommended
            .map(|lists| lists.coverage_and_popularity(cases.len()))
            .transpose()?
            .flatten();
        let over = |kind: Option<Kind>| {
            let chosen = cases
                .iter()
                .zip(sessions)
                .filter(|(case, _)| kind.is_none_or(|kind| case.kind == kind));
            intervals(
                chosen
                    .map(|(case, &session)| (session, case.rank))
                    .collect(),
                setting.interval_seed,
            )
        };
        Ok(Self {
            scores,
            intervals: Intervals {
                purchase: over(Some(Kind::Purchase)),
                click: over(Some(Kind::Click)),
                all: over(None),
            },
            coverage_at_20: lists.map(|(coverage, _)| coverage),
            mean_popularity_at_20: lists.map(|(_, popularity)| popularity),
            tie_rule: TieRule::Pessimistic,
            events_per_second: None,
            setting,
        })
    }
}
