//! Prompts: the observed return in training, a target return at inference (section 3.2, Eq. 16),
//! and beside it a tilt of the scores, which needs no training.

use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

/// Unit of the return `R` in the prompt `{R, s_t, t}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnScale {
    /// `R_t / mean[t]`, as in the released code.
    #[default]
    Ratio,
    /// `R_t`, as in the paper (Eq. 9 and 16).
    Raw,
}

impl ReturnScale {
    /// Converts a return to this unit; `mean` is the mean return from the same step on.
    ///
    /// Zero if the unit is a ratio and the mean is zero.
    pub fn prompt(self, value: f64, mean: f64) -> f64 {
        match self {
            ReturnScale::Ratio if mean == 0.0 => 0.0,
            ReturnScale::Ratio => value / mean,
            ReturnScale::Raw => value,
        }
    }
}

/// Statistics of the training sessions' returns from each step on.
pub trait StepReturns {
    /// Mean return from step `t` on.
    fn mean(&self, t: u32) -> f64;
    /// Maximum return from step `t` on.
    fn max(&self, t: u32) -> f64;
    /// Quantile `q` (0 to 1) of the return from step `t` on.
    fn quantile(&self, t: u32, q: f64) -> f64;
}

/// Target return of a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetReturn {
    /// A draw from N(mu, eps^2), times the mean return from the step on (Eq. 16).
    Relative {
        /// Mean of the factor.
        mu: f64,
        /// Standard deviation of the factor; larger values explore more.
        eps: f64,
    },
    /// The maximum return of the training sessions from the step on.
    Max,
    /// A quantile, 0 to 1, of the training sessions' returns from the step on.
    Quantile(f64),
    /// A fixed return, in units of reward.
    Absolute(f64),
    /// The return that the session has: in evaluations only, as the best guess of a target return
    /// that there is.
    Oracle,
    /// A quantile, 0 to 1, of the forecast of the session's own return.
    StateQuantile(f64),
    /// The mean of the forecast of the session's own return, tilted towards high returns: bin i of
    /// n is weighed by `p_i exp(kappa i / (n - 1))` (multi-game decision transformer, NeurIPS '22).
    Adaptive {
        /// Strength of the tilt; 0 is the forecast itself.
        kappa: f64,
    },
}

impl Default for TargetReturn {
    /// The paper's setting: mu = 2, eps = 0.
    fn default() -> Self {
        TargetReturn::Relative { mu: 2.0, eps: 0.0 }
    }
}

/// Largest magnitude of a number in a target return. Beyond it, the prompt's token would dwarf the
/// state's in single precision.
const MAX_MAGNITUDE: f64 = 1e6;

/// Largest magnitude of kappa: long before, all weight is on one bin.
pub const MAX_KAPPA: f64 = 100.0;

impl TargetReturn {
    /// Whether it is a return of the state, not of the time step: the position gives it.
    pub fn is_of_state(self) -> bool {
        self == TargetReturn::Oracle || self.needs_forecast()
    }

    /// Whether the return is taken from a forecast.
    pub fn needs_forecast(self) -> bool {
        matches!(
            self,
            TargetReturn::StateQuantile(_) | TargetReturn::Adaptive { .. }
        )
    }

    /// Whether every number is in range: magnitudes of at most a million, a deviation of at least
    /// zero, a quantile in 0..=1.
    pub fn is_valid(self) -> bool {
        match self {
            TargetReturn::Relative { mu, eps } => {
                mu.abs() <= MAX_MAGNITUDE && (0.0..=MAX_MAGNITUDE).contains(&eps)
            }
            TargetReturn::Quantile(q) => (0.0..=1.0).contains(&q),
            TargetReturn::Absolute(value) => value.abs() <= MAX_MAGNITUDE,
            TargetReturn::StateQuantile(q) => (0.0..=1.0).contains(&q),
            TargetReturn::Adaptive { kappa } => kappa.abs() <= MAX_KAPPA,
            TargetReturn::Max | TargetReturn::Oracle => true,
        }
    }

    /// Replaces `mu` and `eps` where given. The other of the two stays this target's own, or the
    /// default's if this target is not relative.
    pub fn adjusted(self, mu: Option<f64>, eps: Option<f64>) -> Self {
        if mu.is_none() && eps.is_none() {
            return self;
        }
        let (own_mu, own_eps) = match self {
            TargetReturn::Relative { mu, eps } => (mu, eps),
            _ => (2.0, 0.0),
        };
        TargetReturn::Relative {
            mu: mu.unwrap_or(own_mu),
            eps: eps.unwrap_or(own_eps),
        }
    }

    /// The return from step `t` on. The draw of the factor is a function of `(seed, case)`.
    fn value(self, returns: &dyn StepReturns, t: u32, seed: u64, at: &PromptPosition) -> f64 {
        let case = at.case;
        match self {
            TargetReturn::Relative { mu, eps } => returns.mean(t) * draw(mu, eps, seed, case),
            TargetReturn::Max => returns.max(t),
            TargetReturn::Quantile(q) => returns.quantile(t, q),
            TargetReturn::Absolute(value) => value,
            TargetReturn::Oracle
            | TargetReturn::StateQuantile(_)
            | TargetReturn::Adaptive { .. } => at.return_of_state,
        }
    }
}

/// Draws the factor of a relative target return from N(mu, eps^2).
fn draw(mu: f64, eps: f64, seed: u64, case: u64) -> f64 {
    match Normal::new(mu, eps.abs()) {
        Ok(normal) if eps != 0.0 => normal.sample(&mut prl_seed::stream(seed, "prompt", case)),
        _ => mu,
    }
}

/// Specification of a prompt: the target return, the part of the session that it covers, and the
/// tilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptSpec {
    /// The target return.
    #[serde(flatten)]
    pub target: TargetReturn,
    /// Sequence-wise prompting: the target is that of the whole session, and the reward collected
    /// so far is subtracted at each step. Otherwise the target counts from the step on, whatever
    /// came before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sequence_wise: bool,
    /// Tilt beta towards bought items: `beta ln(p_i / p)` is added to the score of item i, whose
    /// purchase rate is p_i ([`PurchaseRates`](crate::PurchaseRates)).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tilt: f64,
}

fn is_zero(tilt: &f64) -> bool {
    *tilt == 0.0
}

impl From<TargetReturn> for PromptSpec {
    fn from(target: TargetReturn) -> Self {
        Self {
            target,
            sequence_wise: false,
            tilt: 0.0,
        }
    }
}

/// Position in a session for which a prompt is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromptPosition {
    /// The time step t.
    pub step: u32,
    /// Discounted reward collected before the step: the sum of `lambda^t' r_t'` over t' < t.
    pub return_so_far: f64,
    /// Weight of a reward at this step in a return from the session's start, relative to its
    /// weight in a return from the step on: lambda^t if the discount counts from the step, else 1.
    pub discount_to_step: f64,
    /// Return of a target that is of the state: the observed return from the step on, which only an
    /// evaluation knows, or what a forecast says. Not read otherwise.
    pub return_of_state: f64,
    /// Index of the draw of the factor; with sequence-wise prompting, one index a session.
    pub case: u64,
}

impl PromptPosition {
    /// Position at `step` of a session without reward so far.
    pub fn at(step: u32, case: u64) -> Self {
        Self {
            step,
            return_so_far: 0.0,
            discount_to_step: 1.0,
            return_of_state: 0.0,
            case,
        }
    }
}

impl PromptSpec {
    /// The return to put into the prompt at a position, in the unit `scale`.
    ///
    /// With sequence-wise prompting it is clamped at zero once the session has reached its target.
    pub fn prompt(
        &self,
        scale: ReturnScale,
        returns: &dyn StepReturns,
        at: PromptPosition,
        seed: u64,
    ) -> f64 {
        // A return of the state counts from the step on, whatever part of the session is meant.
        let value = if self.sequence_wise && !self.target.is_of_state() {
            let of_session = self.target.value(returns, 0, seed, &at);
            (of_session - at.return_so_far).max(0.0) / at.discount_to_step
        } else {
            self.target.value(returns, at.step, seed, &at)
        };
        scale.prompt(value, returns.mean(at.step))
    }
}

#[cfg(test)]
mod tests {
    use super::{PromptPosition, PromptSpec, ReturnScale, StepReturns, TargetReturn};

    /// Mean returns 1.25 and 0.5 from steps 0 and 1 on; quantiles evenly spaced up to the maximum.
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

    fn both(spec: impl Into<PromptSpec>, at: PromptPosition) -> [f64; 2] {
        let spec = spec.into();
        [ReturnScale::Ratio, ReturnScale::Raw].map(|scale| spec.prompt(scale, &Table, at, 0))
    }

    #[test]
    fn prompt_follows_the_return_scale() {
        let first = PromptPosition::at(0, 0);
        assert_eq!(both(TargetReturn::default(), first), [2.0, 2.5]);
        assert_eq!(both(TargetReturn::Max, first), [4.0, 5.0]);
        assert_eq!(both(TargetReturn::Quantile(0.5), first), [2.0, 2.5]);
        assert_eq!(both(TargetReturn::Absolute(2.5), first), [2.0, 2.5]);
        assert_eq!(
            both(TargetReturn::default(), PromptPosition { step: 1, ..first }),
            [2.0, 1.0]
        );
    }

    /// The target of the session is 2 x 1.25; after a return of 1.2, 1.3 is left at step 1, whose
    /// mean is 0.5.
    #[test]
    fn sequence_wise_prompt_subtracts_the_return_so_far() {
        let spec = PromptSpec {
            target: TargetReturn::default(),
            sequence_wise: true,
            tilt: 0.0,
        };
        let at = PromptPosition {
            return_so_far: 1.2,
            ..PromptPosition::at(1, 0)
        };
        assert_eq!(both(spec, at), [2.6, 1.3]);
        assert_eq!(
            both(
                spec,
                PromptPosition {
                    discount_to_step: 0.5,
                    ..at
                }
            ),
            [5.2, 2.6],
            "in the unit of a return from the step on"
        );
        assert_eq!(
            both(
                spec,
                PromptPosition {
                    return_so_far: 9.0,
                    ..at
                }
            ),
            [0.0, 0.0],
            "clamped at zero"
        );
    }

    #[test]
    fn oracle_prompt_is_the_return_of_state() {
        let at = PromptPosition {
            return_of_state: 1.5,
            return_so_far: 9.0,
            ..PromptPosition::at(1, 0)
        };
        let spec = PromptSpec::from(TargetReturn::Oracle);
        assert_eq!(both(spec, at), [3.0, 1.5], "the mean at step 1 is 0.5");
        let sequence_wise = PromptSpec {
            sequence_wise: true,
            ..spec
        };
        assert_eq!(both(sequence_wise, at), [3.0, 1.5]);
    }

    #[test]
    fn eps_spreads_the_prompt_and_repeats_by_case() {
        let spec = PromptSpec::from(TargetReturn::Relative { mu: 2.0, eps: 0.5 });
        let at = |case| spec.prompt(ReturnScale::Ratio, &Table, PromptPosition::at(0, case), 9);
        let draws: Vec<f64> = (0..4000).map(at).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let var = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean - 2.0).abs() < 0.03 && (var.sqrt() - 0.5).abs() < 0.03);
        assert_eq!(draws[17], at(17));
    }

    #[test]
    fn target_return_out_of_range_is_invalid() {
        assert!(
            TargetReturn::default().is_valid()
                && TargetReturn::Quantile(1.0).is_valid()
                && TargetReturn::Max.is_valid()
        );
        let bad = [
            TargetReturn::Relative {
                mu: f64::NAN,
                eps: 0.0,
            },
            TargetReturn::Relative { mu: 1.0, eps: -1.0 },
            TargetReturn::Quantile(1.5),
            TargetReturn::Absolute(f64::INFINITY),
            TargetReturn::Absolute(-1e300),
            TargetReturn::StateQuantile(-0.1),
            TargetReturn::Adaptive { kappa: 101.0 },
        ];
        assert!(bad.iter().all(|goal| !goal.is_valid()));
    }

    #[test]
    fn target_return_adjusted_replaces_only_the_named_numbers() {
        let of_run = TargetReturn::Relative { mu: 3.0, eps: 0.5 };
        assert_eq!(of_run.adjusted(None, None), of_run);
        assert_eq!(
            of_run.adjusted(Some(1.0), None),
            TargetReturn::Relative { mu: 1.0, eps: 0.5 }
        );
        assert_eq!(TargetReturn::Max.adjusted(None, None), TargetReturn::Max);
        assert_eq!(
            TargetReturn::Max.adjusted(None, Some(0.1)),
            TargetReturn::Relative { mu: 2.0, eps: 0.1 }
        );
    }

    #[test]
    fn prompt_spec_survives_json() {
        for spec in [
            PromptSpec::default(),
            PromptSpec {
                target: TargetReturn::Quantile(0.9),
                sequence_wise: true,
                tilt: -0.5,
            },
            TargetReturn::Max.into(),
        ] {
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(
                serde_json::from_str::<PromptSpec>(&json).unwrap(),
                spec,
                "{json}"
            );
        }
        assert_eq!(
            serde_json::to_string(&PromptSpec::default()).unwrap(),
            r#"{"relative":{"mu":2.0,"eps":0.0}}"#
        );
    }
}
