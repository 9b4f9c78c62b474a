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

impl Scale {
    /// A return in this unit, `mean` being the step's mean return. Where that is zero, nothing can be asked for: zero.
    pub fn prompt(self, value: f64, mean: f64) -> f64 {
        match self {
            Scale::Ratio if mean == 0.0 => 0.0,
            Scale::Ratio => value / mean,
            Scale::Raw => value,
        }
    }
}

/// What the training sessions returned from each step on.
pub trait StepReturns {
    /// Mean return from step `t` on.
    fn mean(&self, t: u32) -> f64;
    /// Largest return from step `t` on.
    fn max(&self, t: u32) -> f64;
    /// The return from step `t` on that a share `q` (0 to 1) of the sessions did not exceed.
    fn quantile(&self, t: u32, q: f64) -> f64;
}

/// A return that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// N(mu, eps^2) times the step's mean return (Eq. 16).
    Relative {
        /// Times the mean.
        mu: f64,
        /// Standard deviation of that factor: exploration.
        eps: f64,
    },
    /// The largest return of a training session at this step.
    Max,
    /// This quantile, 0 to 1, of the training sessions' returns at this step.
    Quantile(f64),
    /// This return, in units of reward.
    Absolute(f64),
}

impl Default for Goal {
    /// The paper's: mu = 2, eps = 0.
    fn default() -> Self {
        Goal::Relative { mu: 2.0, eps: 0.0 }
    }
}

impl Goal {
    /// Whether it means anything: numbers of at most a million, a deviation that is not negative, a quantile in 0..=1.
    pub fn is_valid(self) -> bool {
        // Beyond, single precision would lose the state beside the prompt.
        let is_sane = |x: f64| x.abs() <= 1e6;
        match self {
            Goal::Relative { mu, eps } => is_sane(mu) && is_sane(eps) && eps >= 0.0,
            Goal::Quantile(q) => (0.0..=1.0).contains(&q),
            Goal::Absolute(value) => is_sane(value),
            Goal::Max => true,
        }
    }

    /// This goal with another factor or deviation, as far as they are named; the rest is this goal's own, or the paper's.
    pub fn adjusted(self, mu: Option<f64>, eps: Option<f64>) -> Self {
        match (self, Self::default(), mu, eps) {
            (goal, _, None, None) => goal,
            (Goal::Relative { mu, eps }, _, m, e) | (_, Goal::Relative { mu, eps }, m, e) => {
                Goal::Relative {
                    mu: m.unwrap_or(mu),
                    eps: e.unwrap_or(eps),
                }
            }
            (goal, ..) => goal,
        }
    }

    /// The return from step `t` on. The draw of eps is a function of `(seed, case)`.
    fn value(self, returns: &dyn StepReturns, t: u32, seed: u64, case: u64) -> f64 {
        match self {
            Goal::Relative { mu, eps } => returns.mean(t) * draw(mu, eps, seed, case),
            Goal::Max => returns.max(t),
            Goal::Quantile(q) => returns.quantile(t, q),
            Goal::Absolute(value) => value,
        }
    }
}

/// What a recommendation is asked to be worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The return asked for.
    #[serde(flatten)]
    pub goal: Goal,
    /// Sequence-wise prompting: the goal is the whole session's, and what the user really gave is subtracted from it step by
    /// step. Without it the goal is from the step on, whatever came before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sequence_wise: bool,
}

impl From<Goal> for Ask {
    fn from(goal: Goal) -> Self {
        Self {
            goal,
            sequence_wise: false,
        }
    }
}

/// A moment of a session at which something is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The step t.
    pub step: u32,
    /// What the session has given so far: the sum of lambda^t' r_t' over its events before the step.
    pub given: f64,
    /// What a reward at this step counts in a return from the session's start, over what it counts in one from the step:
    /// lambda^t under a discount that counts from the step, else 1.
    pub decay: f64,
    /// Numbers the draw of eps; a whole session has one number under sequence-wise prompting.
    pub case: u64,
}

impl Moment {
    /// Step `step` of a session of which nothing else need be known.
    pub fn at(step: u32, case: u64) -> Self {
        Self {
            step,
            given: 0.0,
            decay: 1.0,
            case,
        }
    }
}

impl Ask {
    /// The prompt to feed at a moment. A session that has already given what was asked is asked for nothing more, never for
    /// less than nothing.
    pub fn prompt(&self, scale: Scale, returns: &dyn StepReturns, at: Moment, seed: u64) -> f64 {
        let value = if self.sequence_wise {
            (self.goal.value(returns, 0, seed, at.case) - at.given).max(0.0) / at.decay
        } else {
            self.goal.value(returns, at.step, seed, at.case)
        };
        scale.prompt(value, returns.mean(at.step))
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
    use super::{Ask, Goal, Moment, Scale, StepReturns};

    /// Mean 1.25 and 0.5 from steps 0 and 1 on, quantiles evenly up to the largest.
    struct Table;
    impl StepReturns for Table {
        fn mean(&self, t: u32) -> f64 {
            [1.25, 0.5][t as usize]
        }
        fn max(&self, t: u32) -> f64 {
            [5.0, 4.0][t as usize]
        }
        fn quantile(&self, t: u32, q: f64) -> f64 {
            q * self.max(t)
        }
    }

    fn both(ask: impl Into<Ask>, at: Moment) -> [f64; 2] {
        let ask = ask.into();
        [Scale::Ratio, Scale::Raw].map(|scale| ask.prompt(scale, &Table, at, 0))
    }

    #[test]
    fn prompts_follow_the_two_scales() {
        let first = Moment::at(0, 0);
        assert_eq!(both(Goal::default(), first), [2.0, 2.5]);
        assert_eq!(both(Goal::Max, first), [4.0, 5.0]);
        assert_eq!(both(Goal::Quantile(0.5), first), [2.0, 2.5]);
        assert_eq!(both(Goal::Absolute(2.5), first), [2.0, 2.5]);
        assert_eq!(
            both(Goal::default(), Moment { step: 1, ..first }),
            [2.0, 1.0]
        );
    }

    /// 2 x 1.25 was asked of the session; it gave 1.2, so 1.3 is left at step 1, whose mean is 0.5.
    #[test]
    fn sequence_wise_prompts_subtract_what_was_given() {
        let ask = Ask {
            goal: Goal::default(),
            sequence_wise: true,
        };
        let at = Moment {
            given: 1.2,
            ..Moment::at(1, 0)
        };
        assert_eq!(both(ask, at), [2.6, 1.3]);
        assert_eq!(
            both(ask, Moment { decay: 0.5, ..at }),
            [5.2, 2.6],
            "in units of the step's own return"
        );
        assert_eq!(
            both(ask, Moment { given: 9.0, ..at }),
            [0.0, 0.0],
            "never less than nothing"
        );
    }

    #[test]
    fn the_deviation_spreads_and_repeats() {
        let ask = Ask::from(Goal::Relative { mu: 2.0, eps: 0.5 });
        let at = |case| ask.prompt(Scale::Ratio, &Table, Moment::at(0, case), 9);
        let draws: Vec<f64> = (0..4000).map(at).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let var = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean - 2.0).abs() < 0.03 && (var.sqrt() - 0.5).abs() < 0.03);
        assert_eq!(draws[17], at(17));
    }

    #[test]
    fn prompts_that_mean_nothing_are_known() {
        assert!(
            Goal::default().is_valid() && Goal::Quantile(1.0).is_valid() && Goal::Max.is_valid()
        );
        let bad = [
            Goal::Relative {
                mu: f64::NAN,
                eps: 0.0,
            },
            Goal::Relative { mu: 1.0, eps: -1.0 },
            Goal::Quantile(1.5),
            Goal::Absolute(f64::INFINITY),
            Goal::Absolute(-1e300),
        ];
        assert!(bad.iter().all(|goal| !goal.is_valid()));
    }

    #[test]
    fn a_goal_is_adjusted_as_far_as_it_is_named() {
        let run = Goal::Relative { mu: 3.0, eps: 0.5 };
        assert_eq!(run.adjusted(None, None), run);
        assert_eq!(
            run.adjusted(Some(1.0), None),
            Goal::Relative { mu: 1.0, eps: 0.5 }
        );
        assert_eq!(Goal::Max.adjusted(None, None), Goal::Max);
        assert_eq!(
            Goal::Max.adjusted(None, Some(0.1)),
            Goal::Relative { mu: 2.0, eps: 0.1 }
        );
    }

    #[test]
    fn an_ask_survives_json() {
        for ask in [
            Ask::default(),
            Ask {
                goal: Goal::Quantile(0.9),
                sequence_wise: true,
            },
            Goal::Max.into(),
        ] {
            let json = serde_json::to_string(&ask).unwrap();
            assert_eq!(serde_json::from_str::<Ask>(&json).unwrap(), ask, "{json}");
        }
        assert_eq!(
            serde_json::to_string(&Ask::default()).unwrap(),
            r#"{"relative":{"mu":2.0,"eps":0.0}}"#
        );
    }
}
