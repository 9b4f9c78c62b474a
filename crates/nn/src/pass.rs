//! One pass through a model: whether it trains, and where its dropout masks come from.

use std::cell::Cell;

use candle_core::{Result, Tensor};
use prl_kernels::ops::dropout::DropoutMask;

use crate::rows::dropout;

/// How many elements of a tensor lie before this process's, given how many it has.
type Before = Box<dyn Fn(usize) -> usize>;

/// The context of a forward pass.
pub struct ForwardCtx {
    /// Seed and step, when training.
    train: Option<(u64, u64)>,
    drawn: Cell<u32>,
    /// When each process has a share of the batch.
    before: Option<Before>,
}

impl ForwardCtx {
    /// A training pass: dropout is on. Masks are a function of the seed, the step and the order of the calls.
    pub fn train(seed: u64, step: u64) -> Self {
        Self {
            train: Some((seed, step)),
            drawn: Cell::new(0),
            before: None,
        }
    }

    /// The same pass over a share of a batch: masks are that share of the whole batch's masks. `before` says how many elements
    /// of a tensor lie with the rows before the share, given how many lie in it. (Batches come first in every tensor.)
    pub fn sharing(self, before: impl Fn(usize) -> usize + 'static) -> Self {
        Self {
            before: Some(Box::new(before)),
            ..self
        }
    }

    /// An inference pass: dropout is off.
    pub fn infer() -> Self {
        Self {
            train: None,
            drawn: Cell::new(0),
            before: None,
        }
    }

    /// The dropout mask of `n` elements, each zeroed with probability `rate`. `None` when inferring.
    pub fn mask(&self, n: usize, rate: f64) -> Option<DropoutMask> {
        let (seed, step) = self.train.filter(|_| rate > 0.0)?;
        let name = format!("dropout {}", self.drawn.replace(self.drawn.get() + 1));
        let before = self.before.as_ref().map_or(0, |before| before(n));
        Some(DropoutMask::new(prl_seed::stream(seed, &name, step), n, rate).skip(before))
    }

    /// Zeroes each element with probability `rate` and scales the rest by 1 / (1 - rate); the identity when inferring.
    pub fn dropout(&self, x: &Tensor, rate: f64) -> Result<Tensor> {
        match self.mask(x.elem_count(), rate) {
            Some(mask) => dropout(x, mask),
            None => Ok(x.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ForwardCtx;
    use candle_core::{DType, Device, Tensor};

    #[test]
    fn masks_repeat_by_seed_and_step_and_keep_the_mean() {
        let x = Tensor::ones(20_000, DType::F32, &Device::Cpu).unwrap();
        let mask = |pass: &ForwardCtx| pass.dropout(&x, 0.3).unwrap().to_vec1::<f32>().unwrap();
        let (a, b) = (ForwardCtx::train(5, 8), ForwardCtx::train(5, 8));
        let first = mask(&a);
        assert_eq!(first, mask(&b));
        assert_ne!(first, mask(&a), "the second mask of a pass is another");
        assert_ne!(first, mask(&ForwardCtx::train(5, 9)));
        let zeros = first.iter().filter(|&&x| x == 0.0).count() as f64 / 20_000.0;
        assert!((zeros - 0.3).abs() < 0.015, "{zeros}");
        assert!((first.iter().sum::<f32>() / 20_000.0 - 1.0).abs() < 0.02);
        assert_eq!(mask(&ForwardCtx::infer()), vec![1.0; 20_000]);
    }

    #[test]
    fn the_masks_of_shares_are_those_of_the_whole() {
        let whole = ForwardCtx::train(5, 8).mask(1000, 0.3).unwrap().factors();
        let share = |before: usize, n: usize| {
            ForwardCtx::train(5, 8)
                .sharing(move |_| before)
                .mask(n, 0.3)
                .unwrap()
                .factors()
        };
        assert_eq!([share(0, 300), share(300, 700)].concat(), whole);
    }
}
