//! Estimators with their intervals.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::outcome::OutcomeModel;
use crate::policy::Policy;
use crate::sessions::Sessions;

/// 97.5 % quantile of the normal distribution.
pub(crate) const Z: f64 = 1.959_963_984_540_054;
/// Standard errors that a mean weight may be away from 1.
const MAX_DEVIATION: f64 = 3.0;

/// Settings of an [`Evaluator`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Smallest effective sample size that is estimated from.
    pub min_ess: f64,
}

impl Default for Options {
    /// 1,000 sessions, from which on the intervals of skewed returns hold.
    fn default() -> Self {
        Self { min_ess: 1_000.0 }
    }
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Estimated mean return of a session.
    pub value: f64,
    /// Its standard error.
    pub se: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Estimates of a policy's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyValue {
    /// Name of the policy.
    pub policy: String,
    /// Sessions whose arm is that of the policy.
    pub sessions: usize,
    /// Effective sample size.
    pub ess: f64,
    /// Mean weight; 1 but for chance.
    pub mean_weight: f64,
    /// Standard error of the mean weight.
    pub mean_weight_se: f64,
    /// Inverse propensity score.
    pub ips: Estimate,
    /// Self-normalised inverse propensity score.
    pub snips: Estimate,
    /// Doubly robust.
    pub dr: Estimate,
}

/// Difference between the values of two policies, doubly robust.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Name of the policy.
    pub policy: String,
    /// Name of the policy that it is compared with.
    pub baseline: String,
    /// Value of the policy minus that of the baseline.
    pub difference: Estimate,
    /// The difference over the value of the baseline; absent if that is 0.
    pub relative: Option<f64>,
}

/// Evaluation of policies on one log.
pub struct Evaluator<'a> {
    log: &'a Sessions,
    outcomes: OutcomeModel,
    options: Options,
}

impl<'a> Evaluator<'a> {
    /// Fits the outcome model to a log.
    pub fn new(log: &'a Sessions, options: Options) -> Self {
        let outcomes = OutcomeModel::fit(log);
        Self {
            log,
            outcomes,
            options,
        }
    }

    /// Estimates the value of a policy.
    ///
    /// # Errors
    /// [`Error::FewSessions`] below the smallest effective sample size, [`Error::Weights`] if the
    /// mean weight is not 1.
    pub fn value(&self, policy: &Policy) -> Result<PolicyValue> {
        let mut weights = Vec::with_capacity(self.log.sessions.len());
        for session in &self.log.sessions {
            weights.push(policy.weight(session));
        }
        let (sum, squares) = weights.iter().fold((0.0, 0.0), add_with_square);
        let ess = if squares > 0.0 {
            sum * sum / squares
        } else {
            0.0
        };
        let name = policy.name(self.log);
        // Rounding of 1 / p leaves a size of 1,000 sessions at 999.999..
        if ess < self.options.min_ess * (1.0 - 1e-9) || ess == 0.0 {
            return Err(Error::FewSessions {
                policy: name,
                ess,
                min: self.options.min_ess,
            });
        }
        let weight = Estimate::of_mean(&weights);
        if (weight.value - 1.0).abs() > MAX_DEVIATION * weight.se + 1e-9 {
            return Err(Error::Weights {
                policy: name,
                mean: weight.value,
                se: weight.se,
            });
        }
        let (mut weighted, mut normalised) = (weights.clone(), weights.clone());
        for (weighted, session) in weighted.iter_mut().zip(&self.log.sessions) {
            *weighted *= session.reward;
        }
        let ips = Estimate::of_mean(&weighted);
        let snips = ips.value / weight.value;
        for (residual, session) in normalised.iter_mut().zip(&self.log.sessions) {
            *residual *= (session.reward - snips) / weight.value;
        }
        Ok(PolicyValue {
            policy: name,
            sessions: weights.iter().filter(|&&weight| weight > 0.0).count(),
            ess,
            mean_weight: weight.value,
            mean_weight_se: weight.se,
            ips,
            snips: Estimate::new(snips, Estimate::of_mean(&normalised).se),
            dr: Estimate::of_mean(&self.contributions(policy)),
        })
    }

    /// Estimates the difference between two policies from the sessions' differences, which is
    /// narrower than that of two separate intervals.
    ///
    /// # Errors
    /// As [`value`](Self::value), for either policy.
    pub fn difference(&self, policy: &Policy, baseline: &Policy) -> Result<Difference> {
        self.value(policy)?;
        let base = self.value(baseline)?;
        let mut differences = self.contributions(policy);
        for (difference, base) in differences.iter_mut().zip(self.contributions(baseline)) {
            *difference -= base;
        }
        let difference = Estimate::of_mean(&differences);
        let relative = difference.value / base.dr.value;
        Ok(Difference {
            policy: policy.name(self.log),
            baseline: base.policy,
            difference,
            relative: relative.is_finite().then_some(relative),
        })
    }

    /// The sessions' terms of the doubly robust mean.
    fn contributions(&self, policy: &Policy) -> Vec<f64> {
        let mut contributions = Vec::with_capacity(self.log.sessions.len());
        for session in &self.log.sessions {
            let (key, context) = (session.key, &session.context);
            let chosen = self.outcomes.predict(policy.arm(session), key, context);
            let logged = self.outcomes.predict(session.arm, key, context);
            contributions.push(chosen + policy.weight(session) * (session.reward - logged));
        }
        contributions
    }
}

fn add_with_square((sum, squares): (f64, f64), x: &f64) -> (f64, f64) {
    (sum + x, squares + x * x)
}

impl Estimate {
    fn new(value: f64, se: f64) -> Self {
        Self {
            value,
            se,
            low: value - Z * se,
            high: value + Z * se,
        }
    }

    /// The mean of independent values.
    pub(crate) fn of_mean(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let mut squares = 0.0;
        for value in values {
            squares += (value - mean) * (value - mean);
        }
        Self::new(mean, (squares / (n - 1.0).max(1.0) / n).sqrt())
    }
}
