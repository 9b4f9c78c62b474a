//! Outcome model q(s, a): the expected return of a session under an arm, cross-fitted.

use crate::sessions::{Context, Sessions};

/// Number of folds.
const FOLDS: usize = 5;
/// Number of features.
const FEATURES: usize = 4;
/// Ridge penalty of every coefficient but the intercept, in sessions.
const PENALTY: f64 = 1.0;

type Features = [f64; FEATURES];

/// Sums of a least-squares regression.
#[derive(Clone, Copy, Default)]
struct Sums {
    products: [Features; FEATURES],
    targets: Features,
}

/// Coefficients of each arm, for each fold from the sessions of the others.
pub(crate) struct OutcomeModel {
    coefficients: Vec<[Features; FOLDS]>,
}

impl OutcomeModel {
    /// Fits a ridge regression for each arm and fold.
    pub(crate) fn fit(log: &Sessions) -> Self {
        let mut sums = vec![[Sums::default(); FOLDS]; log.arms.len()];
        for session in &log.sessions {
            let x = features(&session.context);
            sums[session.arm][fold(session.key)].add(&x, session.reward);
        }
        let mut coefficients = Vec::with_capacity(sums.len());
        for folds in &sums {
            let mut of_arm = [Features::default(); FOLDS];
            for (held_out, coefficients) in of_arm.iter_mut().enumerate() {
                let mut others = Sums::default();
                for (fold, sums) in folds.iter().enumerate() {
                    if fold != held_out {
                        others.merge(sums);
                    }
                }
                *coefficients = others.solve();
            }
            coefficients.push(of_arm);
        }
        Self { coefficients }
    }

    /// Expected return of a session with this key and context under an arm.
    pub(crate) fn predict(&self, arm: usize, key: u64, context: &Context) -> f64 {
        dot(&self.coefficients[arm][fold(key)], &features(context))
    }
}

fn fold(key: u64) -> usize {
    (key % FOLDS as u64) as usize
}

/// An intercept and the logarithms of the counts, which have long tails.
fn features(context: &Context) -> Features {
    let log = |count: u32| f64::from(count).ln_1p();
    [
        1.0,
        log(context.step),
        log(context.clicks),
        log(context.purchases),
    ]
}

fn dot(a: &Features, b: &Features) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Sums {
    fn add(&mut self, x: &Features, y: f64) {
        for (row, xi) in self.products.iter_mut().zip(x) {
            for (product, xj) in row.iter_mut().zip(x) {
                *product += xi * xj;
            }
        }
        for (target, xi) in self.targets.iter_mut().zip(x) {
            *target += xi * y;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (row, others) in self.products.iter_mut().zip(&other.products) {
            for (product, other) in row.iter_mut().zip(others) {
                *product += other;
            }
        }
        for (target, other) in self.targets.iter_mut().zip(&other.targets) {
            *target += other;
        }
    }

    /// Solves the normal equations by Gaussian elimination, which needs no pivoting: with the
    /// penalty the matrix is positive definite. All zero without a session.
    fn solve(&self) -> Features {
        let (mut a, mut b) = (self.products, self.targets);
        if a[0][0] == 0.0 {
            return Features::default();
        }
        for (i, row) in a.iter_mut().enumerate().skip(1) {
            row[i] += PENALTY;
        }
        for i in 0..FEATURES {
            let pivot = a[i];
            for j in i + 1..FEATURES {
                let factor = a[j][i] / pivot[i];
                for (below, above) in a[j].iter_mut().zip(&pivot) {
                    *below -= factor * above;
                }
                b[j] -= factor * b[i];
            }
        }
        let mut x = Features::default();
        for i in (0..FEATURES).rev() {
            let mut rest = b[i];
            for j in i + 1..FEATURES {
                rest -= a[i][j] * x[j];
            }
            x[i] = rest / a[i][i];
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::Session;

    #[test]
    fn ridge_solves_the_normal_equations() {
        let mut sums = Sums::default();
        for i in 0..40_u32 {
            let context = Context {
                step: i % 5,
                clicks: i % 3,
                purchases: i / 20,
            };
            let x = features(&context);
            sums.add(&x, 2.0 + 3.0 * x[1] - x[2] + 0.5 * x[3] + f64::from(i % 2));
        }
        let x = sums.solve();
        for i in 0..FEATURES {
            let penalty = if i > 0 { PENALTY * x[i] } else { 0.0 };
            let residual = dot(&sums.products[i], &x) + penalty - sums.targets[i];
            assert!(residual.abs() < 1e-10, "{i}: {residual}");
        }
        assert!(
            (x[1] - 3.0).abs() < 0.5 && (x[2] + 1.0).abs() < 0.6,
            "{x:?}"
        );
    }

    #[test]
    fn prediction_does_not_depend_on_the_sessions_of_its_fold() {
        let session = |key: u64, reward: f64| Session {
            arm: 0,
            p: 1.0,
            reward,
            context: Context::default(),
            key,
        };
        let mut sessions: Vec<_> = (0..100).map(|key| session(key, (key % 2) as f64)).collect();
        let arms = vec!["a".into()];
        let before = OutcomeModel::fit(&Sessions {
            arms: arms.clone(),
            sessions: sessions.clone(),
        });
        sessions.push(session(3, 1e6));
        let after = OutcomeModel::fit(&Sessions { arms, sessions });
        let context = Context::default();
        assert_eq!(
            before.predict(0, 3, &context),
            after.predict(0, 8, &context)
        );
        assert!(after.predict(0, 4, &context) > 1_000.0);
        assert!((before.predict(0, 3, &context) - 0.5).abs() < 1e-12);
    }
}
