//! On a GPU: a block a row of whole scores, which it goes over once, and again for each of the best items.

use candle_core::{Result, Tensor, bail};

use super::{NotFinite, Ranking};
use crate::gpu::{Gpu, RANK, THREADS, blocks, with};
use crate::head::gpu::Layer;

/// Ranks of the targets, if given, and the `k` best items of each contiguous hidden vector `[B, width]`.
///
/// # Errors
/// If sizes do not fit, or the GPU fails.
pub fn rank(
    layer: Layer<'_>,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<std::result::Result<Ranking<f32>, NotFinite>> {
    let (gpu, batch, items) = (Gpu::of(hidden)?, hidden.dim(0)?, layer.bias.elem_count());
    if targets.is_some_and(|t| t.len() != batch || t.iter().any(|&target| target as usize >= items)) {
        bail!("rank: {batch} rows over {items} items need as many targets among them");
    }
    let (k, scores) = (k.min(items), layer.scores(&gpu, hidden)?);
    let wanted = gpu.copy_in(targets.unwrap_or(&[]))?;
    let (ranks, strange, best) = (gpu.words(batch)?, gpu.words(batch)?, gpu.words(batch * k)?);
    let values = gpu.room(batch * k)?;
    with([layer.bias], |[bias]| {
        let given = [(&scores).into(), bias.into(), (&wanted).into()];
        let found = [(&ranks).into(), (&best).into(), (&values).into(), (&strange).into()];
        let sizes = [(items as u32).into(), (k as u32).into(), targets.is_some().into()];
        gpu.launch(RANK, "rank", blocks(batch, THREADS, 0), &[given.as_slice(), &found, &sizes].concat())
    })?;
    if let Some(row) = gpu.copy_out(&strange)?.iter().take(batch).position(|&strange| strange > 0) {
        return Ok(Err(NotFinite { row }));
    }
    let ranks = if targets.is_some() { gpu.copy_out(&ranks)? } else { Vec::new() };
    let found: Vec<(u32, f32)> = match k {
        0 => Vec::new(),
        _ => gpu.copy_out(&best)?.into_iter().zip(gpu.copy_out(&values)?).collect(),
    };
    let top = (0..batch).map(|b| found[b * k..(b + 1) * k].to_vec()).collect();
    Ok(Ok(Ranking { ranks, top }))
}
