//! Dropout with counter-based masks: the CPU and CUDA implementations draw the same factors.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use candle_core::{Result, Tensor, bail};
use rand::RngCore;

use crate::Real;
use crate::autograd::op::{FusedOp, Op};

/// Dropout factors of a number of elements: 0 with probability `rate` (rounded to 1 / 65536), else
/// 1 / (1 - rate). Each element consumes 16 bits of the generator.
#[derive(Clone, Debug)]
pub struct DropoutMask {
    rng: prl_seed::Rng,
    before: usize,
    n: usize,
    /// Draws below this threshold drop the element.
    bar: u32,
    keep: f32,
}

impl DropoutMask {
    /// A mask of `n` elements from a fresh generator.
    pub fn new(rng: prl_seed::Rng, n: usize, rate: f64) -> Self {
        Self {
            rng,
            before: 0,
            n,
            bar: (rate * 65_536.0).round() as u32,
            keep: (1.0 / (1.0 - rate)) as f32,
        }
    }

    /// Skips the first `before` elements of a longer mask.
    pub fn skip(self, before: usize) -> Self {
        Self { before, ..self }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.n
    }

    /// The factors.
    pub fn factors(&self) -> Vec<f32> {
        let mut draws = vec![0; 2 * (self.before + self.n)];
        self.rng.clone().fill_bytes(&mut draws);
        let mut factors = vec![self.keep; self.n];
        let draws = draws[2 * self.before..].chunks_exact(2);
        for (factor, draw) in factors.iter_mut().zip(draws) {
            if u32::from(u16::from_le_bytes([draw[0], draw[1]])) < self.bar {
                *factor = 0.0;
            }
        }
        factors
    }
}

/// Multiplies each element of `x` by its factor. Runs where [`runs_on`](crate::runs_on) is true.
pub fn dropout(x: &Tensor, mask: DropoutMask) -> Result<Tensor> {
    if mask.n != x.elem_count() {
        bail!(
            "dropout: {} elements, but a mask of {}",
            x.elem_count(),
            mask.n
        );
    }
    Op::new(Dropout(mask), x.shape()).of([x])
}

struct Dropout(DropoutMask);

/// Multiplies each element by its factor, in place.
pub(crate) fn scale<T: Real>(x: &mut [T], factors: &[f32]) {
    for (x, &factor) in x.iter_mut().zip(factors) {
        *x *= T::of(f64::from(factor));
    }
}

fn scaled<T: Real>(x: &[T], factors: &[f32]) -> Vec<T> {
    let mut y = x.to_vec();
    scale(&mut y, factors);
    y
}

impl FusedOp<1> for Dropout {
    const NAME: &'static str = "dropout";
    /// The factors.
    type Saved<T: Real> = Vec<f32>;

    fn forward<T: Real>(&self, [x]: [&[T]; 1]) -> (Vec<T>, Vec<f32>) {
        let factors = self.0.factors();
        (scaled(x, &factors), factors)
    }

    fn backward<T: Real>(
        &self,
        _: [&[T]; 1],
        factors: &Vec<f32>,
        _: &[T],
        grad: &[T],
    ) -> [Vec<T>; 1] {
        [scaled(grad, factors)]
    }
}
