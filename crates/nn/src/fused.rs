//! The layers on the fused kernels. They run where [`Backend::is_fused`](crate::Backend::is_fused).

use candle_core::{Result, Tensor};
use prl_kernels::ops::dropout;
use prl_kernels::ops::layer_norm;
use prl_kernels::ops::linear as linear_kernel;

use crate::forward_ctx::ForwardCtx;
use crate::layers::{LayerNorm, Linear};

/// A linear layer, `[.., inputs]` to `[.., outputs]`.
pub fn linear(layer: &Linear, x: &Tensor) -> Result<Tensor> {
    linear_kernel::linear(x, layer.packed()?, layer.bias(), false)
}

/// A linear layer and a ReLU.
pub fn linear_relu(layer: &Linear, x: &Tensor) -> Result<Tensor> {
    linear_kernel::linear(x, layer.packed()?, layer.bias(), true)
}

/// A layer norm over the last axis.
pub fn layer_norm(layer: &LayerNorm, x: &Tensor) -> Result<Tensor> {
    layer_norm::layer_norm(x, &layer.weight, &layer.bias, layer.eps)
}

/// Dropout; the identity at inference.
pub fn dropout(x: &Tensor, rate: f64, ctx: &ForwardCtx) -> Result<Tensor> {
    match ctx.mask(x.elem_count(), rate) {
        Some(mask) => dropout::dropout(x, mask),
        None => Ok(x.clone()),
    }
}
