//! Context of a forward pass: training or inference, and the dropout masks.

use std::cell::Cell;

use candle_core::{Device, Result, Tensor};
use prl_kernels::ops::dropout::DropoutMask;

/// Number of a tensor's elements that belong to earlier processes, given the number of its own.
type ElementsBefore = Box<dyn Fn(usize) -> usize>;

/// Context of a forward pass.
///
/// A model passes it down by reference. Masks are a function of the seed, the training step and
/// the order of the calls, so a pass can be repeated exactly.
pub struct ForwardCtx {
    /// Seed and training step; none at inference.
    train: Option<(u64, u64)>,
    drawn: Cell<u32>,
    /// Set if each process has a shard of the batch.
    elements_before: Option<ElementsBefore>,
}

impl ForwardCtx {
    /// A training pass: dropout is on.
    pub fn train(seed: u64, step: u64) -> Self {
        Self {
            train: Some((seed, step)),
            drawn: Cell::new(0),
            elements_before: None,
        }
    }

    /// An inference pass: dropout is off.
    pub fn infer() -> Self {
        Self {
            train: None,
            drawn: Cell::new(0),
            elements_before: None,
        }
    }

    /// The same pass over a shard of the batch: its masks are the shard's part of the whole batch's
    /// masks. `elements_before` maps the number of a tensor's elements in the shard to the number
    /// in the shards before it. (The batch is the first axis of every tensor.)
    pub fn sharing(self, elements_before: impl Fn(usize) -> usize + 'static) -> Self {
        Self {
            elements_before: Some(Box::new(elements_before)),
            ..self
        }
    }

    /// Whether this is a training pass.
    pub fn is_training(&self) -> bool {
        self.train.is_some()
    }

    /// Dropout mask of `n` elements, each zero with probability `rate`. None at inference.
    pub fn mask(&self, n: usize, rate: f64) -> Option<DropoutMask> {
        let (seed, step) = self.train?;
        if rate <= 0.0 {
            return None;
        }
        let index = self.drawn.get();
        self.drawn.set(index + 1);
        let before = self.elements_before.as_ref().map_or(0, |before| before(n));
        let rng = prl_seed::stream(seed, &format!("dropout {index}"), step);
        Some(DropoutMask::new(rng, n, rate).skip(before))
    }

    /// Dropout by candle's operations: zeroes each element with probability `rate` and scales the
    /// others by 1 / (1 - rate). The identity at inference.
    pub fn dropout(&self, x: &Tensor, rate: f64) -> Result<Tensor> {
        let Some(mask) = self.mask(x.elem_count(), rate) else {
            return Ok(x.clone());
        };
        let factors = Tensor::from_vec(mask.factors(), x.shape(), &Device::Cpu)?;
        x * factors.to_dtype(x.dtype())?.to_device(x.device())?
    }
}

#[cfg(test)]
mod tests {
    use super::ForwardCtx;
    use candle_core::{DType, Device, Tensor};

    #[test]
    fn dropout_masks_repeat_by_seed_and_step_and_keep_the_mean() {
        let x = Tensor::ones(20_000, DType::F32, &Device::Cpu).unwrap();
        let mask = |ctx: &ForwardCtx| ctx.dropout(&x, 0.3).unwrap().to_vec1::<f32>().unwrap();
        let (a, b) = (ForwardCtx::train(5, 8), ForwardCtx::train(5, 8));
        let first = mask(&a);
        assert_eq!(first, mask(&b));
        assert_ne!(first, mask(&a), "the second mask of a pass differs");
        assert_ne!(first, mask(&ForwardCtx::train(5, 9)));
        let zeros = first.iter().filter(|&&x| x == 0.0).count() as f64 / 20_000.0;
        assert!((zeros - 0.3).abs() < 0.015, "{zeros}");
        assert!((first.iter().sum::<f32>() / 20_000.0 - 1.0).abs() < 0.02);
        assert_eq!(mask(&ForwardCtx::infer()), vec![1.0; 20_000]);
    }

    #[test]
    fn masks_of_shards_are_the_parts_of_the_whole_mask() {
        let whole = ForwardCtx::train(5, 8).mask(1000, 0.3).unwrap().factors();
        let shard = |before: usize, n: usize| {
            let ctx = ForwardCtx::train(5, 8).sharing(move |_| before);
            ctx.mask(n, 0.3).unwrap().factors()
        };
        assert_eq!([shard(0, 300), shard(300, 700)].concat(), whole);
    }
}
