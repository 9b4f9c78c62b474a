//! Rewards, returns and the mean return of each step (paper, Eq. 7 and Algorithm 1).

use serde::{Deserialize, Serialize};

use crate::event::{Kind, Split};
use crate::rows::Rows;

/// Steps of the mean return table; later steps use the last one.
pub const TABLE_STEPS: usize = 50;

/// What an event is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rewards {
    /// Reward of a click.
    pub click: f64,
    /// Reward of a purchase.
    pub purchase: f64,
}

impl Default for Rewards {
    /// The paper's: 0.2 and 1.0.
    fn default() -> Self {
        Self { click: 0.2, purchase: 1.0 }
    }
}

impl Rewards {
    /// The reward of one event.
    pub fn of(self, kind: Kind) -> f64 {
        match kind {
            Kind::Click => self.click,
            Kind::Purchase => self.purchase,
        }
    }
}

/// How the discount lambda enters a return. The two agree at lambda = 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discount {
    /// R_t = sum over t' >= t of lambda^t' r_t': the exponent counts from the session's start (Eq. 7, and the PRL code).
    #[default]
    Absolute,
    /// R_t = sum over t' >= t of lambda^(t'-t) r_t': the usual return.
    Relative,
}

/// The return at every step of one session, in one pass from its end: R_t is r_t, discounted, on top of R_{t+1}. (Algorithm
/// 1 subtracts from the front instead, which is as fast but loses digits.)
pub fn returns(kinds: &[Kind], rewards: Rewards, lambda: f64, discount: Discount) -> Vec<f64> {
    let mut out = vec![0.0; kinds.len()];
    let mut tail = 0.0;
    for (t, &kind) in kinds.iter().enumerate().rev() {
        tail = match discount {
            Discount::Absolute => lambda.powi(t as i32) * rewards.of(kind) + tail,
            Discount::Relative => rewards.of(kind) + lambda * tail,
        };
        out[t] = tail;
    }
    out
}

/// What sessions return from each step on: the scale of every prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReturnTable {
    /// Mean return over the sessions still alive at the step.
    pub mean: Vec<f64>,
    /// The largest return seen at the step.
    pub max: Vec<f64>,
    /// Sessions alive at the step.
    pub sessions: Vec<u64>,
}

impl ReturnTable {
    /// From the sessions of some splits; the protocol's default is the training split alone. Steps that no session reaches
    /// carry the values of the last step that one does.
    pub fn new(splits: &[Rows<'_>], rewards: Rewards, lambda: f64, discount: Discount) -> Self {
        let mut sum = [0.0; TABLE_STEPS];
        let mut max = vec![f64::NEG_INFINITY; TABLE_STEPS];
        let mut sessions = vec![0; TABLE_STEPS];
        for kinds in splits.iter().flat_map(Rows::episodes) {
            for (t, r) in returns(kinds, rewards, lambda, discount).into_iter().take(TABLE_STEPS).enumerate() {
                sum[t] += r;
                max[t] = f64::max(max[t], r);
                sessions[t] += 1;
            }
        }
        let mut mean = vec![0.0; TABLE_STEPS];
        for t in 0..TABLE_STEPS {
            if sessions[t] > 0 {
                mean[t] = sum[t] / sessions[t] as f64;
            } else if t > 0 {
                (mean[t], max[t]) = (mean[t - 1], max[t - 1]);
            } else {
                max[t] = 0.0;
            }
        }
        Self { mean, max, sessions }
    }

    /// The mean return from step `t` on.
    pub fn mean_at(&self, t: u32) -> f64 {
        self.mean[(t as usize).min(self.mean.len() - 1)]
    }

    /// The largest return from step `t` on.
    pub fn max_at(&self, t: u32) -> f64 {
        self.max[(t as usize).min(self.max.len() - 1)]
    }
}

/// The splits the mean table is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableOver {
    /// The training sessions.
    #[default]
    Train,
    /// All sessions, as the PRL code takes it.
    All,
}

impl TableOver {
    /// The splits meant.
    pub fn splits(self) -> &'static [Split] {
        match self {
            TableOver::Train => &[Split::Train],
            TableOver::All => &Split::ALL,
        }
    }
}
