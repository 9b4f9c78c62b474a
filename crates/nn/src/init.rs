//! Rules for initial values, drawn from a seeded generator.

use candle_core::{Result, Shape, bail};
use candle_nn::init::NormalOrUniform;
use rand::Rng as _;
use rand_distr::{Distribution, Normal, Uniform};

/// Rule for a parameter's initial values.
///
/// [`candle_nn::Init`] cannot express the last two: its uniform rule has fixed bounds, and it has
/// no truncated normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value for every element.
    Const(f64),
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// Normal with mean zero and this standard deviation, redrawn beyond two standard deviations.
    TruncatedNormal(f64),
    /// Uniform within ±sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010), for a matrix
    /// `[fan in, fan out]` or its transpose.
    Glorot,
}

impl Init {
    /// Draws the values of a parameter of this shape, in row-major order.
    ///
    /// # Errors
    /// For a standard deviation that is not finite, and for Glorot values of what is no matrix.
    pub fn values(self, shape: &[usize], rng: &mut prl_seed::Rng) -> Result<Vec<f64>> {
        let n = shape.iter().product();
        match self {
            Init::Const(value) => Ok(vec![value; n]),
            Init::Normal(std) => Ok(normal(0.0, std)?.sample_iter(rng).take(n).collect()),
            Init::TruncatedNormal(std) => {
                let draws = normal(0.0, std)?.sample_iter(rng);
                Ok(draws.filter(|x| x.abs() <= 2.0 * std).take(n).collect())
            }
            Init::Glorot => {
                let &[a, b] = shape else {
                    bail!("Glorot initial values: the shape is {shape:?}; expected a matrix")
                };
                let limit = (6.0 / (a + b) as f64).sqrt();
                uniform(-limit, limit, n, rng)
            }
        }
    }

    /// The nearest rule of candle, for builders of other variables.
    pub fn hint(self, shape: &[usize]) -> candle_nn::Init {
        match self {
            Init::Const(value) => candle_nn::Init::Const(value),
            Init::Normal(stdev) | Init::TruncatedNormal(stdev) => {
                candle_nn::Init::Randn { mean: 0.0, stdev }
            }
            Init::Glorot => {
                let limit = (6.0 / shape.iter().sum::<usize>().max(1) as f64).sqrt();
                candle_nn::Init::Uniform {
                    lo: -limit,
                    up: limit,
                }
            }
        }
    }
}

/// Draws values by one of candle's rules.
pub(crate) fn candle_values(
    init: candle_nn::Init,
    shape: &Shape,
    rng: &mut prl_seed::Rng,
) -> Result<Vec<f64>> {
    let n = shape.elem_count();
    match init {
        candle_nn::Init::Const(value) => Ok(vec![value; n]),
        candle_nn::Init::Randn { mean, stdev } => {
            Ok(normal(mean, stdev)?.sample_iter(rng).take(n).collect())
        }
        candle_nn::Init::Uniform { lo, up } => uniform(lo, up, n, rng),
        candle_nn::Init::Kaiming {
            dist,
            fan,
            non_linearity,
        } => {
            let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => Ok(normal(0.0, std)?.sample_iter(rng).take(n).collect()),
                NormalOrUniform::Uniform => {
                    let bound = 3_f64.sqrt() * std;
                    uniform(-bound, bound, n, rng)
                }
            }
        }
    }
}

fn normal(mean: f64, std: f64) -> Result<Normal<f64>> {
    Normal::new(mean, std).map_err(candle_core::Error::wrap)
}

fn uniform(lo: f64, up: f64, n: usize, rng: &mut prl_seed::Rng) -> Result<Vec<f64>> {
    let uniform = Uniform::new_inclusive(lo, up).map_err(candle_core::Error::wrap)?;
    Ok(rng.sample_iter(uniform).take(n).collect())
}

#[cfg(test)]
mod tests {
    use super::Init;

    /// Standard deviation around zero and largest magnitude of the values.
    fn spread(init: Init, shape: &[usize]) -> (f64, f64) {
        let mut rng = prl_seed::stream(3, "t", 0);
        let values = init.values(shape, &mut rng).unwrap();
        let (mut squares, mut max) = (0.0, 0.0_f64);
        for x in &values {
            squares += x * x;
            max = max.max(x.abs());
        }
        ((squares / values.len() as f64).sqrt(), max)
    }

    #[test]
    fn init_values_have_the_spread_of_their_rule() {
        assert!((spread(Init::Normal(0.01), &[40_000]).0 - 0.01).abs() < 1e-4);
        let (std, max) = spread(Init::TruncatedNormal(0.1), &[40_000]);
        assert!((std - 0.08796).abs() < 1e-3 && max <= 0.2);
        let (std, max) = spread(Init::Glorot, &[100, 200]);
        let limit = (6.0_f64 / 300.0).sqrt();
        assert!((std - limit / 3.0_f64.sqrt()).abs() < 1e-3 && max <= limit);
    }
}
