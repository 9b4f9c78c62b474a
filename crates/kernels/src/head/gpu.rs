//! On a GPU the scores are whole: a product makes them, one sweep over them the losses, another the step.

mod step;

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Tensor, bail};

use crate::gpu::{Gpu, HEAD, Numbers, blocks, rows, view, with};

pub use step::Moments;

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
    /// Rows of [`stride`] numbers.
    scores: Numbers,
    targets: CudaSlice<u32>,
    scales: Numbers,
    /// Log sum exp of each row.
    logs: Numbers,
}

/// How far apart the rows of scores lie, so that each begins where four at a time can be read.
fn stride(items: usize) -> usize {
    items.next_multiple_of(4)
}

impl Layer<'_> {
    /// The scores of hidden vectors without the bias: `[B, items]`, with rows so far apart.
    pub(crate) fn scores(&self, gpu: &Gpu, hidden: &Tensor, stride: usize) -> Result<Numbers> {
        let ((batch, width), items) = (hidden.dims2()?, self.bias.elem_count());
        if self.weight.dims() != [items, width] {
            bail!("head: weight {:?}, {items} items and hidden vectors {:?}", self.weight.shape(), hidden.shape());
        }
        let scores = gpu.room(batch * stride)?;
        with([hidden, self.weight], |[hidden, weight]| {
            let (weight, to) = (rows(weight, width).turned(), rows(view(&scores), stride));
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
        let scores = self.scores(&gpu, hidden, stride(items))?;
        let scales: Vec<f32> = scales.iter().map(|&scale| scale as f32).collect();
        let (targets, scales) = (gpu.copy_in(targets)?, gpu.copy_in(&scales)?);
        let (logs, losses) = (gpu.room(batch)?, gpu.room(batch)?);
        with([self.bias], |[bias]| {
            let given = [(&scores).into(), bias.into(), (&targets).into(), (&scales).into()];
            let sizes = [items, stride(items)].map(|size| (size as u32).into());
            let rest = [(&logs).into(), (&losses).into()];
            gpu.launch(HEAD, "head_losses", blocks(batch, THREADS, 0), &[given.as_slice(), &rest, &sizes].concat())
        })?;
        let sum = gpu.copy_out(&losses)?.into_iter().take(batch).map(f64::from).sum();
        Ok(Losses { sum, scores, targets, scales, logs })
    }
}
