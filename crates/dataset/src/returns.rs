//! Rewards and returns (paper, Eq. 7 and Algorithm 1).

use serde::{Deserialize, Serialize};

use crate::event::Kind;

/// Reward of each kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rewards {
    /// Reward of a click.
    pub click: f64,
    /// Reward of a purchase.
    pub purchase: f64,
}

impl Default for Rewards {
    /// Rewards of the paper: 0.2 for a click, 1.0 for a purchase.
    fn default() -> Self {
        Self {
            click: 0.2,
            purchase: 1.0,
        }
    }
}

impl Rewards {
    /// Reward of an event of this kind.
    pub fn of(self, kind: Kind) -> f64 {
        match kind {
            Kind::Click => self.click,
            Kind::Purchase => self.purchase,
        }
    }
}

/// Exponent convention of the discount lambda in a return. Both agree at lambda = 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discount {
    /// R_t = sum over t' >= t of lambda^t' r_t': exponents count from the start of the session
    /// (Eq. 7, and the code published with the paper).
    #[default]
    Absolute,
    /// R_t = sum over t' >= t of lambda^(t'-t) r_t': the standard discounted return.
    Relative,
}

/// Return at every time step of one session, in one backward pass: R_t is the discounted r_t plus
/// R_{t+1}. (Algorithm 1 subtracts from the front instead, which is as fast but loses digits.)
pub fn returns(kinds: &[Kind], rewards: Rewards, lambda: f64, discount: Discount) -> Vec<f64> {
    let mut values = Vec::with_capacity(kinds.len());
    for &kind in kinds {
        values.push(rewards.of(kind));
    }
    discounted_returns(values, lambda, discount)
}

/// Return at every time step of one session with these rewards, in their place.
pub fn discounted_returns(mut rewards: Vec<f64>, lambda: f64, discount: Discount) -> Vec<f64> {
    let mut tail = 0.0;
    for (t, value) in rewards.iter_mut().enumerate().rev() {
        tail = match discount {
            Discount::Absolute => lambda.powi(t as i32) * *value + tail,
            Discount::Relative => *value + lambda * tail,
        };
        *value = tail;
    }
    rewards
}

/// Discounted reward of the events so far: sum over t' of lambda^t' r_t'. Under
/// [`Discount::Absolute`] this is R_0 minus the return of the next time step.
pub fn return_so_far(kinds: &[Kind], rewards: Rewards, lambda: f64) -> f64 {
    let mut sum = 0.0;
    for (t, &kind) in kinds.iter().enumerate() {
        sum += lambda.powi(t as i32) * rewards.of(kind);
    }
    sum
}
