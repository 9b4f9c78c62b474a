//! How much each example counts in the loss (Eq. 15 and Table 5).

use serde::{Deserialize, Serialize};

/// The weight of an example's cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weighting {
    /// One for all: normal training, and PRL-w/o.
    Uniform,
    /// The immediate reward r_t: PRL.
    #[default]
    Reward,
    /// The prompt as the model is fed it, `R_t / mean[t]` under the ratio scale: PRL-cumu.
    Return,
}

impl Weighting {
    /// The weight of an example with this reward and this prompt.
    pub fn of(self, reward: f64, prompt: f64) -> f64 {
        match self {
            Weighting::Uniform => 1.0,
            Weighting::Reward => reward,
            Weighting::Return => prompt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Weighting;

    #[test]
    fn each_rule_weighs_by_its_own() {
        let all =
            [Weighting::Uniform, Weighting::Reward, Weighting::Return].map(|w| w.of(0.2, 1.5));
        assert_eq!(all, [1.0, 0.2, 1.5]);
    }
}
