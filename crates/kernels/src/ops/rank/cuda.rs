//! CUDA ranking: one thread block per row of scores; all results are copied to the host at once.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::{NonFiniteScore, Ranking};
use crate::cuda::{DeviceBuffer, DeviceF32, Gpu, RANK, blocks, with};
use crate::ops::softmax_head::cuda::CudaOutputLayer;
use crate::ops::top_k;

/// Threads per row of scores.
const THREADS: u32 = 1024;
/// Above this k, the scores are copied to the host and selected there, which is faster.
const MOST: usize = 32;

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
    let (found, scores) = launch(layer, &gpu, hidden, targets, k)?;
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
    let top = if asked > k {
        best_of(&gpu, &scores, layer.bias, batch, asked)?
    } else {
        rows().map(|row| pairs(&row[2..])).collect()
    };
    Ok(Ok(Ranking { ranks, top }))
}

/// The best item of each hidden vector `[B, width]`, as words of [`launch`] with k = 1.
pub(crate) fn best(
    layer: CudaOutputLayer<'_>,
    gpu: &Gpu,
    hidden: &Tensor,
) -> Result<DeviceBuffer<u32>> {
    Ok(launch(layer, gpu, hidden, None, 1)?.0)
}

/// Of each hidden vector, `2 + 2 k` words: whether a score is not finite, the target's rank, the
/// best items, the bits of their scores; and all scores without bias.
fn launch(
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
