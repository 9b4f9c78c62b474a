//! CUDA embedding lookup, and its gradient as a dense matrix.

use candle_core::{Result, Shape, Tensor, bail};

use crate::cuda::row_ops::{Added, Groups, gather_rows};
use crate::cuda::{Gpu, Words, view, with};

/// Rows of a contiguous `f32` table `[n, width]`, as a variable of this shape.
///
/// # Errors
/// If an id is not below n, or the GPU fails.
pub fn gather(table: &Tensor, ids: &[u32], shape: impl Into<Shape>) -> Result<Tensor> {
    let (n, width) = table.dims2()?;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= n) {
        bail!("embedding: row {id} is out of range; the table has {n} rows");
    }
    let gpu = Gpu::of(table)?;
    let len = ids.len() * width;
    with([table], |[table]| {
        gpu.variable(shape, |to| {
            let rows = gpu.copy_in(ids)?;
            gather_rows(&gpu, table, view(&rows), width, to.first(len))
        })
    })
}

/// `[n, width]` of zeros with row i of the contiguous `f32` tensor `x` `[ids, width]`, times
/// `weights[i]` if there are weights, added to row `ids[i]`, in this order.
///
/// # Panics
/// If an id is not below n, or there are not as many weights as ids.
pub fn add_by_row(n: usize, ids: &[u32], weights: Option<&[f32]>, x: &Tensor) -> Result<Tensor> {
    assert!(
        ids.iter().all(|&id| (id as usize) < n)
            && weights.is_none_or(|weights| weights.len() == ids.len())
    );
    let gpu = Gpu::of(x)?;
    let keys = gpu.copy_in(ids)?;
    let weights = match weights {
        Some(weights) => Some(gpu.copy_in(&bits(weights))?),
        None => None,
    };
    add_by_row_on_gpu(n, (view(&keys), ids), weights.as_ref().map(view), x)
}

/// As [`add_by_row`], with ids and weights on the GPU; the ids are those on the host.
pub(crate) fn add_by_row_on_gpu(
    n: usize,
    (keys, ids): (Words<'_>, &[u32]),
    weights: Option<Words<'_>>,
    x: &Tensor,
) -> Result<Tensor> {
    let (gpu, width) = (Gpu::of(x)?, x.dim(1)?);
    let sums = gpu.zeros(n * width)?;
    let groups = Groups::new(&gpu, keys, ids.iter().copied())?;
    let added = Added {
        to: keys,
        weights,
        groups: &groups,
        n: ids.len(),
    };
    with([x], |[x]| added.add(&gpu, view(&sums), x, width))?;
    sums.tensor((n, width))
}

/// The bits of each number.
fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}
