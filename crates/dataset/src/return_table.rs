//! Mean, percentiles and number of sessions of the return at each time step.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::event::Split;
use crate::examples::SplitExamples;
use crate::returns::{Discount, Rewards, discounted_returns};

/// Time steps in a [`ReturnTable`]; later ones use the last.
pub const TABLE_STEPS: usize = 50;
/// Percentiles kept for each time step: 0, 1, .. 100.
const PERCENTILES: usize = 101;

/// Distribution of the return at each time step of the sessions: the unit of prompted returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReturnTable {
    /// Mean return over the sessions that reach the time step.
    pub mean: Vec<f64>,
    /// Number of sessions that reach the time step.
    pub sessions: Vec<u64>,
    /// Percentiles 0, 1, .. 100 of the return at the time step, interpolated linearly.
    pub percentiles: Vec<Vec<f64>>,
}

impl ReturnTable {
    /// Counts the sessions of `splits` (by default of the training split alone). Time steps that no
    /// session reaches repeat the values of the last one that is reached.
    pub fn new(
        splits: &[SplitExamples<'_>],
        rewards: Rewards,
        lambda: f64,
        discount: Discount,
    ) -> Self {
        let mut at: Vec<Returns> = vec![Returns::default(); TABLE_STEPS];
        for split in splits {
            for episode in split.episodes() {
                let returns = discounted_returns(split.rewards(episode, rewards), lambda, discount);
                for (at, r) in at.iter_mut().zip(returns) {
                    at.add(r);
                }
            }
        }
        let sessions: Vec<u64> = at.iter().map(|at| at.sessions).collect();
        let reached = at.iter().position(|at| at.sessions == 0);
        let reached = reached.unwrap_or(TABLE_STEPS);
        let (mut mean, mut percentiles) = (
            vec![0.0; TABLE_STEPS],
            vec![vec![0.0; PERCENTILES]; TABLE_STEPS],
        );
        for (t, at) in at.into_iter().enumerate().take(reached) {
            mean[t] = at.sum / at.sessions as f64;
            let sorted = at.sorted();
            for (p, value) in percentiles[t].iter_mut().enumerate() {
                *value = sorted.quantile(p as f64 / (PERCENTILES - 1) as f64);
            }
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

    /// Mean return at time step `t`.
    pub fn mean_at(&self, t: u32) -> f64 {
        self.mean[(t as usize).min(self.mean.len() - 1)]
    }

    /// Largest return at time step `t`.
    pub fn max_at(&self, t: u32) -> f64 {
        self.quantile_at(t, 1.0)
    }

    /// `q`-quantile (`q` in 0..=1) of the return at time step `t`.
    pub fn quantile_at(&self, t: u32, q: f64) -> f64 {
        interpolate(
            &self.percentiles[(t as usize).min(self.percentiles.len() - 1)],
            q,
        )
    }

    /// Whether all arrays have the expected lengths, which the other methods rely on.
    pub fn has_valid_shape(&self) -> bool {
        self.mean.len() == TABLE_STEPS
            && self.percentiles.len() == TABLE_STEPS
            && self.percentiles.iter().all(|p| p.len() == PERCENTILES)
    }
}

/// Returns at one time step: few distinct values in a log of any size, unless rewards are money.
#[derive(Clone, Default)]
struct Returns {
    sessions: u64,
    sum: f64,
    /// Number of sessions with each return, by its bits.
    counts: HashMap<u64, u64>,
}

impl Returns {
    fn add(&mut self, r: f64) {
        self.sessions += 1;
        self.sum += r;
        *self.counts.entry(r.to_bits()).or_default() += 1;
    }

    fn sorted(self) -> SortedReturns {
        let mut values = Vec::with_capacity(self.counts.len());
        for (bits, count) in self.counts {
            values.push((f64::from_bits(bits), count));
        }
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut end = 0;
        for (_, count) in &mut values {
            end += *count;
            *count = end;
        }
        SortedReturns(values)
    }
}

/// Distinct returns, ascending, each with the number of sessions up to it.
struct SortedReturns(Vec<(f64, u64)>);

impl SortedReturns {
    /// `q`-quantile, linear between order statistics; there must be a session.
    fn quantile(&self, q: f64) -> f64 {
        let sessions = self.0.last().map_or(0, |(_, end)| *end);
        let at = q.clamp(0.0, 1.0) * (sessions - 1) as f64;
        let value = |place: u64| self.0[self.0.partition_point(|(_, end)| *end <= place)].0;
        let below = value(at.floor() as u64);
        below + at.fract() * (value(at.ceil() as u64) - below)
    }
}

/// `q`-quantile of an ascending sample, linear between order statistics.
fn interpolate(sorted: &[f64], q: f64) -> f64 {
    let at = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = sorted[at.floor() as usize];
    below + at.fract() * (sorted[at.ceil() as usize] - below)
}

/// Splits whose sessions the return table counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnStatsSplit {
    /// Training sessions.
    #[default]
    Train,
    /// All sessions, as in the code published with the paper.
    All,
}

impl ReturnStatsSplit {
    /// The splits, in order.
    pub fn splits(self) -> &'static [Split] {
        match self {
            ReturnStatsSplit::Train => &[Split::Train],
            ReturnStatsSplit::All => &Split::ALL,
        }
    }
}
