//! Report of an evaluation, as `prl evaluate --json` prints it and the result tables read it.

use prl_dataset::{Kind, Rewards};
use serde::{Deserialize, Serialize};

use crate::bootstrap::intervals;
use crate::conventions::{CaseSplit, Conventions, OtherLog};
use crate::cutoffs::Cutoffs;
use crate::error::Error;
use crate::interval::Interval;
use crate::metric::{Case, PerMetric};
use crate::recommended::{Recommended, TOP};
use crate::scores::Scores;

/// Evaluated split and prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Split of the cases.
    pub split: CaseSplit,
    /// Hash of the prepared dataset.
    pub dataset: String,
    /// Mean of the inference prompt; `None` for a method without a prompt.
    pub mu: Option<f64>,
    /// Standard deviation of the inference prompt.
    pub eps: Option<f64>,
    /// Complete prompt as given by the caller; `None` for a method without a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<serde_json::Value>,
    /// Rewards used in reward@1.
    pub rewards: Rewards,
    /// Seed of the bootstrap.
    pub interval_seed: u64,
    /// Which events are cases, and which items are ranked.
    #[serde(default)]
    pub conventions: Conventions,
    /// The log, if it is not the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_log: Option<OtherLog>,
}

/// Rule for equal scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TieRule {
    /// Equal scores count against the target. The only rule.
    #[default]
    Pessimistic,
}

/// 95% intervals: Wilson score for HR, bootstrap over sessions for NDCG and MRR; `None` without
/// enough cases or sessions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Purchases only.
    pub purchase: PerMetric<Option<Interval>>,
    /// Clicks only.
    pub click: PerMetric<Option<Interval>>,
    /// All events.
    pub all: PerMetric<Option<Interval>>,
}

/// Metrics of one system on one split. [`Display`](std::fmt::Display) formats a table for
/// terminals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Evaluated split and prompt.
    #[serde(flatten)]
    pub setting: Setting,
    /// Metrics.
    #[serde(flatten)]
    pub scores: Scores,
    /// Intervals of the metrics.
    pub intervals: Intervals,
    /// Share of all items that occur in the top 20 of some case; `None` without lists.
    #[serde(rename = "coverage@20")]
    pub coverage_at_20: Option<f64>,
    /// Mean number of training events of the items in the top-20 lists.
    #[serde(rename = "mean_popularity@20")]
    pub mean_popularity_at_20: Option<f64>,
    /// Rule for equal scores.
    pub tie_rule: TieRule,
    /// Metrics at the requested cutoffs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_k: Option<Cutoffs>,
    /// Ranked cases per second, set by the caller if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<f64>,
}

impl Report {
    /// Computes the report of `cases` `[N]`, in any order; `sessions` `[N]` holds the session
    /// number of each case.
    ///
    /// # Errors
    /// [`Error`] if the arrays differ in length or a rank is 0.
    pub fn new(
        setting: Setting,
        cases: &[Case],
        sessions: &[u32],
        recommended: Option<&Recommended>,
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
        let scores = Scores::new(cases, setting.rewards)?;
        let (mut coverage_at_20, mut mean_popularity_at_20) = (None, None);
        if let Some(lists) = recommended {
            if lists.len() != cases.len() {
                let (found, expected) = (lists.len(), cases.len());
                return Err(Error::Length {
                    what: "recommended lists",
                    found,
                    expected,
                    cases: expected,
                });
            }
            coverage_at_20 = lists.coverage(TOP as u32);
            mean_popularity_at_20 = lists.mean_popularity(TOP as u32);
        }
        let over = |kind: Option<Kind>| {
            let mut chosen = Vec::new();
            for (case, &session) in cases.iter().zip(sessions) {
                if case.is_of(kind) {
                    chosen.push((session, case.rank));
                }
            }
            intervals(chosen, setting.interval_seed)
        };
        Ok(Self {
            scores,
            intervals: Intervals {
                purchase: over(Some(Kind::Purchase)),
                click: over(Some(Kind::Click)),
                all: over(None),
            },
            coverage_at_20,
            mean_popularity_at_20,
            tie_rule: TieRule::Pessimistic,
            at_k: None,
            events_per_second: None,
            setting,
        })
    }
}
