//! Output layer, softmax and weighted cross-entropy over all items, with its gradients.
//!
//! With scores `s[b, i] = w[i] . h[b] + bias[i]`, targets `t[b]` and weights `c[b]`: `loss = sum_b
//! c[b] (log sum_i exp(s[b, i]) - s[b, t[b]])`, and its gradient by a score is `d[b, i] = c[b]
//! (exp(s[b, i] - lse[b]) - [i = t[b]])`, with `lse[b] = log sum_i exp(s[b, i])`. The gradients of
//! hidden vectors, weight and bias are `d W`, `d^T h` and the column sums of `d`. Two sweeps over
//! tiles of items, whose scores stay in cache: [`softmax`] sums exponentials relative to the
//! target's score; [`backward()`] turns them into the gradients. In between, the exponentials are
//! stored in a buffer of bounded size with non-temporal stores; those beyond its capacity are
//! recomputed. The weight gradient of a tile goes to a [`Sink`], which stores it or applies the
//! Adam update at once, so that it is never written to memory. On processors with a matrix engine,
//! the sweeps over bfloat16 operands are other ones: [`Bf16Level`].

mod backward;
#[cfg(feature = "cuda")]
pub mod cuda;
mod exp_buffer;
#[cfg(test)]
mod tests;
mod tiled;

use num_traits::Float;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

pub use self::backward::{Sink, backward, offset_gradients};
use self::exp_buffer::{BLOCK, ExpBuffer, TILE};
use crate::ops::score_offsets::{ScoreOffsets, add_to_tile};
use crate::simd::element::Element;
use crate::simd::gemm::{PANEL, Packed};
use crate::simd::operand::GemmOperand;
use crate::simd::slices::{load, settle, store, stream};
use crate::simd::tiles::{Bf16Level, MatrixEngine};
use crate::{CHUNKS, Real};

/// Sums of exponentials beyond this are recomputed relative to the largest score. Well inside the
/// range of `f32`.
const MOST: f64 = 1e26;

/// The output layer: scores are `weight . hidden + bias`.
#[derive(Clone, Copy)]
pub struct OutputLayer<'a, T> {
    /// `[items, width]`, row-major.
    pub weight: &'a [T],
    /// `[items]`.
    pub bias: &'a [T],
}

impl<'a, T> OutputLayer<'a, T> {
    /// The layer of elements that are `f32`.
    pub(crate) fn in_f32(self) -> OutputLayer<'a, f32>
    where
        T: Real,
    {
        OutputLayer {
            weight: bytemuck::cast_slice(self.weight),
            bias: bytemuck::cast_slice(self.bias),
        }
    }

    /// The weight and the bias, tile by tile.
    fn tiles(self, width: usize) -> impl Iterator<Item = (&'a [T], &'a [T])> {
        self.weight.chunks(TILE * width).zip(self.bias.chunks(TILE))
    }
}

/// Result of the first sweep: the values that loss and gradients need.
pub struct Softmax<F: Element> {
    /// Log-sum-exp of the scores of each hidden vector.
    pub log_sum_exp: Vec<F::Sum>,
    /// Score of each hidden vector's target.
    pub target: Vec<F::Sum>,
    offsets: ScoreOffsets<F::Sum>,
    sweep: FirstSweep<F>,
}

/// Values of the first sweep that the second one reads.
enum FirstSweep<F: Element> {
    Vector(VectorSweep<F>),
    Tiled(tiled::FirstSweep),
}

/// Values of the first sweep that the second one with vectors reads.
struct VectorSweep<F: Element> {
    packed: Packed<F>,
    /// Per chunk of items, the reference subtracted from the scores of each hidden vector, padded
    /// to whole panels.
    references: Vec<Vec<F::Sum>>,
    kept: ExpBuffer<F>,
}

impl<F: GemmOperand> Softmax<F> {
    /// Cross-entropy `-log p(target)` of each hidden vector.
    pub fn cross_entropy(&self) -> impl Iterator<Item = f64> + '_ {
        self.log_sum_exp
            .iter()
            .zip(&self.target)
            .map(|(&l, &s)| (l - s).double())
    }

    /// Adds terms to the sum of each hidden vector's exponentials, given by their log-sum-exp.
    pub fn add_terms(&mut self, log_sum_exp: &[F::Sum]) {
        for (sum, &added) in self.log_sum_exp.iter_mut().zip(log_sum_exp) {
            let max = Float::max(*sum, added);
            let terms = Float::exp(*sum - max) + Float::exp(added - max);
            *sum = max + Float::ln(terms);
        }
    }
}

/// First sweep. `hidden` is `[batch, width]`, `targets` holds one item per hidden vector. `F` is
/// the operand type of the products: `f32`, `f64`, or [`Bf16Pair`](crate::simd::bf16::Bf16Pair) for
/// operands rounded to bfloat16.
pub fn softmax<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    hidden: &[F::Sum],
    targets: &[u32],
) -> Softmax<F> {
    softmax_with_offsets(linear, hidden, targets, ScoreOffsets::none())
}

/// As [`softmax`], of scores to which `offsets` are added.
pub fn softmax_with_offsets<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    hidden: &[F::Sum],
    targets: &[u32],
    offsets: ScoreOffsets<F::Sum>,
) -> Softmax<F> {
    softmax_at(F::level(), linear, hidden, targets, offsets)
}

/// As [`softmax_with_offsets`], with the given instructions for pairs of bfloat16 values; other
/// operands have vectors alone. [`backward()`] and [`offset_gradients`] use the same ones.
///
/// # Panics
/// If this process cannot use the level ([`Bf16Level::is_supported`]).
pub fn softmax_at<F: GemmOperand>(
    level: Bf16Level,
    linear: OutputLayer<'_, F::Sum>,
    hidden: &[F::Sum],
    targets: &[u32],
    offsets: ScoreOffsets<F::Sum>,
) -> Softmax<F> {
    let width = hidden.len() / targets.len().max(1);
    let input = Input::<F>::new(level, hidden, width);
    let mut target = match &input {
        Input::Packed(packed) => target_scores(linear, packed, width, targets),
        Input::Matrix(engine, hidden) => {
            let batch = tiled::Batch {
                hidden,
                width,
                targets,
            };
            in_elements::<F>(tiled::target_scores(*engine, linear.in_f32(), batch))
        }
    };
    for ((score, &item), row) in target.iter_mut().zip(targets).zip(0..) {
        *score += offsets.at(item, row);
    }
    sweep_items(linear, input, target, offsets)
}

/// As [`softmax_with_offsets`] of a layer that does not contain the targets: exponentials are
/// relative to `references`, one score per hidden vector. [`Softmax::add_terms`] adds the terms of
/// other items to the sums.
pub fn softmax_relative_to<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    hidden: &[F::Sum],
    references: &[F::Sum],
    offsets: ScoreOffsets<F::Sum>,
) -> Softmax<F> {
    softmax_relative_at(F::level(), linear, hidden, references, offsets)
}

/// As [`softmax_relative_to`], with the given instructions: see [`softmax_at`].
///
/// # Panics
/// If this process cannot use the level.
pub fn softmax_relative_at<F: GemmOperand>(
    level: Bf16Level,
    linear: OutputLayer<'_, F::Sum>,
    hidden: &[F::Sum],
    references: &[F::Sum],
    offsets: ScoreOffsets<F::Sum>,
) -> Softmax<F> {
    let width = hidden.len() / references.len().max(1);
    let input = Input::new(level, hidden, width);
    sweep_items(linear, input, references.to_vec(), offsets)
}

/// Hidden vectors for the first sweep.
enum Input<'a, F: Element> {
    Packed(Packed<F>),
    Matrix(MatrixEngine, &'a [f32]),
}

impl<'a, F: GemmOperand> Input<'a, F> {
    fn new(level: Bf16Level, hidden: &'a [F::Sum], width: usize) -> Self {
        match level.engine() {
            Some(engine) if F::PACK == 2 => Self::Matrix(engine, bytemuck::cast_slice(hidden)),
            _ => Self::Packed(Packed::new(hidden, width)),
        }
    }
}

/// Values of `f32` as elements, which they are wherever a matrix engine multiplies.
fn in_elements<F: Element>(values: Vec<f32>) -> Vec<F::Sum> {
    bytemuck::cast_slice(&values).to_vec()
}

/// The first sweep, given the targets' scores.
fn sweep_items<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    input: Input<'_, F>,
    target: Vec<F::Sum>,
    offsets: ScoreOffsets<F::Sum>,
) -> Softmax<F> {
    let (log_sum_exp, sweep) = match input {
        Input::Packed(packed) => {
            let (sums, sweep) = sweep_vectors(linear, packed, &target, &offsets);
            (sums, FirstSweep::Vector(sweep))
        }
        Input::Matrix(engine, hidden) => {
            let references = bytemuck::cast_slice(&target);
            let (sums, sweep) = tiled::first_sweep(
                engine,
                linear.in_f32(),
                hidden,
                references,
                &offsets.in_type(),
            );
            (in_elements::<F>(sums), FirstSweep::Tiled(sweep))
        }
    };
    Softmax {
        log_sum_exp,
        target,
        offsets,
        sweep,
    }
}

/// The first sweep with vectors, given the targets' scores.
fn sweep_vectors<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    packed: Packed<F>,
    target: &[F::Sum],
    offsets: &ScoreOffsets<F::Sum>,
) -> (Vec<F::Sum>, VectorSweep<F>) {
    let width = linear.weight.len() / linear.bias.len().max(1);
    let rows = linear.bias.len().div_ceil(CHUNKS);
    let mut kept = ExpBuffer::new(rows, packed.panels().count());
    let arch = Arch::new();
    let sweep = |(index, ((weight, bias), kept))| {
        let chunk = Chunk {
            linear: OutputLayer { weight, bias },
            first: index * rows,
            packed: &packed,
            offsets,
            width,
        };
        arch.dispatch(Sweep {
            chunk,
            target,
            kept,
        })
    };
    let weights = linear
        .weight
        .par_chunks(rows * width)
        .zip(linear.bias.par_chunks(rows));
    let parts: Vec<Sums<F::Sum>> = weights
        .zip(kept.chunks_mut())
        .enumerate()
        .map(sweep)
        .collect();
    let mut log_sum_exp = Vec::with_capacity(target.len());
    for b in 0..target.len() {
        log_sum_exp.push(join(&parts, b));
    }
    let references = parts.into_iter().map(|(reference, _)| reference).collect();
    let sweep = VectorSweep {
        packed,
        references,
        kept,
    };
    (log_sum_exp, sweep)
}

/// Of a chunk of items: reference and `sum e^(score - reference)` of each hidden vector, padded to
/// whole panels.
type Sums<T> = (Vec<T>, Vec<T>);

/// Log-sum-exp of hidden vector `b` over the chunks, `log sum e^reference sum`; they are added in
/// order, so the bits do not depend on the threads.
fn join<T: Real>(parts: &[Sums<T>], b: usize) -> T {
    let mut max = T::neg_infinity();
    for (reference, _) in parts {
        max = Float::max(max, reference[b]);
    }
    let mut total = T::zero();
    for (reference, sum) in parts {
        total += (reference[b] - max).exp() * sum[b];
    }
    max + total.ln()
}

/// The score of one item for each hidden vector, with the same bits as in the unrounded sweeps,
/// `[batch]`.
pub fn score<T: Real>(
    linear: OutputLayer<'_, T>,
    hidden: &[T],
    width: usize,
    items: &[u32],
) -> Vec<T> {
    target_scores::<T>(linear, &Packed::new(hidden, width), width, items)
}

/// The score of each hidden vector's target, with the same bits as in the sweeps.
pub(crate) fn target_scores<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    packed: &Packed<F>,
    width: usize,
    targets: &[u32],
) -> Vec<F::Sum> {
    struct Op<'a, F: Element>(OutputLayer<'a, F::Sum>, &'a Packed<F>, usize, &'a [u32]);
    impl<F: GemmOperand> WithSimd for Op<'_, F> {
        type Output = Vec<F::Sum>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<F::Sum> {
            let Self(linear, packed, width, targets) = self;
            let (mut scores, mut room) = ([num_traits::zero(); PANEL], Vec::new());
            let mut own = Vec::with_capacity(targets.len());
            for (b, &t) in targets.iter().enumerate() {
                let t = t as usize;
                let weight =
                    F::pack_rows(simd, &linear.weight[t * width..][..width], width, &mut room);
                // Scored with the whole panel, as in the sweeps, so that the bits are the same.
                let start = b / PANEL * PANEL;
                packed.score(simd, start, weight, &linear.bias[t..=t], &mut scores);
                own.push(scores[b % PANEL]);
            }
            own
        }
    }
    Arch::new().dispatch(Op(linear, packed, width, targets))
}

/// A chunk of items and the hidden vectors of a batch.
#[derive(Clone, Copy)]
struct Chunk<'a, F: Element> {
    linear: OutputLayer<'a, F::Sum>,
    /// Its first item.
    first: usize,
    packed: &'a Packed<F>,
    offsets: &'a ScoreOffsets<F::Sum>,
    width: usize,
}

impl<F: GemmOperand> Chunk<'_, F> {
    /// Calls `take` with the scores of every tile and panel, the panel's first hidden vector and
    /// its number of hidden vectors.
    #[inline(always)]
    fn scores<S: Simd>(self, simd: S, mut take: impl FnMut(usize, usize, &[F::Sum])) {
        let (mut scores, mut room) = (vec![num_traits::zero(); BLOCK], Vec::new());
        let mut first = self.first;
        for (weight, bias) in self.linear.tiles(self.width) {
            let offsets = self.offsets.of_items(first..first + bias.len());
            let weight = F::pack_rows(simd, weight, self.width, &mut room);
            for (start, n) in self.packed.panels() {
                self.packed.score(simd, start, weight, bias, &mut scores);
                add_to_tile(offsets, first, start, &mut scores);
                take(start, n, &scores[..bias.len() * PANEL]);
            }
            first += bias.len();
        }
    }
}

/// One chunk of items in the first sweep.
struct Sweep<'a, F: Element> {
    chunk: Chunk<'a, F>,
    /// The targets' scores.
    target: &'a [F::Sum],
    kept: &'a mut [F],
}

impl<F: GemmOperand> WithSimd for Sweep<'_, F> {
    type Output = Sums<F::Sum>;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Self::Output {
        // The targets' scores are there before the sweep, so that one pass is enough.
        let mut reference = self.target.to_vec();
        reference.resize(
            self.target.len().next_multiple_of(PANEL),
            num_traits::zero(),
        );
        let sums = self.sums(simd, &reference);
        if sums[..self.target.len()]
            .iter()
            .all(|&sum| sum < F::Sum::of(MOST))
        {
            return (reference, sums);
        }
        // Some score is so far above its target's that the sum may overflow: a second pass,
        // relative to the largest scores.
        let reference = self.largest(simd);
        let sums = self.sums(simd, &reference);
        (reference, sums)
    }
}

impl<F: GemmOperand> Sweep<'_, F> {
    /// Sums of e^(score - reference); stores the exponentials as far as the buffer goes.
    #[inline(always)]
    fn sums<S: Simd>(&mut self, simd: S, reference: &[F::Sum]) -> Vec<F::Sum> {
        let mut sums: Vec<F::Sum> = vec![num_traits::zero(); reference.len()];
        let mut blocks = self.kept.chunks_exact_mut(BLOCK / F::PACK);
        self.chunk.scores(
            simd,
            #[inline(always)]
            |start, n, scores| {
                let (sums, mut block) = (&mut sums[start..][..PANEL], blocks.next());
                exponentials::<F, S>(
                    simd,
                    scores,
                    n,
                    &reference[start..],
                    sums,
                    #[inline(always)]
                    |at, x| {
                        if let Some(block) = &mut block {
                            stream::<F::Sum, S>(bytemuck::cast_slice_mut(&mut block[at..]), x);
                        }
                    },
                );
            },
        );
        // Other threads may read the buffer in the second sweep.
        settle();
        sums
    }

    /// The largest score of each hidden vector.
    #[inline(always)]
    fn largest<S: Simd>(&self, simd: S) -> Vec<F::Sum> {
        let padded = self.target.len().next_multiple_of(PANEL);
        let mut largest: Vec<F::Sum> = vec![Float::neg_infinity(); padded];
        self.chunk.scores(
            simd,
            #[inline(always)]
            |start, n, scores| {
                for row in scores.chunks_exact(PANEL) {
                    for c in (0..n).step_by(F::Sum::lanes::<S>()) {
                        let largest = &mut largest[start + c..];
                        let max = F::Sum::vmax(
                            simd,
                            load::<F::Sum, S>(&row[c..]),
                            load::<F::Sum, S>(largest),
                        );
                        store::<F::Sum, S>(largest, max);
                    }
                }
            },
        );
        largest
    }
}

/// Calls `take` with e^(score - reference) of a tile and a panel of `n` hidden vectors, packed as
/// by [`GemmOperand::pack_rows`], and their offsets in a block; adds them to `sums` by hidden
/// vector.
#[inline(always)]
fn exponentials<F: GemmOperand, S: Simd>(
    simd: S,
    scores: &[F::Sum],
    n: usize,
    reference: &[F::Sum],
    sums: &mut [F::Sum],
    mut take: impl FnMut(usize, <F::Sum as Real>::Vector<S>),
) {
    let across = PANEL / F::PACK;
    for first in (0..n.min(across)).step_by(F::Sum::lanes::<S>()) {
        // The second element of a pair lies half a panel on; without pairs it is the first itself.
        let second = first + PANEL - across;
        let [ref0, ref1] = [first, second].map(|c| load::<F::Sum, S>(&reference[c..]));
        let [mut sum0, mut sum1] = [first, second].map(|c| load::<F::Sum, S>(&sums[c..]));
        for (i, row) in scores.chunks_exact(PANEL).enumerate() {
            let x0 = F::Sum::vexp(
                simd,
                F::Sum::vsub(simd, load::<F::Sum, S>(&row[first..]), ref0),
            );
            sum0 = F::Sum::vadd(simd, sum0, x0);
            let mut x1 = x0;
            if F::PACK == 2 {
                x1 = F::Sum::vexp(
                    simd,
                    F::Sum::vsub(simd, load::<F::Sum, S>(&row[second..]), ref1),
                );
                sum1 = F::Sum::vadd(simd, sum1, x1);
            }
            take(i * across + first, F::pack(simd, x0, x1));
        }
        if F::PACK == 2 {
            store::<F::Sum, S>(&mut sums[second..], sum1);
        }
        store::<F::Sum, S>(&mut sums[first..], sum0);
    }
}
