//! The output layer on a GPU.

use candle_core::{Result, Tensor, bail};
use prl_kernels::ops::embedding::cuda::add_by_row;
use prl_kernels::ops::softmax_head::cuda::CudaOutputLayer;

use super::{Head, HeadStep};
use crate::param::AdamStep;

impl Head {
    pub(super) fn layer(&self) -> CudaOutputLayer<'_> {
        CudaOutputLayer {
            weight: self.weight.param.as_tensor(),
            bias: self.bias.param.as_tensor(),
        }
    }

    pub(super) fn step_cuda(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        targets: &[u32],
        scale: &[f64],
    ) -> Result<HeadStep> {
        let hidden = hidden.contiguous()?;
        let Some(watch) = &by.watch.on_gpu else {
            bail!("a step on a GPU is watched")
        };
        let losses = self.layer().losses(&hidden, targets, scale, watch)?;
        let [weight, bias] = [&self.weight, &self.bias]
            .map(|slot| [slot.first.as_tensor(), slot.second.as_tensor()]);
        let hidden = self
            .layer()
            .step(by.step(), weight, bias, &hidden, losses, watch)?;
        Ok(HeadStep { loss: None, hidden })
    }

    pub(super) fn step_chosen_cuda(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        items: &[u32],
        grads: &[f64],
    ) -> Result<Tensor> {
        let (n, device) = (self.bias.param.elem_count(), hidden.device());
        let weights: Vec<f32> = grads.iter().map(|&grad| grad as f32).collect();
        let chosen = self
            .weight
            .param
            .index_select(&Tensor::from_slice(items, items.len(), device)?, 0)?;
        let by_value = Tensor::from_slice(&weights, (weights.len(), 1), device)?;
        self.weight.step(
            by,
            &add_by_row(n, items, Some(&weights), &hidden.contiguous()?)?,
        )?;
        self.bias
            .step(by, &add_by_row(n, items, None, &by_value)?.reshape(n)?)?;
        chosen.broadcast_mul(&by_value)
    }
}
