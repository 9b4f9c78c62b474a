//! Fused output layer on an NVIDIA GPU, f32.

use candle_core::{Result, Tensor, bail};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};
use prl_kernels::ops::softmax_head::cuda::{CudaOutputLayer, LossScales};

use super::{Head, HeadBatch, HeadOutput};
use crate::param::AdamStep;

/// The layer's tensors.
pub(crate) fn layer(head: &Head) -> CudaOutputLayer<'_> {
    CudaOutputLayer {
        weight: head.weight.param.as_tensor(),
        bias: head.bias.param.as_tensor(),
        precision: head.dtype.precision(),
    }
}

/// See [`Head::step`]. The loss stays on the GPU, in the step's finite check.
pub(super) fn step(head: &Head, adam: AdamStep<'_>, batch: &HeadBatch<'_>) -> Result<HeadOutput> {
    let hidden = batch.hidden.contiguous()?;
    let scales = LossScales::Host(batch.loss_weights);
    step_scaled(head, adam, &hidden, batch.targets, scales)
}

/// [`step`] on contiguous hidden vectors, with scales that may be on the GPU.
pub(crate) fn step_scaled(
    head: &Head,
    adam: AdamStep<'_>,
    hidden: &Tensor,
    targets: &[u32],
    scales: LossScales<'_>,
) -> Result<HeadOutput> {
    let Some(check) = &adam.check.on_gpu else {
        bail!("a training step on a GPU needs a finite check")
    };
    let losses = layer(head).losses(hidden, targets, scales, check)?;
    let [weight, bias] =
        [&head.weight, &head.bias].map(|param| [param.first.as_tensor(), param.second.as_tensor()]);
    let hidden_grad = layer(head).step(adam.step(), weight, bias, hidden, losses, check)?;
    Ok(HeadOutput {
        ce_loss: None,
        td_loss: 0.0,
        item_grad: None,
        item_rows: None,
        hidden_grad,
    })
}

/// See [`Head::rank`].
pub(super) fn rank(
    head: &Head,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
    bias: &Tensor,
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    let layer = CudaOutputLayer {
        bias,
        ..layer(head)
    };
    prl_kernels::ops::rank::cuda::rank(layer, &hidden.contiguous()?, targets, k)
}
