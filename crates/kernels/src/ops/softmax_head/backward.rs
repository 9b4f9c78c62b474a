//! Second sweep: gradients from the exponentials of the first.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    BLOCK, FirstSweep, OutputLayer, Softmax, TILE, VectorSweep, exponentials, in_elements, tiled,
};
use crate::ops::adam::{self, AdamSlices};
use crate::ops::score_offsets::{ScoreOffset, add_to_tile};
use crate::simd::element::Element;
use crate::simd::gemm::{PANEL, Strided, multiply_add};
use crate::simd::operand::GemmOperand;
use crate::simd::slices::{add, load, prefetch, store};
use crate::{CHUNKS, Real};

/// Destination of the weight gradient.
pub enum Sink<'a, T> {
    /// A matrix of the weight's shape.
    Gradient(&'a mut [T]),
    /// An Adam update, applied tile by tile: first and second moments of the weight's shape.
    Adam(adam::AdamFactors<T>, &'a mut [T], &'a mut [T]),
}

impl<'a, T: Real> Sink<'a, T> {
    /// The sink of elements that are `f32`.
    fn in_f32(self) -> Sink<'a, f32> {
        let cast = bytemuck::cast_slice_mut;
        match self {
            Sink::Gradient(g) => Sink::Gradient(cast(g)),
            Sink::Adam(step, m, v) => Sink::Adam(step.in_type(), cast(m), cast(v)),
        }
    }

    /// One sink for each chunk of `size` elements.
    pub(super) fn chunks(self, size: usize) -> Vec<Sink<'a, T>> {
        match self {
            Sink::Gradient(g) => g.chunks_mut(size).map(Sink::Gradient).collect(),
            Sink::Adam(step, m, v) => {
                let mut chunks = Vec::new();
                for (m, v) in m.chunks_mut(size).zip(v.chunks_mut(size)) {
                    chunks.push(Sink::Adam(step, m, v));
                }
                chunks
            }
        }
    }

    /// Fetches a part of the moments of `n` elements starting at `at` into the cache.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: usize, n: usize, (part, parts): (usize, usize)) {
        if let Sink::Adam(_, m, v) = self {
            prefetch::<T, true>(&m[at..at + n], part, parts);
            prefetch::<T, true>(&v[at..at + n], part, parts);
        }
    }

    /// Consumes the gradient of the elements starting at `at`.
    #[inline(always)]
    pub(super) fn take<S: Simd>(&mut self, simd: S, at: usize, weight: &mut [T], grad: &[T]) {
        let range = at..at + grad.len();
        match self {
            Sink::Gradient(g) => g[range].copy_from_slice(grad),
            Sink::Adam(step, m, v) => {
                step.update(
                    simd,
                    AdamSlices {
                        param: weight,
                        first: &mut m[range.clone()],
                        second: &mut v[range],
                    },
                    Some(grad),
                );
            }
        }
    }
}

/// Gradients of `loss = sum over b of scale[b] * cross-entropy[b]`.
///
/// Returns those of `hidden` (`[batch, width]`) and of the bias (`[items]`); the weight gradient
/// goes to `sink`, tile by tile, after the last use of the tile. The layer, `hidden` and `targets`
/// are those of [`softmax`](super::softmax); `targets` is empty after
/// [`softmax_relative_to`](super::softmax_relative_to), and these are the gradients by the layer's
/// items alone.
pub fn backward<F: GemmOperand>(
    weight: &mut [F::Sum],
    bias: &[F::Sum],
    hidden: &[F::Sum],
    targets: &[u32],
    softmax: &Softmax<F>,
    scale: &[F::Sum],
    sink: Sink<'_, F::Sum>,
) -> (Vec<F::Sum>, Vec<F::Sum>) {
    let width = hidden.len() / scale.len().max(1);
    let mut by_item: Vec<(u32, u32)> = targets.iter().copied().zip(0..).collect();
    by_item.sort_unstable();
    let target_grad = target_gradient::<F>(weight, width, targets, scale);
    let sweep = match &softmax.sweep {
        FirstSweep::Vector(sweep) => sweep,
        FirstSweep::Tiled(first) => {
            let pass = tiled::Pass {
                first,
                log_sum_exp: bytemuck::cast_slice(&softmax.log_sum_exp),
                offsets: &softmax.offsets.in_type(),
                hidden: bytemuck::cast_slice(hidden),
                width,
                targets: &by_item,
                scale: bytemuck::cast_slice(scale),
                target_grad: bytemuck::cast_slice(&target_grad),
            };
            let weight = bytemuck::cast_slice_mut(weight);
            let bias = bytemuck::cast_slice(bias);
            let (hidden, bias) = tiled::backward(pass, weight, bias, sink.in_f32());
            return (in_elements::<F>(hidden), in_elements::<F>(bias));
        }
    };
    let batch = Batch {
        softmax,
        sweep,
        hidden,
        width,
        targets: by_item,
        scale,
    };
    let mut hidden_grad = target_grad;
    hidden_grad.resize(hidden.len(), num_traits::zero());
    let mut bias_grad = vec![num_traits::zero(); bias.len()];
    let rows = bias.len().div_ceil(CHUNKS);
    let weights = weight
        .chunks_mut(rows * width)
        .zip(sink.chunks(rows * width));
    let biases = bias.chunks(rows).zip(bias_grad.chunks_mut(rows));
    let mut chunks = Vec::with_capacity(CHUNKS);
    for ((weight, sink), (bias, bias_grad)) in weights.zip(biases) {
        let index = chunks.len();
        chunks.push(Chunk {
            batch: &batch,
            index,
            first: index * rows,
            weight,
            bias,
            bias_grad,
            sink,
        });
    }
    let arch = Arch::new();
    let partial: Vec<Vec<F::Sum>> = chunks
        .into_par_iter()
        .map(|chunk| arch.dispatch(chunk))
        .collect();
    // In order, so that the bits do not depend on the threads.
    for part in &partial {
        add(&mut hidden_grad, part);
    }
    (hidden_grad, bias_grad)
}

/// Gradients of `loss = sum over b of scale[b] * cross-entropy[b]` by the score offsets, in the
/// order of [`ScoreOffsets::as_slice`](crate::ops::score_offsets::ScoreOffsets::as_slice): that of
/// the score itself. `weight` must be that of the first sweep, so call it before [`backward`].
pub fn offset_gradients<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    hidden: &[F::Sum],
    targets: &[u32],
    softmax: &Softmax<F>,
    scale: &[F::Sum],
) -> Vec<F::Sum> {
    let width = hidden.len() / targets.len().max(1);
    let mut grads = Vec::with_capacity(softmax.offsets.as_slice().len());
    for o in softmax.offsets.as_slice() {
        let (item, row) = (o.item as usize, o.row as usize);
        let mut score = linear.bias[item] + o.value;
        let weight = &linear.weight[item * width..][..width];
        for (&w, &h) in weight.iter().zip(&hidden[row * width..]) {
            score += F::rounded(w) * F::rounded(h);
        }
        let p = num_traits::Float::exp(score - softmax.log_sum_exp[row]);
        let is_target = F::Sum::of(f64::from(u8::from(targets[row] == o.item)));
        grads.push(scale[row] * (p - is_target));
    }
    grads
}

/// Inputs shared by all chunks of the second sweep.
struct Batch<'a, F: Element> {
    softmax: &'a Softmax<F>,
    sweep: &'a VectorSweep<F>,
    hidden: &'a [F::Sum],
    width: usize,
    /// (item, hidden vector), by item.
    targets: Vec<(u32, u32)>,
    scale: &'a [F::Sum],
}

/// The targets' part of the hidden gradient. It uses the same rounding as the softmax part, so that
/// both cancel exactly at convergence.
fn target_gradient<F: GemmOperand>(
    weight: &[F::Sum],
    width: usize,
    targets: &[u32],
    scale: &[F::Sum],
) -> Vec<F::Sum> {
    let mut grad = Vec::with_capacity(targets.len() * width);
    for (&t, &s) in targets.iter().zip(scale) {
        let row = &weight[t as usize * width..][..width];
        grad.extend(row.iter().map(|&w| -s * F::rounded(w)));
    }
    grad
}

impl<F: GemmOperand> Batch<'_, F> {
    /// Factors that turn a chunk's exponentials into `scale` x probability, padded to whole panels
    /// with zeros.
    fn factors(&self, chunk: usize) -> Vec<F::Sum> {
        let reference = &self.sweep.references[chunk];
        let mut factors = vec![num_traits::zero(); reference.len()];
        let logs = self.softmax.log_sum_exp.iter().zip(self.scale);
        for ((factor, &reference), (&log, &scale)) in factors.iter_mut().zip(reference).zip(logs) {
            *factor = scale * num_traits::Float::exp(reference - log);
        }
        factors
    }

    /// Hidden vectors multiplied by their factors: a matrix for each panel; whole panels if rows
    /// are packed in pairs.
    #[inline(always)]
    fn scaled<S: Simd>(&self, simd: S, factors: &[F::Sum]) -> Vec<Vec<F>> {
        let mut scaled = self.hidden.to_vec();
        scale_rows(&mut scaled, self.width, factors);
        let mut room = Vec::new();
        if F::PACK == 2 {
            scaled.resize(factors.len() * self.width, num_traits::zero());
        }
        let mut panels = Vec::with_capacity(factors.len() / PANEL);
        for panel in scaled.chunks(PANEL * self.width) {
            panels.push(F::pack_columns(simd, panel, self.width, &mut room).to_vec());
        }
        panels
    }

    /// The targets in a range of items: (item, hidden vector).
    fn targets_in(&self, items: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let start = self
            .targets
            .partition_point(|&(t, _)| (t as usize) < items.start);
        let end = self
            .targets
            .partition_point(|&(t, _)| (t as usize) < items.end);
        self.targets[start..end]
            .iter()
            .map(|&(t, b)| (t as usize, b as usize))
    }
}

/// One chunk of items in the second sweep.
struct Chunk<'a, F: Element> {
    batch: &'a Batch<'a, F>,
    index: usize,
    /// Its first item.
    first: usize,
    weight: &'a mut [F::Sum],
    bias: &'a [F::Sum],
    bias_grad: &'a mut [F::Sum],
    sink: Sink<'a, F::Sum>,
}

impl<F: GemmOperand> WithSimd for Chunk<'_, F> {
    /// The chunk's softmax part of the hidden gradient.
    type Output = Vec<F::Sum>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<F::Sum> {
        let Self {
            batch,
            index,
            first,
            weight,
            bias,
            bias_grad,
            mut sink,
        } = self;
        let (packed, width, across) = (&batch.sweep.packed, batch.width, PANEL / F::PACK);
        let factors = batch.factors(index);
        let scaled = batch.scaled(simd, &factors);
        let mut kept = batch.sweep.kept.chunk(index).chunks_exact(BLOCK / F::PACK);
        let mut second = Recomputed::new(batch.sweep, index);
        let mut hidden_grad: Vec<F::Sum> = vec![num_traits::zero(); batch.hidden.len()];
        let mut weight_grad = vec![num_traits::zero(); TILE * width];
        let [mut rows, mut columns, mut regrouped] = [const { Vec::new() }; 3];
        for tile in (0..bias.len()).step_by(TILE) {
            let items = TILE.min(bias.len() - tile);
            let weight = &mut weight[tile * width..][..items * width];
            let (bias, bias_grad) = (&bias[tile..][..items], &mut bias_grad[tile..][..items]);
            let weight_grad = &mut weight_grad[..items * width];
            weight_grad.fill(num_traits::zero());
            let by_width = F::pack_columns(simd, weight, width, &mut columns);
            let range = first + tile..first + tile + items;
            let offsets = batch.softmax.offsets.of_items(range.clone());
            // Needed only if fewer blocks are stored than the tile has panels.
            let by_item = if kept.len() < scaled.len() {
                F::pack_rows(simd, weight, width, &mut rows)
            } else {
                &[]
            };
            for ((start, n), scaled) in packed.panels().zip(&scaled) {
                let exps = match kept.next() {
                    Some(exps) => exps,
                    None => second.block(simd, by_item, bias, (range.start, offsets), start, n),
                };
                let exps = &exps[..items * across];
                add_weighted(simd, exps, &factors[start..][..PANEL], n, bias_grad);
                let across_events = Strided {
                    data: exps,
                    row: across,
                    column: 1,
                };
                multiply_add(
                    simd,
                    [items, width, n.min(across)],
                    across_events,
                    scaled,
                    width,
                    weight_grad,
                    width,
                );
                let across_items = Strided {
                    data: F::repack(simd, exps, across, &mut regrouped),
                    row: 1,
                    column: PANEL,
                };
                let out = &mut hidden_grad[start * width..][..n * width];
                let shape = [n, width, items.div_ceil(F::PACK)];
                multiply_add(simd, shape, across_items, by_width, width, out, width);
            }
            // By item, then by hidden vector: a fixed order of the sums.
            for (t, b) in batch.targets_in(range) {
                let (item, scale) = (t - first - tile, batch.scale[b]);
                let row = weight_grad[item * width..][..width].iter_mut();
                for (sum, &h) in row.zip(&batch.hidden[b * width..]) {
                    *sum -= F::rounded(scale * h);
                }
                bias_grad[item] -= scale;
            }
            sink.take(simd, tile * width, weight, weight_grad);
        }
        scale_rows(&mut hidden_grad, width, &factors);
        hidden_grad
    }
}

/// Multiplies each row by its factor.
fn scale_rows<T: Real>(rows: &mut [T], width: usize, factors: &[T]) {
    for (row, &factor) in rows.chunks_exact_mut(width).zip(factors) {
        for x in row {
            *x *= factor;
        }
    }
}

/// Adds each item's weighted exponentials over a panel of `n` hidden vectors to `sums`.
#[inline(always)]
fn add_weighted<F: GemmOperand, S: Simd>(
    simd: S,
    exps: &[F],
    weights: &[F::Sum],
    n: usize,
    sums: &mut [F::Sum],
) {
    let across = PANEL / F::PACK;
    for (row, total) in exps.chunks_exact(across).zip(sums) {
        let mut sum = F::Sum::splat(simd, num_traits::zero());
        for c in (0..n.min(across)).step_by(F::Sum::lanes::<S>()) {
            let [first, second] =
                F::unpack(simd, load::<F::Sum, S>(bytemuck::cast_slice(&row[c..])));
            sum = F::Sum::vmul_add(simd, first, load::<F::Sum, S>(&weights[c..]), sum);
            if F::PACK == 2 {
                sum =
                    F::Sum::vmul_add(simd, second, load::<F::Sum, S>(&weights[c + across..]), sum);
            }
        }
        *total += F::Sum::vsum(simd, sum);
    }
}

/// Recomputation of the exponentials beyond the buffer, block by block.
struct Recomputed<'a, F: Element> {
    sweep: &'a VectorSweep<F>,
    reference: &'a [F::Sum],
    scores: Vec<F::Sum>,
    exps: Vec<F>,
}

impl<'a, F: GemmOperand> Recomputed<'a, F> {
    fn new(sweep: &'a VectorSweep<F>, chunk: usize) -> Self {
        let (scores, exps) = (
            vec![num_traits::zero(); BLOCK],
            vec![F::zeroed(); BLOCK / F::PACK],
        );
        Self {
            sweep,
            reference: &sweep.references[chunk],
            scores,
            exps,
        }
    }

    /// Exponentials of a tile, given by its weight rows, bias, first item and score offsets, for
    /// the panel of `n` hidden vectors starting at `start`.
    #[inline(always)]
    fn block<S: Simd>(
        &mut self,
        simd: S,
        weight: &[F],
        bias: &[F::Sum],
        (first, offsets): (usize, &[ScoreOffset<F::Sum>]),
        start: usize,
        n: usize,
    ) -> &[F] {
        self.sweep
            .packed
            .score(simd, start, weight, bias, &mut self.scores);
        add_to_tile(offsets, first, start, &mut self.scores);
        let scores = &self.scores[..bias.len() * PANEL];
        exponentials::<F, S>(
            simd,
            scores,
            n,
            &self.reference[start..],
            &mut [num_traits::zero(); PANEL],
            #[inline(always)]
            |at, x| store::<F::Sum, S>(bytemuck::cast_slice_mut(&mut self.exps[at..]), x),
        );
        &self.exps
    }
}
