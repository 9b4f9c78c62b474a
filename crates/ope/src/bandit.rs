//! Shares of the arms in the next experiment, by Thompson sampling in batches.
//!
//! ```text
//! P_a = integral of phi_a(x) prod_b Phi_b(x) dx      over the other arms b: arm a is the best
//! share_a = f + (1 - n f) P_a                        of n arms, with the floor f
//! ```
//!
//! phi_a and Phi_a are density and distribution of the normal posterior of an arm's mean return,
//! from the doubly robust estimate and its standard error. The floor keeps all propensities away
//! from zero, so that the next log can be evaluated too.
//!
//! Source: O. Chapelle and L. Li, An Empirical Evaluation of Thompson Sampling, NIPS '11.

use serde::Serialize;

use crate::estimate::Estimate;

/// Smallest share of an arm.
pub const FLOOR: f64 = 0.05;
/// Points of the integral.
const POINTS: usize = 2_001;
/// Standard errors on either side of a mean that the integral covers.
const REACH: f64 = 8.0;

/// Share of an arm in the next experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NextShare {
    /// Name of the arm.
    pub arm: String,
    /// Probability that it has the largest mean return of all.
    pub best: f64,
    /// Its share: that probability, moved towards equal shares so far that none is below the floor.
    pub share: f64,
}

/// The next shares of arms with these estimates; empty for fewer than two arms, and for estimates
/// without a standard error.
pub fn next_shares(arms: &[(String, Estimate)]) -> Vec<NextShare> {
    let are_uncertain = arms.iter().all(|(_, estimate)| estimate.se > 0.0);
    if arms.len() < 2 || !are_uncertain {
        return Vec::new();
    }
    let floor = FLOOR.min(1.0 / arms.len() as f64);
    let mut best = Vec::with_capacity(arms.len());
    for a in 0..arms.len() {
        best.push(probability_of_best(arms, a));
    }
    // The integrals sum to one but for their errors.
    let sum: f64 = best.iter().sum();
    let mut shares = Vec::with_capacity(arms.len());
    for ((arm, _), best) in arms.iter().zip(best) {
        let best = best / sum;
        shares.push(NextShare {
            arm: arm.clone(),
            best,
            share: floor + (1.0 - floor * arms.len() as f64) * best,
        });
    }
    shares
}

/// Probability that arm `a` has the largest mean.
fn probability_of_best(arms: &[(String, Estimate)], a: usize) -> f64 {
    let own = arms[a].1;
    let step = 2.0 * REACH * own.se / (POINTS - 1) as f64;
    let mut sum = 0.0;
    for point in 0..POINTS {
        let x = own.value - REACH * own.se + point as f64 * step;
        let z = (x - own.value) / own.se;
        let mut term = (-0.5 * z * z).exp();
        for (b, (_, other)) in arms.iter().enumerate() {
            if b != a {
                term *= distribution((x - other.value) / other.se);
            }
        }
        sum += term;
    }
    sum * step / (own.se * (2.0 * std::f64::consts::PI).sqrt())
}

/// Distribution function of the standard normal.
fn distribution(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms(estimates: &[(f64, f64)]) -> Vec<(String, Estimate)> {
        let mut arms = Vec::new();
        for (i, &(value, se)) in estimates.iter().enumerate() {
            let (low, high) = (value - 1.96 * se, value + 1.96 * se);
            let estimate = Estimate {
                value,
                se,
                low,
                high,
            };
            arms.push((format!("arm {i}"), estimate));
        }
        arms
    }

    #[test]
    fn equal_arms_get_equal_shares() {
        for share in next_shares(&arms(&[(0.6, 0.01); 4])) {
            assert!((share.best - 0.25).abs() < 1e-6 && (share.share - 0.25).abs() < 1e-6);
        }
    }

    /// The difference of two independent normals is normal: P(first is best) is
    /// Phi((m1 - m2) / sqrt(s1^2 + s2^2)) = Phi(1) = .8413447.
    #[test]
    fn two_arms_have_the_probability_of_their_difference() {
        let shares = next_shares(&arms(&[(0.65, 0.03), (0.60, 0.04)]));
        assert!((shares[0].best - 0.841_344_7).abs() < 1e-6, "{shares:?}");
        assert!((shares[0].share - (0.05 + 0.9 * 0.841_344_7)).abs() < 1e-6);
    }

    #[test]
    fn hopeless_arm_keeps_the_floor() {
        let shares = next_shares(&arms(&[(0.9, 0.01), (0.1, 0.01), (0.85, 0.2)]));
        assert!((shares[1].share - FLOOR).abs() < 1e-9, "{shares:?}");
        let sum: f64 = shares.iter().map(|share| share.share).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert!(next_shares(&arms(&[(0.9, 0.01)])).is_empty());
        assert!(next_shares(&arms(&[(0.9, 0.0), (0.8, 0.1)])).is_empty());
    }
}
