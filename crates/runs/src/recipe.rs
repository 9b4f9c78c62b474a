//! Recipes: bundles of defaults for training.

use prl_dataset::Kind;
use prl_eval::{Metric, Scores};
use serde::{Deserialize, Serialize};

/// Defaults of the settings; each can be overridden alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// The protocol of the paper.
    #[default]
    Paper,
    /// The best known here: tied cosine scores, a state in the space of the item embeddings, a bias
    /// for the session's own items, early stopping on NDCG@20.
    Modern,
}

impl Recipe {
    /// Every recipe.
    pub const ALL: [Recipe; 2] = [Recipe::Paper, Recipe::Modern];

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Paper => "paper",
            Recipe::Modern => "modern",
        }
    }
}

/// Learning rate over the training steps, after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrSchedule {
    /// Equal at every step.
    #[default]
    Constant,
    /// Half a cosine, from the learning rate to zero at the last step.
    Cosine,
}

impl LrSchedule {
    /// Factor of the learning rate at step `t` (from 1) of `total`, with a linear warm-up over
    /// `warm_up` steps.
    pub fn factor(self, t: u64, warm_up: u64, total: u64) -> f64 {
        if t <= warm_up {
            return t as f64 / warm_up as f64;
        }
        match self {
            LrSchedule::Constant => 1.0,
            LrSchedule::Cosine => {
                let rest = total.saturating_sub(warm_up).max(1) as f64;
                let share = (t - 1 - warm_up) as f64 / rest;
                0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
            }
        }
    }
}

/// Choice of the examples of a training step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Drawn anew at every step, as in the released code: a pass misses a third of the examples.
    #[default]
    Draw,
    /// Passes over all examples, each in an order of its own.
    Pass,
    /// Passes over all sessions: a step has all examples of its sessions and encodes each session
    /// once, at every position. A step is faster; the dropout of the embedded items is drawn once
    /// for all examples of a session, so that a lower rate than for passes over examples is best.
    Session,
}

/// Training sessions that are held out for validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldOutBy {
    /// Drawn by the seed.
    #[default]
    Seed,
    /// Those that begin last.
    Time,
}

impl HoldOutBy {
    /// Whether it is the default, which settings leave out.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Weights of the examples in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossWeighting {
    /// The method's own.
    #[default]
    Method,
    /// One for every example.
    Uniform,
    /// The reward of the example's event.
    Reward,
}

/// Metric that selects the best weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    /// The paper's: HR@5 of purchases, or of clicks in a split without purchases.
    #[default]
    #[serde(rename = "paper")]
    Paper,
    /// NDCG@20 of all events.
    #[serde(rename = "ndcg@20")]
    Ndcg20,
    /// HR@20 of all events.
    #[serde(rename = "hr@20")]
    Hr20,
    /// NDCG@20 of clicks.
    #[serde(rename = "click-ndcg@20")]
    ClickNdcg20,
    /// HR@20 of clicks.
    #[serde(rename = "click-hr@20")]
    ClickHr20,
    /// HR@5 of purchases.
    #[serde(rename = "purchase-hr@5")]
    PurchaseHr5,
    /// NDCG@20 of purchases.
    #[serde(rename = "purchase-ndcg@20")]
    PurchaseNdcg20,
}

impl Selection {
    /// Every metric.
    pub const ALL: [Selection; 7] = [
        Selection::Paper,
        Selection::Ndcg20,
        Selection::Hr20,
        Selection::ClickNdcg20,
        Selection::ClickHr20,
        Selection::PurchaseHr5,
        Selection::PurchaseNdcg20,
    ];
    /// Rank beyond which no metric has a gain.
    pub const MAX_RANK: u32 = 20;

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Selection::Paper => "paper",
            Selection::Ndcg20 => "ndcg@20",
            Selection::Hr20 => "hr@20",
            Selection::ClickNdcg20 => "click-ndcg@20",
            Selection::ClickHr20 => "click-hr@20",
            Selection::PurchaseHr5 => "purchase-hr@5",
            Selection::PurchaseNdcg20 => "purchase-ndcg@20",
        }
    }

    /// Kind of the events that count, all for `None`, and the gain of one; the paper's kind depends
    /// on whether the split has purchases.
    pub fn gain(self, has_purchases: bool) -> (Option<Kind>, Metric) {
        match self {
            Selection::Paper if has_purchases => (Some(Kind::Purchase), Metric::Hr5),
            Selection::Paper => (Some(Kind::Click), Metric::Hr5),
            Selection::Ndcg20 => (None, Metric::Ndcg20),
            Selection::Hr20 => (None, Metric::Hr20),
            Selection::ClickNdcg20 => (Some(Kind::Click), Metric::Ndcg20),
            Selection::ClickHr20 => (Some(Kind::Click), Metric::Hr20),
            Selection::PurchaseHr5 => (Some(Kind::Purchase), Metric::Hr5),
            Selection::PurchaseNdcg20 => (Some(Kind::Purchase), Metric::Ndcg20),
        }
    }

    /// The score to maximise; zero if the split has no event of the kind.
    pub fn score(self, scores: &Scores) -> f64 {
        let score = match self {
            Selection::Paper => scores.purchase.hr5.or(scores.click.hr5),
            Selection::Ndcg20 => scores.all.ndcg20,
            Selection::Hr20 => scores.all.hr20,
            Selection::ClickNdcg20 => scores.click.ndcg20,
            Selection::ClickHr20 => scores.click.hr20,
            Selection::PurchaseHr5 => scores.purchase.hr5,
            Selection::PurchaseNdcg20 => scores.purchase.ndcg20,
        };
        score.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use prl_dataset::{Kind, Rewards};
    use prl_eval::{Case, Scores};

    use super::{LrSchedule, Selection};

    #[test]
    fn selection_gain_has_the_score_of_the_cases() {
        let case = |kind, rank| Case { kind, rank };
        let mut cases = vec![
            case(Kind::Click, 1),
            case(Kind::Click, 6),
            case(Kind::Click, 21),
        ];
        for has_purchases in [false, true] {
            if has_purchases {
                cases.extend([case(Kind::Purchase, 3), case(Kind::Purchase, 7)]);
            }
            let scores = Scores::new(&cases, Rewards::default()).unwrap();
            for select in Selection::ALL {
                let (kind, metric) = select.gain(has_purchases);
                let (mut sum, mut count) = (0.0, 0.0_f64);
                for case in &cases {
                    if kind.is_none_or(|kind| kind == case.kind) {
                        sum += metric.gain(case.rank);
                        count += 1.0;
                    }
                }
                let expected = select.score(&scores);
                assert!(
                    (sum / count.max(1.0) - expected).abs() < 1e-12,
                    "{}",
                    select.name()
                );
                assert_eq!(metric.gain(Selection::MAX_RANK + 1), 0.0);
            }
            let json = serde_json::to_value(Selection::ALL).unwrap();
            assert!(
                Selection::ALL
                    .iter()
                    .zip(json.as_array().unwrap())
                    .all(|(s, j)| j == s.name())
            );
        }
    }

    #[test]
    fn lr_rises_linearly_then_follows_the_schedule() {
        let at = |schedule: LrSchedule, t| schedule.factor(t, 4, 14);
        assert_eq!(
            [1, 4, 5, 14].map(|t| at(LrSchedule::Constant, t)),
            [0.25, 1.0, 1.0, 1.0]
        );
        assert_eq!(at(LrSchedule::Cosine, 5), 1.0);
        assert!((at(LrSchedule::Cosine, 10) - 0.5).abs() < 1e-12);
        assert!(at(LrSchedule::Cosine, 14) < 0.03);
        assert_eq!(LrSchedule::Constant.factor(1, 0, 9), 1.0);
    }
}
