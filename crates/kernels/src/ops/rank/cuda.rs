//! CUDA ranking: a product that keeps the largest score of each 64 items in place of the scores,
//! and one thread block per row for the best items; all results are copied to the host at once.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::{NonFiniteScore, Ranking};
use crate::cuda::{Arg, DeviceBuffer, DeviceF32, Gpu, RANK, SHARED, blocks, sizes, with};
use crate::ops::softmax_head::cuda::scores::{ITEMS, ROWS, THREADS as TILE_THREADS, shared};
use crate::ops::softmax_head::cuda::{CudaOutputLayer, Precision};
use crate::ops::top_k;

/// Threads per row of scores.
const THREADS: u32 = 1024;
/// Above this k, the scores are copied to the host and selected there, which is faster.
const MOST: usize = 32;
/// Items whose largest score is kept.
const GROUP: usize = 64;
/// Kernels of the product by precision.
const KERNELS: [&str; 3] = ["rank_tiles", "rank_tiles_tf32", "rank_tiles_bf16"];

/// Ranks of the targets, if given, and the top `k` items of each contiguous hidden vector `[B,
/// width]`.
///
/// # Errors
/// If sizes do not match, or the GPU fails.
pub fn rank(
    layer: CudaOutputLayer<'_>,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    let (gpu, batch, items) = (Gpu::of(hidden)?, hidden.dim(0)?, layer.bias.elem_count());
    if targets.is_some_and(|t| t.len() != batch || t.iter().any(|&target| target as usize >= items))
    {
        bail!("rank: {batch} rows need as many targets, each below {items}");
    }
    let asked = k.min(items);
    let k = if asked <= MOST { asked } else { 0 };
    let words = 2 + 2 * k;
    let mut scores = None;
    let found = match fused(layer, &gpu, hidden, targets, k)? {
        Some(found) if asked == k => found,
        _ => {
            let (found, all) = from_scores(layer, &gpu, hidden, targets, k)?;
            scores = Some(all);
            found
        }
    };
    let found = gpu.copy_out(&found)?;
    let rows = || found.chunks_exact(words).take(batch);
    if let Some(row) = rows().position(|row| row[0] > 0) {
        return Ok(Err(NonFiniteScore { row }));
    }
    let ranks = if targets.is_some() {
        rows().map(|row| row[1]).collect()
    } else {
        Vec::new()
    };
    let top = match scores {
        Some(scores) if asked > k => best_of(&gpu, &scores, layer.bias, batch, asked)?,
        _ => rows().map(|row| pairs(&row[2..])).collect(),
    };
    Ok(Ok(Ranking { ranks, top }))
}

/// The best item of each hidden vector `[B, width]`, as words of [`from_scores`] with k = 1, of
/// scores in the layer's precision.
pub(crate) fn best(
    layer: CudaOutputLayer<'_>,
    gpu: &Gpu,
    hidden: &Tensor,
) -> Result<DeviceBuffer<u32>> {
    match tiles(layer, gpu, hidden, None, 1)? {
        Some(found) => Ok(found),
        None => Ok(from_scores(layer, gpu, hidden, None, 1)?.0),
    }
}

/// As [`from_scores`] in fp32, without storing the scores; `None` if there are few items or the
/// hidden vectors exceed the shared memory of a block.
fn fused(
    layer: CudaOutputLayer<'_>,
    gpu: &Gpu,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<Option<DeviceBuffer<u32>>> {
    let precision = Precision::Fp32;
    tiles(
        CudaOutputLayer { precision, ..layer },
        gpu,
        hidden,
        targets,
        k,
    )
}

/// [`fused`] with products of the layer's precision.
fn tiles(
    layer: CudaOutputLayer<'_>,
    gpu: &Gpu,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<Option<DeviceBuffer<u32>>> {
    let ((batch, width), items) = (hidden.dims2()?, layer.bias.elem_count());
    let (groups, shared) = (items.div_ceil(GROUP), shared(width));
    if groups < k || shared > gpu.shared()? || width > SHARED / 4 {
        return Ok(None);
    }
    let slabs = batch.div_ceil(ROWS);
    let each = items
        .div_ceil((gpu.processors()? / slabs.max(1)).max(1))
        .next_multiple_of(ITEMS);
    let wanted = gpu.copy_in(targets.unwrap_or(&[]))?;
    let (maxima, found) = (
        gpu.alloc(batch * groups)?,
        gpu.zeros_u32(batch * (2 + 2 * k))?,
    );
    let mut shape = blocks(items.div_ceil(each), TILE_THREADS, shared);
    shape.grid_dim.1 = slabs as u32;
    with(
        [hidden, layer.weight, layer.bias],
        |[hidden, weight, bias]| {
            let given = [hidden, weight, bias].map(Arg::from);
            let [batch_arg, items, width_arg, each, k_arg] = sizes([batch, items, width, each, k]);
            let args = [
                (&wanted).into(),
                (&maxima).into(),
                (&found).into(),
                batch_arg,
                items,
                width_arg,
                each,
                k_arg,
                targets.is_some().into(),
            ];
            let kernel = layer.precision.kernel(KERNELS);
            gpu.launch(RANK, kernel, shape, &[given.as_slice(), &args].concat())?;
            if k == 0 {
                return Ok(());
            }
            let is_exact = layer.precision == Precision::Fp32;
            let args = [
                (&maxima).into(),
                (&found).into(),
                items,
                width_arg,
                k_arg,
                is_exact.into(),
            ];
            let shape = blocks(batch, THREADS, width);
            gpu.launch(
                RANK,
                "rank_best",
                shape,
                &[given.as_slice(), &args].concat(),
            )
        },
    )?;
    Ok(Some(found))
}

/// Of each hidden vector, `2 + 2 k` words: whether a score is not finite, the target's rank, the
/// best items, the bits of their scores; and all scores without bias.
fn from_scores(
    layer: CudaOutputLayer<'_>,
    gpu: &Gpu,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<(DeviceBuffer<u32>, DeviceF32)> {
    let (batch, items) = (hidden.dim(0)?, layer.bias.elem_count());
    let scores = layer.scores(gpu, hidden, items)?;
    let wanted = gpu.copy_in(targets.unwrap_or(&[]))?;
    let found = gpu.alloc_u32(batch * (2 + 2 * k))?;
    with([layer.bias], |[bias]| {
        let args = [
            (&scores).into(),
            bias.into(),
            (&wanted).into(),
            (&found).into(),
            (items as u32).into(),
            (k as u32).into(),
            targets.is_some().into(),
        ];
        gpu.launch(RANK, "rank", blocks(batch, THREADS, 0), &args)
    })?;
    Ok((found, scores))
}

/// Items and their scores, from the items followed by the bits of as many scores.
fn pairs(words: &[u32]) -> Vec<(u32, f32)> {
    let (items, scores) = words.split_at(words.len() / 2);
    let mut pairs = Vec::with_capacity(items.len());
    for (&item, &score) in items.iter().zip(scores) {
        pairs.push((item, f32::from_bits(score)));
    }
    pairs
}

/// Top `k` of each row of scores, on the CPU.
fn best_of(
    gpu: &Gpu,
    scores: &DeviceF32,
    bias: &Tensor,
    batch: usize,
    k: usize,
) -> Result<Vec<Vec<(u32, f32)>>> {
    let bias = with([bias], |[bias]| gpu.copy_out(&gpu.copy_of(bias)?))?;
    let scores = gpu.copy_out(scores)?;
    let rows: Vec<&[f32]> = scores.chunks(bias.len()).take(batch).collect();
    let best_of_row = |row: &[f32]| {
        let mut all = Vec::with_capacity(row.len());
        for (item, (score, bias)) in (0..).zip(row.iter().zip(&bias)) {
            all.push((item, score + bias));
        }
        top_k::best(&mut all, k);
        all
    };
    Ok(rows.into_par_iter().map(best_of_row).collect())
}
