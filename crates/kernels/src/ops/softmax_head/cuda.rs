//! CUDA softmax head: all scores are materialised by a product that also computes the softmax
//! statistics; one sweep over them does the update.

pub(crate) mod scores;
mod step;

use candle_core::{Result, Tensor, bail};

use crate::cuda::{
    DeviceBuffer, DeviceF32, FiniteCheck, Gpu, SOFTMAX_HEAD, SOFTMAX_HEAD_SCORES, blocks, rows,
    sizes, view, with,
};
use crate::ops::q_learning::TdStep;
use scores::Scored;

pub use step::Moments;

/// Threads per row of scores.
const THREADS: u32 = 512;

/// Precision to which a training step rounds the factors of the output layer's products. Sums,
/// scores, softmax, weights and moments are in fp32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// No rounding.
    #[default]
    Fp32,
    /// Eleven bits, by tensor cores.
    Tf32,
    /// Eight bits, by tensor cores.
    Bf16,
}

impl Precision {
    /// The name of the kernel for this precision, of those for fp32, TF32 and bfloat16.
    pub(crate) fn kernel(self, [fp32, tf32, bf16]: [&'static str; 3]) -> &'static str {
        match self {
            Self::Fp32 => fp32,
            Self::Tf32 => tf32,
            Self::Bf16 => bf16,
        }
    }
}

/// Output layer on a GPU, contiguous `f32`: weight `[items, width]` and bias `[items]`.
#[derive(Clone, Copy)]
pub struct CudaOutputLayer<'a> {
    /// The weight.
    pub weight: &'a Tensor,
    /// The bias.
    pub bias: &'a Tensor,
    /// Precision of the products of a training step. Scores of hidden vectors that are too wide
    /// for a block's shared memory are in fp32 in any case.
    pub precision: Precision,
}

/// Scales of a batch's losses, `[B]`.
#[derive(Clone, Copy)]
pub enum LossScales<'a> {
    /// On the host.
    Host(&'a [f64]),
    /// Those of a temporal-difference step.
    Td(&'a TdStep),
}

impl LossScales<'_> {
    fn len(self) -> usize {
        match self {
            Self::Host(scales) => scales.len(),
            Self::Td(step) => view(&step.scales).len,
        }
    }

    fn on_gpu(self, gpu: &Gpu) -> Result<DeviceF32> {
        match self {
            Self::Host(scales) => {
                let scales: Vec<f32> = scales.iter().map(|&scale| scale as f32).collect();
                gpu.copy_in(&scales)
            }
            Self::Td(step) => Ok(step.scales.clone()),
        }
    }
}

/// Values saved for the backward pass of a batch.
pub struct Losses {
    /// Scores without bias, rows of [`stride`] floats.
    scores: DeviceF32,
    targets: DeviceBuffer<u32>,
    scales: DeviceF32,
    /// Log-sum-exp of each row.
    logs: DeviceF32,
}

/// Row stride of the scores, aligned for 16-byte loads.
fn stride(items: usize) -> usize {
    items.next_multiple_of(4)
}

impl CudaOutputLayer<'_> {
    /// Scores without bias, `[B, items]` with the given row stride.
    pub(crate) fn scores(&self, gpu: &Gpu, hidden: &Tensor, stride: usize) -> Result<DeviceF32> {
        let ((batch, width), items) = (self.sizes(hidden)?, self.bias.elem_count());
        let scores = gpu.alloc(batch * stride)?;
        with([hidden, self.weight], |[hidden, weight]| {
            let (weight, to) = (rows(weight, width).turned(), rows(view(&scores), stride));
            gpu.product([batch, items, width], rows(hidden, width), weight, to)
        })?;
        Ok(scores)
    }

    /// Batch size and width; an error if the shapes do not match.
    fn sizes(&self, hidden: &Tensor) -> Result<(usize, usize)> {
        let ((batch, width), items) = (hidden.dims2()?, self.bias.elem_count());
        if self.weight.dims() != [items, width] {
            bail!(
                "softmax_head: weight {:?}, {items} items and hidden vectors {:?} do not match",
                self.weight.shape(),
                hidden.shape()
            );
        }
        Ok((batch, width))
    }

    /// Computes the losses of a batch, multiplied by the scales, and records them in the finite
    /// check. `hidden` must be contiguous.
    ///
    /// # Errors
    /// If sizes do not match, or the GPU fails.
    pub fn losses(
        &self,
        hidden: &Tensor,
        targets: &[u32],
        scales: LossScales<'_>,
        check: &FiniteCheck,
    ) -> Result<Losses> {
        let (gpu, batch, items) = (Gpu::of(hidden)?, hidden.dim(0)?, self.bias.elem_count());
        if targets.len() != batch
            || scales.len() != batch
            || targets.iter().any(|&target| target as usize >= items)
        {
            bail!(
                "softmax_head: {} targets and {} scales for {batch} rows; targets must be below {items}",
                targets.len(),
                scales.len()
            );
        }
        let (targets, scales) = (gpu.copy_in(targets)?, scales.on_gpu(&gpu)?);
        let (logs, losses) = (gpu.alloc(batch)?, check.losses(batch)?);
        let scored = self.scored(&gpu, hidden)?;
        let scores = with([self.bias], |[bias]| {
            let rows = [
                (&targets).into(),
                (&scales).into(),
                (&logs).into(),
                losses.into(),
                check.word().into(),
            ];
            let [items, stride] = sizes([items, stride(items)]);
            if let Some(Scored { scores, ends, n }) = scored {
                let given = [(&ends).into(), (&scores).into(), bias.into()];
                let args = [given.as_slice(), &rows, &[(n as u32).into(), stride]].concat();
                gpu.launch(
                    SOFTMAX_HEAD_SCORES,
                    "head_losses_of",
                    blocks(batch, 64, 0),
                    &args,
                )?;
                return Ok(scores);
            }
            let scores = self.scores(&gpu, hidden, self::stride(self.bias.elem_count()))?;
            let args = [
                &[(&scores).into(), bias.into()],
                rows.as_slice(),
                &[items, stride],
            ]
            .concat();
            gpu.launch(
                SOFTMAX_HEAD,
                "head_losses",
                blocks(batch, THREADS, 0),
                &args,
            )?;
            Ok(scores)
        })?;
        Ok(Losses {
            scores,
            targets,
            scales,
            logs,
        })
    }
}
