//! The second sweep: both gradients from the exponentials of the first.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{BLOCK, Linear, Softmax, TILE, exponentials};
use crate::adam::{self, Slots};
use crate::slices::{add_scaled, dot, store};
use crate::tile::{PANEL, Strided, multiply_add};
use crate::{CHUNKS, Real};

/// Where the gradient of the weight goes.
pub enum Sink<'a, T> {
    /// Into a matrix of the weight's shape.
    Gradient(&'a mut [T]),
    /// Into an Adam step, taken tile by tile: moments of the weight's shape.
    Adam(adam::Step<T>, &'a mut [T], &'a mut [T]),
}

impl<'a, T: Real> Sink<'a, T> {
    /// One sink for each chunk of `size` elements.
    fn chunks(self, size: usize) -> Vec<Sink<'a, T>> {
        match self {
            Sink::Gradient(g) => g.chunks_mut(size).map(Sink::Gradient).collect(),
            Sink::Adam(step, m, v) => {
                m.chunks_mut(size).zip(v.chunks_mut(size)).map(|(m, v)| Sink::Adam(step, m, v)).collect()
            }
        }
    }

    /// Takes the gradient of the elements from `at` on.
    #[inline(always)]
    fn take<S: Simd>(&mut self, simd: S, at: usize, weight: &mut [T], grad: &[T]) {
        let range = at..at + grad.len();
        match self {
            Sink::Gradient(g) => g[range].copy_from_slice(grad),
            Sink::Adam(step, m, v) => {
                step.update(
                    simd,
                    Slots { param: weight, first: &mut m[range.clone()], second: &mut v[range] },
                    Some(grad),
                );
            }
        }
    }
}

/// Gradients of `loss = sum over b of scale[b] * cross-entropy[b]`.
///
/// Returns those of `hidden` (`[batch, width]`) and of the bias (`[items]`); the weight's goes to `sink`, tile by tile, after
/// the tile's last use. The layer, `hidden` and `targets` are those of [`softmax`](super::softmax).
pub fn backward<T: Real>(
    weight: &mut [T],
    bias: &[T],
    hidden: &[T],
    targets: &[u32],
    softmax: &Softmax<T>,
    scale: &[T],
    sink: Sink<'_, T>,
) -> (Vec<T>, Vec<T>) {
    let width = hidden.len() / targets.len().max(1);
    let batch = Batch::new(softmax, hidden, width, targets, scale);
    let mut hidden_grad = batch.target_gradient(weight, targets);
    let mut bias_grad = vec![T::zero(); bias.len()];
    let rows = bias.len().div_ceil(CHUNKS);
    let chunks: Vec<_> = weight
        .chunks_mut(rows * width)
        .zip(bias.chunks(rows))
        .zip(bias_grad.chunks_mut(rows))
        .zip(sink.chunks(rows * width))
        .collect();
    let arch = Arch::new();
    let partial: Vec<Vec<T>> = chunks
        .into_par_iter()
        .enumerate()
        .map(|(index, (((weight, bias), bias_grad), sink))| {
            arch.dispatch(Chunk { batch: &batch, index, first: index * rows, weight, bias, bias_grad, sink })
        })
        .collect();
    for part in partial {
        hidden_grad.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
    (hidden_grad, bias_grad)
}

/// What every chunk of the second sweep reads.
struct Batch<'a, T> {
    softmax: &'a Softmax<T>,
    hidden: &'a [T],
    width: usize,
    /// (item, hidden vector), by item.
    targets: Vec<(u32, u32)>,
    scale: &'a [T],
}

impl<'a, T: Real> Batch<'a, T> {
    fn new(softmax: &'a Softmax<T>, hidden: &'a [T], width: usize, targets: &[u32], scale: &'a [T]) -> Self {
        let mut by_item: Vec<(u32, u32)> = targets.iter().copied().zip(0..).collect();
        by_item.sort_unstable();
        Self { softmax, hidden, width, targets: by_item, scale }
    }

    /// The targets' part of the hidden vectors' gradient.
    fn target_gradient(&self, weight: &[T], targets: &[u32]) -> Vec<T> {
        let rows = targets.iter().zip(self.scale);
        rows.flat_map(|(&t, &s)| weight[t as usize * self.width..][..self.width].iter().map(move |&w| -s * w)).collect()
    }

    /// What turns the exponentials of a chunk into probabilities times `scale`, padded to whole panels with zeros.
    fn factors(&self, chunk: usize) -> Vec<T> {
        let reference = &self.softmax.references[chunk];
        let factor = |((&l, &s), &r): ((&T, &T), &T)| s * (r - l).exp();
        let mut factors: Vec<T> = self.softmax.log_sum_exp.iter().zip(self.scale).zip(reference).map(factor).collect();
        factors.resize(reference.len(), T::zero());
        factors
    }

    /// The targets among some items: (item, hidden vector).
    fn targets_in(&self, items: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let start = self.targets.partition_point(|&(t, _)| (t as usize) < items.start);
        let end = self.targets.partition_point(|&(t, _)| (t as usize) < items.end);
        self.targets[start..end].iter().map(|&(t, b)| (t as usize, b as usize))
    }
}

/// One chunk of items in the second sweep.
struct Chunk<'a, T> {
    batch: &'a Batch<'a, T>,
    index: usize,
    /// Its first item.
    first: usize,
    weight: &'a mut [T],
    bias: &'a [T],
    bias_grad: &'a mut [T],
    sink: Sink<'a, T>,
}

impl<T: Real> WithSimd for Chunk<'_, T> {
    /// The chunk's part of the hidden vectors' gradient, without the targets'.
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Self { batch, index, first, weight, bias, bias_grad, mut sink } = self;
        let (packed, width) = (&batch.softmax.packed, batch.width);
        let factors = batch.factors(index);
        let mut scaled = batch.hidden.to_vec();
        scale_rows(&mut scaled, width, &factors);
        let mut kept = batch.softmax.kept.chunk::<T>(index).chunks_exact(BLOCK);
        let mut second = Recomputed::new(batch.softmax, index);
        let mut hidden_grad = vec![T::zero(); batch.hidden.len()];
        let mut weight_grad = vec![T::zero(); TILE * width];
        for tile in (0..bias.len()).step_by(TILE) {
            let items = TILE.min(bias.len() - tile);
            let weight = &mut weight[tile * width..][..items * width];
            let (bias, bias_grad) = (&bias[tile..][..items], &mut bias_grad[tile..][..items]);
            let weight_grad = &mut weight_grad[..items * width];
            weight_grad.fill(T::zero());
            for (start, n) in packed.panels() {
                let exps = match kept.next() {
                    Some(exps) => exps,
                    None => second.block(simd, Linear { weight, bias }, start, n),
                };
                let columns = n.next_multiple_of(T::lanes::<S>()).min(PANEL);
                for (row, total) in exps.chunks_exact(PANEL).zip(bias_grad.iter_mut()) {
                    *total += dot(simd, &row[..columns], &factors[start..][..columns]);
                }
                let by_item = Strided { data: exps, row: PANEL, column: 1 };
                let scaled = &scaled[start * width..][..n * width];
                multiply_add(simd, [items, width, n], by_item, scaled, width, weight_grad, width);
                let by_event = Strided { data: exps, row: 1, column: PANEL };
                let out = &mut hidden_grad[start * width..][..n * width];
                multiply_add(simd, [n, width, items], by_event, weight, width, out, width);
            }
            for (t, b) in batch.targets_in(first + tile..first + tile + items) {
                let (item, scale) = (t - first - tile, batch.scale[b]);
                add_scaled(&mut weight_grad[item * width..][..width], -scale, &batch.hidden[b * width..][..width]);
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
    rows.chunks_exact_mut(width).zip(factors).for_each(|(row, &f)| row.iter_mut().for_each(|x| *x *= f));
}

/// The exponentials there was no room for, block by block.
struct Recomputed<'a, T> {
    softmax: &'a Softmax<T>,
    reference: &'a [T],
    scores: Vec<T>,
    exps: Vec<T>,
}

impl<'a, T: Real> Recomputed<'a, T> {
    fn new(softmax: &'a Softmax<T>, chunk: usize) -> Self {
        let [scores, exps] = [(); 2].map(|()| vec![T::zero(); BLOCK]);
        Self { softmax, reference: &softmax.references[chunk], scores, exps }
    }

    /// Those of a tile under the panel of `n` hidden vectors from `start` on.
    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, tile: Linear<'_, T>, start: usize, n: usize) -> &[T] {
        self.softmax.packed.score(simd, start, tile.weight, tile.bias, &mut self.scores);
        let scores = &self.scores[..tile.bias.len() * PANEL];
        for c in (0..n).step_by(T::lanes::<S>()) {
            exponentials(
                simd,
                scores,
                c,
                &self.reference[start + c..],
                #[inline(always)]
                |at, x| store::<T, S>(&mut self.exps[at..], x),
            );
        }
        &self.exps
    }
}
