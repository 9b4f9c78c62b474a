//! OutputLayer + softmax + weighted cross-entropy over all items, with its gradients.
//!
//! Two sweeps over the items, tile by tile, so that the scores at hand stay in cache. [`softmax`] takes every score relative
//! to the target's and sums the exponentials; [`backward()`] uses them for both gradients. The exponentials wait between the
//! sweeps in a buffer of bounded size, written past the caches; those it has no room for are computed again.
//! The weight's gradient of a tile goes straight to a [`Sink`], which stores it or takes the Adam step there and then, so
//! that it never makes the trip to memory.

mod backward;
#[cfg(feature = "cuda")]
pub mod cuda;
mod exp_buffer;
#[cfg(test)]
mod tests;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

pub use self::backward::{Sink, backward};
use self::exp_buffer::ExpBuffer;
use crate::simd::gemm::{Element, PANEL, Packed};
use crate::simd::operand::GemmOperand;
use crate::simd::slices::{load, settle, store, stream};
use crate::{CHUNKS, Real};

/// Items of a tile: sixteen groups of the product kernel's six rows.
const TILE: usize = 96;
/// Scores of a tile under a panel of hidden vectors.
const BLOCK: usize = TILE * PANEL;
/// Sums of exponentials beyond this are taken again, relative to the largest score: well inside the range of an `f32`.
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
    /// The weight and the bias, tile by tile.
    fn tiles(self, width: usize) -> impl Iterator<Item = (&'a [T], &'a [T])> {
        self.weight.chunks(TILE * width).zip(self.bias.chunks(TILE))
    }
}

/// The softmax of a batch, reduced to what the loss and the gradient need.
pub struct Softmax<F: Element> {
    /// log sum over items of e^score, for each hidden vector.
    pub log_sum_exp: Vec<F::Sum>,
    /// The target's score, for each hidden vector.
    pub target: Vec<F::Sum>,
    packed: Packed<F>,
    /// What the scores of each chunk of items are relative to, for each hidden vector, padded to whole panels.
    references: Vec<Vec<F::Sum>>,
    kept: ExpBuffer<F>,
}

impl<F: GemmOperand> Softmax<F> {
    /// The cross-entropy of each hidden vector: -log p(target).
    pub fn cross_entropy(&self) -> impl Iterator<Item = f64> + '_ {
        self.log_sum_exp
            .iter()
            .zip(&self.target)
            .map(|(&l, &s)| (l - s).double())
    }
}

/// The first sweep. `hidden` is `[batch, width]`, `targets` the item of each hidden vector; products are made of `F`: of `f32`
/// or `f64` as they are, or of [`Bf16Pair`](crate::simd::bf16::Bf16Pair)s of them rounded to bfloat16.
pub fn softmax<F: GemmOperand>(
    linear: OutputLayer<'_, F::Sum>,
    hidden: &[F::Sum],
    targets: &[u32],
) -> Softmax<F> {
    let width = hidden.len() / targets.len().max(1);
    let packed = Packed::new(hidden, width);
    let target = target_scores(linear, &packed, width, targets);
    let rows = linear.bias.len().div_ceil(CHUNKS);
    let mut kept = ExpBuffer::new(rows, packed.panels().count());
    let arch = Arch::new();
    let sweep = |((weight, bias), kept)| {
        let chunk = Chunk {
            linear: OutputLayer { weight, bias },
            packed: &packed,
            width,
        };
        arch.dispatch(Sweep {
            chunk,
            target: &target,
            kept,
        })
    };
    let weights = linear
        .weight
        .par_chunks(rows * width)
        .zip(linear.bias.par_chunks(rows));
    let parts: Vec<_> = weights.zip(kept.chunks_mut()).map(sweep).collect();
    let log_sum_exp = (0..targets.len())
        .map(|b| join(parts.iter().map(|(r, s)| (r[b], s[b]))))
        .collect();
    let references = parts.into_iter().map(|(reference, _)| reference).collect();
    Softmax {
        log_sum_exp,
        target,
        packed,
        references,
        kept,
    }
}

/// log sum of e^reference * sum over the chunks' (reference, sum).
fn join<T: Real>(parts: impl Iterator<Item = (T, T)> + Clone) -> T {
    let max = parts
        .clone()
        .map(|p| p.0)
        .fold(T::neg_infinity(), num_traits::Float::max);
    max + parts.map(|(m, s)| (m - max).exp() * s).sum::<T>().ln()
}

/// The score of one item for each hidden vector, bit for bit as the sweeps of numbers as they are compute it: `[batch]`.
pub fn score<T: Real>(
    linear: OutputLayer<'_, T>,
    hidden: &[T],
    width: usize,
    items: &[u32],
) -> Vec<T> {
    target_scores::<T>(linear, &Packed::new(hidden, width), width, items)
}

/// The score of each hidden vector's target, bit for bit as the sweeps compute it.
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
            let score = |(b, &t): (usize, &u32)| {
                let t = t as usize;
                let weight =
                    F::pack_rows(simd, &linear.weight[t * width..][..width], width, &mut room);
                packed.score(
                    simd,
                    b / PANEL * PANEL,
                    weight,
                    &linear.bias[t..=t],
                    &mut scores,
                );
                scores[b % PANEL]
            };
            targets.iter().enumerate().map(score).collect()
        }
    }
    Arch::new().dispatch(Op(linear, packed, width, targets))
}

/// Some items under the hidden vectors of a batch.
#[derive(Clone, Copy)]
struct Chunk<'a, F: Element> {
    linear: OutputLayer<'a, F::Sum>,
    packed: &'a Packed<F>,
    width: usize,
}

impl<F: GemmOperand> Chunk<'_, F> {
    /// Hands on the scores of every tile under every panel, with the panel's first hidden vector and how many it has.
    #[inline(always)]
    fn scores<S: Simd>(self, simd: S, mut take: impl FnMut(usize, usize, &[F::Sum])) {
        let (mut scores, mut room) = (vec![num_traits::zero(); BLOCK], Vec::new());
        for (weight, bias) in self.linear.tiles(self.width) {
            let weight = F::pack_rows(simd, weight, self.width, &mut room);
            for (start, n) in self.packed.panels() {
                self.packed.score(simd, start, weight, bias, &mut scores);
                take(start, n, &scores[..bias.len() * PANEL]);
            }
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
    /// What the scores are relative to, and the sum of e^(score - that), of each hidden vector, padded to whole panels.
    type Output = (Vec<F::Sum>, Vec<F::Sum>);

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Self::Output {
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
        let reference = self.largest(simd);
        let sums = self.sums(simd, &reference);
        (reference, sums)
    }
}

impl<F: GemmOperand> Sweep<'_, F> {
    /// The sums of e^(score - reference); the exponentials are kept as far as there is room.
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
        settle();
        sums
    }

    /// The largest score of each hidden vector.
    #[inline(always)]
    fn largest<S: Simd>(&self, simd: S) -> Vec<F::Sum> {
        let padded = self.target.len().next_multiple_of(PANEL);
        let mut largest: Vec<F::Sum> = vec![num_traits::Float::neg_infinity(); padded];
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

/// Hands e^(score - reference) of a tile under a panel of `n` hidden vectors to `take`, as factors of [`GemmOperand::pack_rows`], with
/// their places in a block; and adds them up by hidden vector.
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
        // Of the numbers in a factor, the second stands as much further on; where there is one only, it stands for itself.
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
