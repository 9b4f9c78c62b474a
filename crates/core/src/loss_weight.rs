//! Weight of an example's cross-entropy in the loss (Eq. 15 and Table 5).

use serde::{Deserialize, Serialize};

/// Rule for the weight w of an example's cross-entropy in `sum of w * CE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossWeight {
    /// w = 1: plain training, and PRL-w/o.
    Uniform,
    /// w = r_t, the immediate reward: PRL.
    #[default]
    Reward,
    /// w = the return in the prompt, `R_t / mean[t]` with the ratio scale: PRL-cumu.
    Return,
}

impl LossWeight {
    /// The weight of an example with this reward and this return in its prompt.
    pub fn of(self, reward: f64, prompt: f64) -> f64 {
        match self {
            LossWeight::Uniform => 1.0,
            LossWeight::Reward => reward,
            LossWeight::Return => prompt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LossWeight;

    #[test]
    fn loss_weight_is_one_or_the_reward_or_the_prompt() {
        let all =
            [LossWeight::Uniform, LossWeight::Reward, LossWeight::Return].map(|w| w.of(0.2, 1.5));
        assert_eq!(all, [1.0, 0.2, 1.5]);
    }
}
