//! Linear + softmax + weighted cross-entropy over all items, with its gradients, never holding the whole logits.
//!
//! Two sweeps over the items. [`log_sum_exp`] scores tile after tile and keeps, for each hidden vector, a running maximum
//! and sum. [`backward`] scores each tile again, turns it into probabilities in place, and uses it at once for both
//! gradients while it is in cache; the weight's gradient of the tile goes straight to a [`Sink`], which stores it or takes
//! the Adam step there and then, so that it never makes the trip to memory. Scoring twice costs a fourth product and saves
//! writing and reading a matrix of batch x items.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::adam::{self, Slots};
use crate::slices::{load, store, sum};
use crate::tile::{PANEL, Packed, Strided, multiply_add};
use crate::{CHUNKS, Real};

/// Items of a tile: sixteen groups of the product kernel's six rows.
const TILE: usize = 96;

/// The output layer: scores are `weight . hidden + bias`.
#[derive(Clone, Copy)]
pub struct Linear<'a, T> {
    /// `[items, width]`, row-major.
    pub weight: &'a [T],
    /// `[items]`.
    pub bias: &'a [T],
}

/// The softmax of a batch, reduced to what the loss and the gradient need.
#[derive(Clone, Debug)]
pub struct LogSumExp<T> {
    /// log sum over items of e^score, for each hidden vector.
    pub value: Vec<T>,
    /// The target's score, for each hidden vector.
    pub target: Vec<T>,
}

impl<T: Real> LogSumExp<T> {
    /// The cross-entropy of each hidden vector: -log p(target).
    pub fn cross_entropy(&self) -> impl Iterator<Item = f64> + '_ {
        self.value.iter().zip(&self.target).map(|(&l, &s)| (l - s).double())
    }
}

/// The first sweep. `hidden` is `[batch, width]`, `targets` the item of each hidden vector.
pub fn log_sum_exp<T: Real>(linear: Linear<'_, T>, hidden: &[T], targets: &[u32]) -> LogSumExp<T> {
    let width = hidden.len() / targets.len().max(1);
    let packed = Packed::new(hidden, width);
    let rows = linear.bias.len().div_ceil(CHUNKS);
    let arch = Arch::new();
    let partial: Vec<_> = linear
        .weight
        .par_chunks(rows * width)
        .zip(linear.bias.par_chunks(rows))
        .map(|(weight, bias)| arch.dispatch(Sweep { linear: Linear { weight, bias }, packed: &packed, width }))
        .collect();
    let value = (0..targets.len()).map(|b| join(partial.iter().map(|p| p[b]))).collect();
    LogSumExp { value, target: target_scores(linear, &packed, width, targets) }
}

/// log sum of e^max * sum over the chunks' (max, sum).
fn join<T: Real>(parts: impl Iterator<Item = (T, T)> + Clone) -> T {
    let max = parts.clone().map(|p| p.0).fold(T::neg_infinity(), num_traits::Float::max);
    max + parts.map(|(m, s)| (m - max).exp() * s).sum::<T>().ln()
}

/// The score of one item for each hidden vector, bit for bit as the sweeps compute it: `[batch]`.
pub fn score<T: Real>(linear: Linear<'_, T>, hidden: &[T], width: usize, items: &[u32]) -> Vec<T> {
    target_scores(linear, &Packed::new(hidden, width), width, items)
}

/// The score of each hidden vector's target, bit for bit as the sweeps compute it.
pub(crate) fn target_scores<T: Real>(
    linear: Linear<'_, T>,
    packed: &Packed<T>,
    width: usize,
    targets: &[u32],
) -> Vec<T> {
    struct Op<'a, T>(Linear<'a, T>, &'a Packed<T>, usize, &'a [u32]);
    impl<T: Real> WithSimd for Op<'_, T> {
        type Output = Vec<T>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
            let Self(linear, packed, width, targets) = self;
            let mut scores = [T::zero(); PANEL];
            let score = |(b, &t): (usize, &u32)| {
                let t = t as usize;
                let weight = &linear.weight[t * width..][..width];
                packed.score(simd, b / PANEL * PANEL, weight, &linear.bias[t..=t], &mut scores);
                scores[b % PANEL]
            };
            targets.iter().enumerate().map(score).collect()
        }
    }
    Arch::new().dispatch(Op(linear, packed, width, targets))
}

/// One chunk of items in the first sweep: (maximum, sum of e^(score - maximum)) of each hidden vector.
struct Sweep<'a, T> {
    linear: Linear<'a, T>,
    packed: &'a Packed<T>,
    width: usize,
}

impl<T: Real> WithSimd for Sweep<'_, T> {
    type Output = Vec<(T, T)>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let padded = self.packed.batch().next_multiple_of(PANEL);
        let (mut max, mut sum) = (vec![T::neg_infinity(); padded], vec![T::zero(); padded]);
        let mut scores = vec![T::zero(); TILE * PANEL];
        for (weight, bias) in self.linear.weight.chunks(TILE * self.width).zip(self.linear.bias.chunks(TILE)) {
            for (start, n) in self.packed.panels() {
                self.packed.score(simd, start, weight, bias, &mut scores);
                let scores = &scores[..bias.len() * PANEL];
                for c in (0..n).step_by(T::lanes::<S>()) {
                    online(simd, scores, c, &mut max[start + c..], &mut sum[start + c..]);
                }
            }
        }
        max.into_iter().zip(sum).take(self.packed.batch()).collect()
    }
}

/// Takes one vector of columns of a tile into the running maximum and sum.
#[inline(always)]
fn online<T: Real, S: Simd>(simd: S, scores: &[T], column: usize, max: &mut [T], sum: &mut [T]) {
    let at = |row: &[T]| load::<T, S>(&row[column..]);
    let old = load::<T, S>(max);
    let mut top = old;
    for row in scores.chunks_exact(PANEL) {
        top = T::vmax(simd, top, at(row));
    }
    let mut total = T::vmul(simd, load::<T, S>(sum), T::vexp(simd, T::vsub(simd, old, top)));
    for row in scores.chunks_exact(PANEL) {
        total = T::vadd(simd, total, T::vexp(simd, T::vsub(simd, at(row), top)));
    }
    store::<T, S>(max, top);
    store::<T, S>(sum, total);
}

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

/// The second sweep: gradients of `loss = sum over b of scale[b] * cross-entropy[b]`.
///
/// Returns those of `hidden` (`[batch, width]`) and of the bias (`[items]`); the weight's goes to `sink`, tile by tile, after
/// the tile's last use.
pub fn backward<T: Real>(
    weight: &mut [T],
    bias: &[T],
    hidden: &[T],
    targets: &[u32],
    lse: &LogSumExp<T>,
    scale: &[T],
    sink: Sink<'_, T>,
) -> (Vec<T>, Vec<T>) {
    let width = hidden.len() / targets.len().max(1);
    let packed = Packed::new(hidden, width);
    let batch = BackwardBatch::new(&packed, hidden, width, targets, lse, scale);
    let rows = bias.len().div_ceil(CHUNKS);
    let mut bias_grad = vec![T::zero(); bias.len()];
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
        .map(|(i, (((weight, bias), bias_grad), sink))| {
            arch.dispatch(Chunk { batch: &batch, first: i * rows, weight, bias, bias_grad, sink })
        })
        .collect();
    let mut hidden_grad = vec![T::zero(); hidden.len()];
    for part in partial {
        hidden_grad.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
    (hidden_grad, bias_grad)
}

/// What every chunk of the second sweep reads.
struct BackwardBatch<'a, T> {
    packed: &'a Packed<T>,
    hidden: &'a [T],
    width: usize,
    /// (item, hidden vector), by item.
    targets: Vec<(u32, u32)>,
    /// Padded to whole panels; the padding has scale zero.
    lse: Vec<T>,
    scale: Vec<T>,
}

impl<'a, T: Real> BackwardBatch<'a, T> {
    fn new(
        packed: &'a Packed<T>,
        hidden: &'a [T],
        width: usize,
        targets: &[u32],
        lse: &LogSumExp<T>,
        scale: &[T],
    ) -> Self {
        let mut by_item: Vec<(u32, u32)> = targets.iter().copied().zip(0..).collect();
        by_item.sort_unstable();
        let pad = |x: &[T]| {
            let mut x = x.to_vec();
            x.resize(targets.len().next_multiple_of(PANEL), T::zero());
            x
        };
        Self { packed, hidden, width, targets: by_item, lse: pad(&lse.value), scale: pad(scale) }
    }

    /// The targets among some items that lie in one panel: (item, hidden vector).
    fn targets_in(
        &self,
        items: std::ops::Range<usize>,
        panel: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (usize, usize)> {
        let start = self.targets.partition_point(|&(t, _)| (t as usize) < items.start);
        let end = self.targets.partition_point(|&(t, _)| (t as usize) < items.end);
        let hits = self.targets[start..end].iter().map(|&(t, b)| (t as usize, b as usize));
        hits.filter(move |(_, b)| panel.contains(b))
    }
}

/// One chunk of items in the second sweep.
struct Chunk<'a, T> {
    batch: &'a BackwardBatch<'a, T>,
    first: usize,
    weight: &'a mut [T],
    bias: &'a [T],
    bias_grad: &'a mut [T],
    sink: Sink<'a, T>,
}

impl<T: Real> WithSimd for Chunk<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Self { batch, first, weight, bias, bias_grad, mut sink } = self;
        let (width, lanes) = (batch.width, T::lanes::<S>());
        let mut hidden_grad = vec![T::zero(); batch.hidden.len()];
        let mut weight_grad = vec![T::zero(); TILE * width];
        let mut probs = vec![T::zero(); TILE * PANEL];
        for tile in (0..bias.len()).step_by(TILE) {
            let items = TILE.min(bias.len() - tile);
            let weight = &mut weight[tile * width..][..items * width];
            let (bias, bias_grad) = (&bias[tile..][..items], &mut bias_grad[tile..][..items]);
            let weight_grad = &mut weight_grad[..items * width];
            weight_grad.fill(T::zero());
            for (start, n) in batch.packed.panels() {
                batch.packed.score(simd, start, weight, bias, &mut probs);
                let columns = n.next_multiple_of(lanes).min(PANEL);
                let (lse, scale) = (&batch.lse[start..][..columns], &batch.scale[start..][..columns]);
                for row in probs.chunks_exact_mut(PANEL).take(items) {
                    to_probabilities(simd, &mut row[..columns], lse, scale);
                }
                for (t, b) in batch.targets_in(first + tile..first + tile + items, start..start + n) {
                    let p = &mut probs[(t - first - tile) * PANEL + b - start];
                    *p -= batch.scale[b];
                }
                for (row, total) in probs.chunks_exact(PANEL).zip(bias_grad.iter_mut()) {
                    *total += sum(simd, &row[..columns]);
                }
                let hidden = &batch.hidden[start * width..][..n * width];
                let by_item = Strided { data: &probs, row: PANEL, column: 1 };
                multiply_add(simd, [items, width, n], by_item, hidden, width, weight_grad, width);
                let by_event = Strided { data: &probs, row: 1, column: PANEL };
                let out = &mut hidden_grad[start * width..][..n * width];
                multiply_add(simd, [n, width, items], by_event, weight, width, out, width);
            }
            sink.take(simd, tile * width, weight, weight_grad);
        }
        hidden_grad
    }
}

/// Scores to `scale * e^(score - lse)`, in place.
#[inline(always)]
fn to_probabilities<T: Real, S: Simd>(simd: S, row: &mut [T], lse: &[T], scale: &[T]) {
    for c in (0..row.len()).step_by(T::lanes::<S>()) {
        let x = T::vexp(simd, T::vsub(simd, load::<T, S>(&row[c..]), load::<T, S>(&lse[c..])));
        store::<T, S>(&mut row[c..], T::vmul(simd, x, load::<T, S>(&scale[c..])));
    }
}
