//! Rewards, returns and the mean return of each step (paper, Eq. 7 and Algorithm 1).

use serde::{Deserialize, Serialize};

use crate::event::{Kind, Split};
use crate::rows::Rows;

/// Steps of the mean return table; later steps use the last one.
pub const TABLE_STEPS: usize = 50;
/// Points of a step's distribution that are kept: 0, 1, .. 100%.
const PERCENTILES: usize = 101;

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
        Self {
            click: 0.2,
            purchase: 1.0,
        }
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

/// What a session has given so far: sum over its events t' of lambda^t' r_t', which is what its return has gone down by.
pub fn given(kinds: &[Kind], rewards: Rewards, lambda: f64) -> f64 {
    kinds
        .iter()
        .enumerate()
        .map(|(t, &kind)| lambda.powi(t as i32) * rewards.of(kind))
        .sum()
}

/// What sessions return from each step on: the scale of every prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReturnTable {
    /// Mean return over the sessions still alive at the step.
    pub mean: Vec<f64>,
    /// Sessions alive at the step.
    pub sessions: Vec<u64>,
    /// The returns at the step that 0, 1, .. 100% of those sessions do not exceed, interpolated linearly.
    pub percentiles: Vec<Vec<f64>>,
}

impl ReturnTable {
    /// From the sessions of some splits; the protocol's default is the training split alone. Steps that no session reaches
    /// carry the values of the last step that one does.
    pub fn new(splits: &[Rows<'_>], rewards: Rewards, lambda: f64, discount: Discount) -> Self {
        let mut at: Vec<Vec<f64>> = vec![Vec::new(); TABLE_STEPS];
        for kinds in splits.iter().flat_map(Rows::episodes) {
            let returns = returns(kinds, rewards, lambda, discount);
            at.iter_mut().zip(returns).for_each(|(at, r)| at.push(r));
        }
        let sessions: Vec<u64> = at.iter().map(|at| at.len() as u64).collect();
        let reached = at.iter().position(Vec::is_empty).unwrap_or(TABLE_STEPS);
        let (mut mean, mut percentiles) = (
            vec![0.0; TABLE_STEPS],
            vec![vec![0.0; PERCENTILES]; TABLE_STEPS],
        );
        for (t, at) in at.iter_mut().enumerate().take(reached) {
            mean[t] = at.iter().sum::<f64>() / at.len() as f64;
            at.sort_unstable_by(f64::total_cmp);
            percentiles[t] = (0..PERCENTILES)
                .map(|p| interpolate(at, p as f64 / (PERCENTILES - 1) as f64))
                .collect();
        }
        for t in reached.max(1)..TABLE_STEPS {
            (mean[t], percentiles[t]) = (mean[t - 1], percentiles[t - 1].clone());
        }
        Self {
            mean,
            sessions,
            percentiles,
        }
    }

    /// The mean return from step `t` on.
    pub fn mean_at(&self, t: u32) -> f64 {
        self.mean[(t as usize).min(self.mean.len() - 1)]
    }

    /// The largest return from step `t` on.
    pub fn max_at(&self, t: u32) -> f64 {
        self.quantile_at(t, 1.0)
    }

    /// The return from step `t` on that a share `q` (0 to 1) of the sessions do not exceed.
    pub fn quantile_at(&self, t: u32, q: f64) -> f64 {
        interpolate(
            &self.percentiles[(t as usize).min(self.percentiles.len() - 1)],
            q,
        )
    }

    /// Whether the table has the shape every reader relies on.
    pub fn is_whole(&self) -> bool {
        self.mean.len() == TABLE_STEPS
            && self.percentiles.len() == TABLE_STEPS
            && self.percentiles.iter().all(|p| p.len() == PERCENTILES)
    }
}

/// The `q`-quantile of an ascending sample, its order statistics interpolated linearly.
fn interpolate(sorted: &[f64], q: f64) -> f64 {
    let at = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = sorted[at.floor() as usize];
    below + at.fract() * (sorted[at.ceil() as usize] - below)
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
