//! Linear + softmax + weighted cross-entropy over all items, with its gradients.
//!
//! Two sweeps over the items, tile by tile, so that the scores at hand stay in cache. [`softmax`] takes every score relative
//! to the target's and sums the exponentials; [`backward()`] uses them for both gradients. The exponentials wait between the
//! sweeps in a buffer of bounded size, written past the caches; those it has no room for are computed again.
//! The weight's gradient of a tile goes straight to a [`Sink`], which stores it or takes the Adam step there and then, so
//! that it never makes the trip to memory.

mod backward;
mod kept;
#[cfg(test)]
mod tests;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

pub use self::backward::{Sink, backward};
use self::kept::Kept;
use crate::slices::{load, settle, store, stream};
use crate::tile::{PANEL, Packed};
use crate::{CHUNKS, Real};

/// Items of a tile: sixteen groups of the product kernel's six rows.
const TILE: usize = 96;
/// Scores of a tile under a panel of hidden vectors.
const BLOCK: usize = TILE * PANEL;
/// Sums of exponentials beyond this are taken again, relative to the largest score: well inside the range of an `f32`.
const MOST: f64 = 1e26;

/// The output layer: scores are `weight . hidden + bias`.
#[derive(Clone, Copy)]
pub struct Linear<'a, T> {
    /// `[items, width]`, row-major.
    pub weight: &'a [T],
    /// `[items]`.
    pub bias: &'a [T],
}

impl<'a, T> Linear<'a, T> {
    /// The weight and the bias, tile by tile.
    fn tiles(self, width: usize) -> impl Iterator<Item = (&'a [T], &'a [T])> {
        self.weight.chunks(TILE * width).zip(self.bias.chunks(TILE))
    }
}

/// The softmax of a batch, reduced to what the loss and the gradient need.
pub struct Softmax<T> {
    /// log sum over items of e^score, for each hidden vector.
    pub log_sum_exp: Vec<T>,
    /// The target's score, for each hidden vector.
    pub target: Vec<T>,
    packed: Packed<T>,
    /// What the scores of each chunk of items are relative to, for each hidden vector, padded to whole panels.
    references: Vec<Vec<T>>,
    kept: Kept,
}

impl<T: Real> Softmax<T> {
    /// The cross-entropy of each hidden vector: -log p(target).
    pub fn cross_entropy(&self) -> impl Iterator<Item = f64> + '_ {
        self.log_sum_exp.iter().zip(&self.target).map(|(&l, &s)| (l - s).double())
    }
}

/// The first sweep. `hidden` is `[batch, width]`, `targets` the item of each hidden vector.
pub fn softmax<T: Real>(linear: Linear<'_, T>, hidden: &[T], targets: &[u32]) -> Softmax<T> {
    let width = hidden.len() / targets.len().max(1);
    let packed = Packed::new(hidden, width);
    let target = target_scores(linear, &packed, width, targets);
    let rows = linear.bias.len().div_ceil(CHUNKS);
    let mut kept = Kept::new::<T>(rows, packed.panels().count());
    let arch = Arch::new();
    let sweep = |((weight, bias), kept)| {
        arch.dispatch(Sweep { linear: Linear { weight, bias }, packed: &packed, width, target: &target, kept })
    };
    let weights = linear.weight.par_chunks(rows * width).zip(linear.bias.par_chunks(rows));
    let parts: Vec<_> = weights.zip(kept.chunks_mut()).map(sweep).collect();
    let log_sum_exp = (0..targets.len()).map(|b| join(parts.iter().map(|(r, s)| (r[b], s[b])))).collect();
    let references = parts.into_iter().map(|(reference, _)| reference).collect();
    Softmax { log_sum_exp, target, packed, references, kept }
}

/// log sum of e^reference * sum over the chunks' (reference, sum).
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

/// One chunk of items in the first sweep.
struct Sweep<'a, T> {
    linear: Linear<'a, T>,
    packed: &'a Packed<T>,
    width: usize,
    /// The targets' scores.
    target: &'a [T],
    kept: &'a mut [T],
}

impl<T: Real> WithSimd for Sweep<'_, T> {
    /// What the scores are relative to, and the sum of e^(score - that), of each hidden vector, padded to whole panels.
    type Output = (Vec<T>, Vec<T>);

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Self::Output {
        let mut reference = self.target.to_vec();
        reference.resize(self.target.len().next_multiple_of(PANEL), T::zero());
        let sums = self.sums(simd, &reference);
        if sums[..self.target.len()].iter().all(|&sum| sum < T::of(MOST)) {
            return (reference, sums);
        }
        let reference = self.largest(simd);
        let sums = self.sums(simd, &reference);
        (reference, sums)
    }
}

impl<T: Real> Sweep<'_, T> {
    /// The sums of e^(score - reference); the exponentials are kept as far as there is room.
    #[inline(always)]
    fn sums<S: Simd>(&mut self, simd: S, reference: &[T]) -> Vec<T> {
        let mut sums = vec![T::zero(); reference.len()];
        let mut scores = vec![T::zero(); BLOCK];
        let mut blocks = self.kept.chunks_exact_mut(BLOCK);
        for (weight, bias) in self.linear.tiles(self.width) {
            for (start, n) in self.packed.panels() {
                self.packed.score(simd, start, weight, bias, &mut scores);
                let scores = &scores[..bias.len() * PANEL];
                let mut block = blocks.next();
                for c in (0..n).step_by(T::lanes::<S>()) {
                    let mut sum = load::<T, S>(&sums[start + c..]);
                    exponentials(
                        simd,
                        scores,
                        c,
                        &reference[start + c..],
                        #[inline(always)]
                        |at, x| {
                            sum = T::vadd(simd, sum, x);
                            if let Some(block) = &mut block {
                                stream::<T, S>(&mut block[at..], x);
                            }
                        },
                    );
                    store::<T, S>(&mut sums[start + c..], sum);
                }
            }
        }
        settle();
        sums
    }

    /// The largest score of each hidden vector.
    #[inline(always)]
    fn largest<S: Simd>(&self, simd: S) -> Vec<T> {
        let mut largest = vec![T::neg_infinity(); self.target.len().next_multiple_of(PANEL)];
        let mut scores = vec![T::zero(); BLOCK];
        for (weight, bias) in self.linear.tiles(self.width) {
            for (start, n) in self.packed.panels() {
                self.packed.score(simd, start, weight, bias, &mut scores);
                for row in scores.chunks_exact(PANEL).take(bias.len()) {
                    for c in (0..n).step_by(T::lanes::<S>()) {
                        let largest = &mut largest[start + c..];
                        let max = T::vmax(simd, load::<T, S>(&row[c..]), load::<T, S>(largest));
                        store::<T, S>(largest, max);
                    }
                }
            }
        }
        largest
    }
}

/// Hands e^(score - reference) of one vector of columns of a tile to `take`, with its place in a block.
#[inline(always)]
fn exponentials<T: Real, S: Simd>(
    simd: S,
    scores: &[T],
    column: usize,
    reference: &[T],
    mut take: impl FnMut(usize, T::Vector<S>),
) {
    let reference = load::<T, S>(reference);
    for (i, row) in scores.chunks_exact(PANEL).enumerate() {
        let x = T::vsub(simd, load::<T, S>(&row[column..]), reference);
        take(i * PANEL + column, T::vexp(simd, x));
    }
}
