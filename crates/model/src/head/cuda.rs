//! Fused output layer on an NVIDIA GPU, f32.

use candle_core::{Result, Tensor, bail};
use prl_kernels::ops::embedding::cuda::add_by_row;
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};
use prl_kernels::ops::softmax_head::cuda::CudaOutputLayer;

use super::{Head, HeadBatch, HeadOutput};
use crate::param::AdamStep;

fn layer(head: &Head) -> CudaOutputLayer<'_> {
    CudaOutputLayer {
        weight: head.weight.param.as_tensor(),
        bias: head.bias.param.as_tensor(),
    }
}

/// See [`Head::step`]. The loss stays on the GPU, in the step's finite check.
pub(super) fn step(head: &Head, adam: AdamStep<'_>, batch: &HeadBatch<'_>) -> Result<HeadOutput> {
    let hidden = batch.hidden.contiguous()?;
    let Some(check) = &adam.check.on_gpu else {
        bail!("a training step on a GPU needs a finite check")
    };
    let losses = layer(head).losses(&hidden, batch.targets, batch.loss_weights, check)?;
    let [weight, bias] =
        [&head.weight, &head.bias].map(|param| [param.first.as_tensor(), param.second.as_tensor()]);
    let hidden_grad = layer(head).step(adam.step(), weight, bias, &hidden, losses, check)?;
    Ok(HeadOutput {
        ce_loss: None,
        td_loss: 0.0,
        item_grad: None,
        item_rows: None,
        hidden_grad,
    })
}

/// See [`Head::chosen_score_step`].
pub(super) fn chosen_score_step(
    head: &Head,
    adam: AdamStep<'_>,
    hidden: &Tensor,
    items: &[u32],
    grads: &[f64],
) -> Result<Tensor> {
    let (n, device) = (head.bias.param.elem_count(), hidden.device());
    let grads: Vec<f32> = grads.iter().map(|&grad| grad as f32).collect();
    let ids = Tensor::from_slice(items, items.len(), device)?;
    // dL/dh_b = g_b W[i_b], before W is updated.
    let chosen = head.weight.param.index_select(&ids, 0)?;
    let column = Tensor::from_slice(&grads, (grads.len(), 1), device)?;
    let weight_grad = add_by_row(n, items, Some(&grads), &hidden.contiguous()?)?;
    head.weight.step(adam, &weight_grad)?;
    let bias_grad = add_by_row(n, items, None, &column)?.reshape(n)?;
    head.bias.step(adam, &bias_grad)?;
    chosen.broadcast_mul(&column)
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
