//! Scaled dot-product attention by candle's operations.

use candle_core::{Result, Tensor};

use crate::layers::softmax;

/// Added to the scores of hidden keys: their weight is exactly zero in f32 and f64.
const HIDDEN: f64 = -1e30;

/// Attention weights `softmax(q k^T / sqrt(d))`: `[B, Q, K]` of queries `[B, Q, d]` and keys
/// `[B, K, d]`.
///
/// `visible` (u8, broadcast to `[B, Q, K]`) is zero where a query must not see a key. The output of
/// the attention is `weights.matmul(&v)`; a dropout goes in between.
pub fn attention_weights(q: &Tensor, k: &Tensor, visible: Option<&Tensor>) -> Result<Tensor> {
    let d = q.dim(2)? as f64;
    // candle's product of a transposed view is wrong (candle #3744), hence the copy.
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / d.sqrt())?;
    let scores = match visible {
        None => scores,
        Some(visible) => {
            let bias = ((visible.to_dtype(q.dtype())? - 1.0)? * -HIDDEN)?;
            scores.broadcast_add(&bias)?
        }
    };
    softmax(&scores)
}

/// Visibility of a causal attention over `n` positions, `[n, n]`: each sees itself and those
/// before.
pub fn causal(n: usize, device: &candle_core::Device) -> Result<Tensor> {
    Tensor::tril2(n, candle_core::DType::U8, device)
}
