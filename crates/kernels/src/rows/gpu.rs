//! On a GPU: the sum by row as a dense matrix, whose other rows are zero.

use candle_core::{Result, Tensor};

use crate::gpu::{Gpu, with};
use crate::pick::gpu::Plan;

/// `[n, width]` of zeros with row i of the contiguous `f32` tensor `x` `[ids, width]` times `weights[i]` added to row `ids[i]`,
/// in this order.
///
/// # Panics
/// If there are fewer weights than ids.
pub fn add_by_row(n: usize, ids: &[u32], weights: &[f32], x: &Tensor) -> Result<Tensor> {
    let (gpu, width) = (Gpu::of(x)?, x.dim(1)?);
    let sums = gpu.zeros(n * width)?;
    let plan = Plan::new((0..).zip(ids).map(|(at, &id)| (id, at, weights[at as usize])));
    with([x], |[x]| plan.add(&gpu, &sums, x, width))?;
    Ok(gpu.tensor(sums, (n, width)))
}
