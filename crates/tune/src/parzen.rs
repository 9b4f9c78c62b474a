//! Densities over one axis, estimated from coordinates.

use std::f64::consts::{PI, SQRT_2};

use prl_seed::Rng;
use rand::Rng as _;
use rand_distr::{Distribution, StandardNormal};

use crate::domain::Axis;

/// Draws of a truncated kernel before its mean is taken; at least a third of them lie inside.
const MAX_DRAWS: usize = 100;

/// Density over an axis.
pub(crate) enum Density {
    /// Mixture of normal kernels, each cut off at the ends of the interval.
    Parzen {
        kernels: Vec<Kernel>,
        ends: (f64, f64),
    },
    /// Share of each category.
    Shares(Vec<f64>),
}

/// Normal kernel.
pub(crate) struct Kernel {
    mean: f64,
    deviation: f64,
}

impl Density {
    /// Density of coordinates `x_1 .. x_n` and a prior, each with the weight `1 / (n + 1)`.
    ///
    /// On an interval `[a, b]` (Bergstra et al., 2011, sections 4 and 5.1): the kernel of `x_i` has
    /// the larger distance to its neighbours, prior included, as deviation, clipped to
    /// `[(b - a) / min(100, n + 2), b - a]`; the outermost have the distance to their one
    /// neighbour. The prior is the kernel with mean `(a + b) / 2` and deviation `b - a`.
    ///
    /// Of `C` categories, one that occurs `n_c` times has the share `(n_c + 1 / C) / (n + 1)`.
    pub(crate) fn new(axis: Axis, coordinates: &[f64]) -> Self {
        match axis {
            Axis::Categories(count) => Self::Shares(shares(count, coordinates)),
            Axis::Interval(a, b) => Self::Parzen {
                kernels: kernels((a, b), coordinates),
                ends: (a, b),
            },
        }
    }

    /// Draws a coordinate.
    pub(crate) fn sample(&self, rng: &mut Rng) -> f64 {
        match self {
            Density::Shares(shares) => {
                let mut rest: f64 = rng.random();
                for (i, share) in shares.iter().enumerate() {
                    rest -= share;
                    if rest < 0.0 {
                        return i as f64;
                    }
                }
                (shares.len() - 1) as f64
            }
            Density::Parzen { kernels, ends } => {
                let kernel = &kernels[rng.random_range(0..kernels.len())];
                for _ in 0..MAX_DRAWS {
                    let z: f64 = StandardNormal.sample(rng);
                    let x = kernel.mean + kernel.deviation * z;
                    if (ends.0..=ends.1).contains(&x) {
                        return x;
                    }
                }
                kernel.mean
            }
        }
    }

    /// Logarithm of the density at a coordinate.
    pub(crate) fn log_density(&self, x: f64) -> f64 {
        match self {
            Density::Shares(shares) => shares[x as usize].ln(),
            Density::Parzen { kernels, ends } => {
                let mut sum = 0.0;
                for kernel in kernels {
                    sum += kernel.density(x, *ends);
                }
                (sum / kernels.len() as f64).ln()
            }
        }
    }
}

impl Kernel {
    fn density(&self, x: f64, ends: (f64, f64)) -> f64 {
        let z = (x - self.mean) / self.deviation;
        let inside = self.cumulative(ends.1) - self.cumulative(ends.0);
        (-0.5 * z * z).exp() / (self.deviation * (2.0 * PI).sqrt() * inside)
    }

    fn cumulative(&self, x: f64) -> f64 {
        0.5 * (1.0 + libm::erf((x - self.mean) / (self.deviation * SQRT_2)))
    }
}

fn shares(count: usize, coordinates: &[f64]) -> Vec<f64> {
    let mut shares = vec![1.0 / count as f64; count];
    for &x in coordinates {
        shares[x as usize] += 1.0;
    }
    for share in &mut shares {
        *share /= (coordinates.len() + 1) as f64;
    }
    shares
}

fn kernels((a, b): (f64, f64), coordinates: &[f64]) -> Vec<Kernel> {
    let prior = (a + b) / 2.0;
    let mut means = coordinates.to_vec();
    means.push(prior);
    means.sort_by(f64::total_cmp);
    let least = (b - a) / (means.len() as f64 + 1.0).min(100.0);
    let mut kernels = Vec::with_capacity(means.len());
    let mut has_prior = false;
    for (i, &mean) in means.iter().enumerate() {
        let left = i.checked_sub(1).map(|before| mean - means[before]);
        let right = means.get(i + 1).map(|after| after - mean);
        let distance = left.unwrap_or(0.0).max(right.unwrap_or(0.0));
        let is_prior = mean == prior && !has_prior;
        has_prior |= is_prior;
        let deviation = if is_prior {
            b - a
        } else {
            distance.clamp(least, b - a)
        };
        kernels.push(Kernel { mean, deviation });
    }
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integral(density: &Density, (a, b): (f64, f64)) -> f64 {
        const STEPS: usize = 20_000;
        let width = (b - a) / STEPS as f64;
        let mut sum = 0.0;
        for i in 0..STEPS {
            sum += density.log_density(a + (i as f64 + 0.5) * width).exp() * width;
        }
        sum
    }

    #[test]
    fn density_integrates_to_one_and_is_highest_at_its_points() {
        let axis = Axis::Interval(-2.0, 3.0);
        let density = Density::new(axis, &[-1.9, -1.8, -1.85, 2.0]);
        assert!((integral(&density, (-2.0, 3.0)) - 1.0).abs() < 1e-6);
        assert!(density.log_density(-1.85) > density.log_density(1.0));
        let shares = Density::new(Axis::Categories(4), &[1.0, 1.0, 3.0]);
        let all: Vec<f64> = (0..4).map(|c| shares.log_density(c as f64).exp()).collect();
        let expected = [1.0 / 16.0, 9.0 / 16.0, 1.0 / 16.0, 5.0 / 16.0];
        assert!(all.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    /// By hand: points 1 and 2, prior 5 with deviation 10; the least deviation is 10 / 4.
    #[test]
    fn deviation_is_the_larger_distance_to_a_neighbour_within_bounds() {
        let kernels = kernels((0.0, 10.0), &[2.0, 1.0]);
        let found: Vec<(f64, f64)> = kernels.iter().map(|k| (k.mean, k.deviation)).collect();
        assert_eq!(found, [(1.0, 2.5), (2.0, 3.0), (5.0, 10.0)]);
    }

    #[test]
    fn samples_follow_the_density() {
        let density = Density::new(Axis::Interval(0.0, 1.0), &[0.1, 0.12, 0.9]);
        let mut rng = prl_seed::stream(3, "test", 0);
        let mut below = 0;
        for _ in 0..20_000 {
            let x = density.sample(&mut rng);
            assert!((0.0..=1.0).contains(&x));
            below += usize::from(x < 0.3);
        }
        let mut expected = 0.0;
        for i in 0..3000 {
            expected += density.log_density((i as f64 + 0.5) / 10_000.0).exp() / 10_000.0;
        }
        assert!((below as f64 / 20_000.0 - expected).abs() < 0.015);
    }
}
