//! The return in a prompt: observed in training, asked for at inference (section 3.2, Eq. 16).

use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

/// The unit in which the model is fed a return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// `R_t / mean[t]`: the released code.
    #[default]
    Ratio,
    /// R_t itself: the paper (Eq. 9 and 16).
    Raw,
}

/// What the training sessions returned from a step on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReturns {
    /// Mean return.
    pub mean: f64,
    /// Largest return.
    pub max: f64,
}

impl Scale {
    /// A return in this unit.
    pub fn prompt(self, value: f64, at: StepReturns) -> f64 {
        match self {
            Scale::Ratio => value / at.mean,
            Scale::Raw => value,
        }
    }
}

/// What a recommendation is asked to be worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// N(mu, eps^2) times the step's mean return (Eq. 16).
    Relative {
        /// Times the mean.
        mu: f64,
        /// Standard deviation of that factor: exploration.
        eps: f64,
    },
    /// The largest return of a training session at this step.
    Max,
    /// This return, in units of reward.
    Absolute(f64),
}

impl Default for Ask {
    /// The paper's: mu = 2, eps = 0.
    fn default() -> Self {
        Ask::Relative { mu: 2.0, eps: 0.0 }
    }
}

impl Ask {
    /// The prompt to feed at a step. The draw of eps is a function of `(seed, case)`.
    pub fn prompt(self, scale: Scale, at: StepReturns, seed: u64, case: u64) -> f64 {
        let value = match self {
            Ask::Relative { mu, eps } => at.mean * draw(mu, eps, seed, case),
            Ask::Max => at.max,
            Ask::Absolute(value) => value,
        };
        scale.prompt(value, at)
    }
}

fn draw(mu: f64, eps: f64, seed: u64, case: u64) -> f64 {
    match Normal::new(mu, eps.abs()) {
        Ok(normal) if eps != 0.0 => normal.sample(&mut prl_seed::stream(seed, "prompt", case)),
        _ => mu,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Scale, StepReturns};

    const AT: StepReturns = StepReturns { mean: 1.25, max: 5.0 };

    #[test]
    fn prompts_follow_the_two_scales() {
        let ask = |ask: Ask| [Scale::Ratio, Scale::Raw].map(|s| ask.prompt(s, AT, 0, 0));
        assert_eq!(ask(Ask::default()), [2.0, 2.5]);
        assert_eq!(ask(Ask::Max), [4.0, 5.0]);
        assert_eq!(ask(Ask::Absolute(2.5)), [2.0, 2.5]);
    }

    #[test]
    fn the_deviation_spreads_and_repeats() {
        let ask = Ask::Relative { mu: 2.0, eps: 0.5 };
        let draws: Vec<f64> = (0..4000).map(|case| ask.prompt(Scale::Ratio, AT, 9, case)).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let var = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean - 2.0).abs() < 0.03 && (var.sqrt() - 0.5).abs() < 0.03);
        assert_eq!(draws[17], ask.prompt(Scale::Ratio, AT, 9, 17));
    }
}
