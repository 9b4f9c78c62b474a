//! On a GPU the scores are whole: two sweeps over them, and three products.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Tensor, bail};

use crate::gpu::{Gpu, HEAD, Numbers, blocks, each, rows, view, with};

/// Threads of a row of scores.
const THREADS: u32 = 512;

/// The output layer, contiguous `f32` tensors of one GPU: weight `[items, width]` and bias `[items]`.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// The weight.
    pub weight: &'a Tensor,
    /// The bias.
    pub bias: &'a Tensor,
}

/// What the way back needs of a batch's losses.
pub struct Losses {
    /// Sum of scale x cross-entropy.
    pub sum: f64,
    scores: Numbers,
    targets: CudaSlice<u32>,
    scales: Numbers,
    /// Log sum exp of each row.
    logs: Numbers,
}

/// The gradients of a batch.
pub struct Gradients {
    /// `[B, width]`
    pub hidden: Tensor,
    /// `[items, width]`
    pub weight: Tensor,
    /// `[items]`
    pub bias: Tensor,
}

impl Layer<'_> {
    /// The scores of hidden vectors without the bias: `[B, items]`.
    pub(crate) fn scores(&self, gpu: &Gpu, hidden: &Tensor) -> Result<Numbers> {
        let ((batch, width), items) = (hidden.dims2()?, self.bias.elem_count());
        if self.weight.dims() != [items, width] {
            bail!("head: weight {:?}, {items} items and hidden vectors {:?}", self.weight.shape(), hidden.shape());
        }
        let scores = gpu.room(batch * items)?;
        with([hidden, self.weight], |[hidden, weight]| {
            let (weight, to) = (rows(weight, width).turned(), rows(view(&scores), items));
            gpu.product([batch, items, width], rows(hidden, width), weight, to)
        })?;
        Ok(scores)
    }

    /// The losses of a batch, each times its scale. `hidden` is contiguous.
    ///
    /// # Errors
    /// If sizes do not fit, or the GPU fails.
    pub fn losses(&self, hidden: &Tensor, targets: &[u32], scales: &[f64]) -> Result<Losses> {
        let (gpu, batch, items) = (Gpu::of(hidden)?, hidden.dim(0)?, self.bias.elem_count());
        if targets.len() != batch || scales.len() != batch || targets.iter().any(|&target| target as usize >= items) {
            bail!("head: {} targets and {} scales for {batch} rows over {items} items", targets.len(), scales.len());
        }
        let scores = self.scores(&gpu, hidden)?;
        let scales: Vec<f32> = scales.iter().map(|&scale| scale as f32).collect();
        let (targets, scales) = (gpu.copy_in(targets)?, gpu.copy_in(&scales)?);
        let (logs, losses) = (gpu.room(batch)?, gpu.room(batch)?);
        with([self.bias], |[bias]| {
            let given = [(&scores).into(), bias.into(), (&targets).into(), (&scales).into()];
            let rest = [(&logs).into(), (&losses).into(), (items as u32).into()];
            gpu.launch(HEAD, "head_losses", blocks(batch, THREADS, 0), &[given.as_slice(), &rest].concat())
        })?;
        let sum = gpu.copy_out(&losses)?.into_iter().take(batch).map(f64::from).sum();
        Ok(Losses { sum, scores, targets, scales, logs })
    }

    /// The gradients of the sum of the losses of the same hidden vectors.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn gradients(&self, hidden: &Tensor, losses: Losses) -> Result<Gradients> {
        let (gpu, (batch, width), items) = (Gpu::of(hidden)?, hidden.dims2()?, self.bias.elem_count());
        let Losses { scores, targets, scales, logs, .. } = losses;
        let (dhidden, dweight, dbias) = (gpu.room(batch * width)?, gpu.room(items * width)?, gpu.room(items)?);
        with([hidden, self.weight, self.bias], |[hidden, weight, bias]| {
            let given = [(&scores).into(), bias.into(), (&targets).into(), (&scales).into()];
            let rest = [(&logs).into(), (&dbias).into(), (batch as u32).into(), (items as u32).into()];
            gpu.launch(HEAD, "head_gradients", each(items), &[given.as_slice(), &rest].concat())?;
            let dscores = rows(view(&scores), items);
            let to = rows(view(&dhidden), width);
            gpu.product([batch, width, items], dscores, rows(weight, width), to)?;
            let to = rows(view(&dweight), width);
            gpu.product([items, width, batch], dscores.turned(), rows(hidden, width), to)
        })?;
        let hidden = gpu.tensor(dhidden, (batch, width));
        Ok(Gradients { hidden, weight: gpu.tensor(dweight, (items, width)), bias: gpu.tensor(dbias, items) })
    }
}
