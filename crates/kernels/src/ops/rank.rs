//! Ranks and top-k of a batch over all items, in one sweep over tiles of scores.

#[cfg(feature = "cuda")]
pub mod cuda;
mod two_pass;

pub use two_pass::PackedItems;

use std::sync::atomic::{AtomicU64, Ordering};

use num_traits::Float;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::score_offsets::{ScoreOffsets, add_to_tile};
use crate::ops::softmax_head::{OutputLayer, target_scores};
use crate::ops::top_k::{TopKLists, best};
use crate::simd::gemm::{PANEL, Packed};
use crate::simd::slices::{load, store};
use crate::{CHUNKS, Real};

/// Items per tile.
const TILE: usize = 96;
/// Items whose maximum is compared with the top-k threshold before the single scores.
const GROUP: usize = 12;

/// Hidden vectors from which a ranking in two passes on a matrix engine is faster than one sweep.
pub const MIN_BATCH: usize = 16;

/// A NaN or infinite score in a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ranking failed: a score of row {row} of the batch is NaN or infinite; check the weights")]
pub struct NonFiniteScore {
    /// The first such row.
    pub row: usize,
}

/// Ranks and top-k of a batch of hidden vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking<T> {
    /// Pessimistic rank of each target, from 1: the number of items, itself included, with at least
    /// its score. Empty without targets.
    pub ranks: Vec<u32>,
    /// Top-k of each hidden vector, best first, equal scores by lower index: min(k, items) each.
    pub top: Vec<Vec<(u32, T)>>,
}

impl Ranking<f32> {
    fn in_type<T: Real>(self) -> Ranking<T> {
        let mut top = Vec::with_capacity(self.top.len());
        for row in self.top {
            let scored = row.into_iter().map(|(item, x)| (item, T::of(x.double())));
            top.push(scored.collect());
        }
        Ranking {
            ranks: self.ranks,
            top,
        }
    }
}

/// Ranks each hidden vector's target (if `targets` are given) and lists its top `k` items.
///
/// For several batches under the same weights, [`rank_packed`] is faster on a matrix engine.
///
/// # Errors
/// If a score is not finite.
pub fn rank<T: Real>(
    linear: OutputLayer<'_, T>,
    hidden: &[T],
    width: usize,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<Ranking<T>, NonFiniteScore> {
    rank_with_offsets(linear, hidden, width, targets, k, &ScoreOffsets::none())
}

/// As [`rank`], of scores to which `offsets` are added.
///
/// # Errors
/// If a score is not finite.
pub fn rank_with_offsets<T: Real>(
    linear: OutputLayer<'_, T>,
    hidden: &[T],
    width: usize,
    targets: Option<&[u32]>,
    k: usize,
    offsets: &ScoreOffsets<T>,
) -> Result<Ranking<T>, NonFiniteScore> {
    sweep(linear, hidden, width, (targets, k), offsets)
}

/// As [`rank_with_offsets`] of `(targets, k)`, with a first pass over the packed items of the
/// layer if they are given. The result is the same.
///
/// # Errors
/// If a score is not finite.
///
/// # Panics
/// If `packed` has another shape than the layer's weight.
pub fn rank_packed<T: Real>(
    packed: Option<&PackedItems>,
    linear: OutputLayer<'_, T>,
    hidden: &[T],
    width: usize,
    (targets, k): (Option<&[u32]>, usize),
    offsets: &ScoreOffsets<T>,
) -> Result<Ranking<T>, NonFiniteScore> {
    if let Some(packed) = packed {
        assert!(
            packed.is_of::<T>(linear.bias.len(), width),
            "the items are packed from a weight [{}, {width}]",
            linear.bias.len()
        );
        let query = two_pass::Query {
            hidden: bytemuck::cast_slice(hidden),
            width,
            targets,
            k,
            offsets: &offsets.in_type(),
        };
        if let Some(ranking) = two_pass::rank(packed, linear.in_f32(), query) {
            return Ok(ranking.in_type());
        }
    }
    sweep(linear, hidden, width, (targets, k), offsets)
}

/// Ranks in one sweep over the items.
fn sweep<T: Real>(
    linear: OutputLayer<'_, T>,
    hidden: &[T],
    width: usize,
    (targets, k): (Option<&[u32]>, usize),
    offsets: &ScoreOffsets<T>,
) -> Result<Ranking<T>, NonFiniteScore> {
    let packed = Packed::new(hidden, width);
    let mut wanted = targets.map(|t| target_scores(linear, &packed, width, t));
    if let (Some(scores), Some(targets)) = (&mut wanted, targets) {
        for ((score, &item), row) in scores.iter_mut().zip(targets).zip(0..) {
            *score += offsets.at(item, row);
        }
    }
    let rows = linear.bias.len().div_ceil(CHUNKS).max(1);
    let floor = Floor::new(if k > 0 { packed.batch() } else { 0 });
    let arch = Arch::new();
    let weights = linear
        .weight
        .par_chunks(rows * width)
        .zip(linear.bias.par_chunks(rows))
        .enumerate();
    let parts = weights.map(|(i, (weight, bias))| {
        let seen = Seen::new(wanted.as_deref(), &packed, bias.len(), k, &floor);
        arch.dispatch(Chunk {
            linear: OutputLayer { weight, bias },
            first: i * rows,
            packed: &packed,
            offsets,
            width,
            seen,
        })
    });
    let parts: Vec<Seen<'_, T>> = parts.collect();
    if let Some(row) = parts.iter().filter_map(Seen::not_finite).min() {
        return Err(NonFiniteScore { row });
    }
    let batch = packed.batch();
    let ranks = match targets {
        Some(_) => (0..batch)
            .map(|b| parts.iter().map(|p| p.counts[b].double() as u32).sum())
            .collect(),
        None => Vec::new(),
    };
    let mut top = vec![Vec::new(); batch];
    top.par_iter_mut()
        .zip(floor.0.par_iter())
        .enumerate()
        .for_each(|(b, (top, floor))| {
            let bar = below(floor);
            for part in &parts {
                part.add_candidates(b, bar, top);
            }
            best(top, k);
        });
    Ok(Ranking { ranks, top })
}

/// A chunk of items.
struct Chunk<'a, T> {
    linear: OutputLayer<'a, T>,
    first: usize,
    packed: &'a Packed<T>,
    offsets: &'a ScoreOffsets<T>,
    width: usize,
    seen: Seen<'a, T>,
}

impl<'a, T: Real> WithSimd for Chunk<'a, T> {
    type Output = Seen<'a, T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self {
            linear,
            first,
            packed,
            offsets,
            width,
            mut seen,
        } = self;
        let mut scores = vec![T::zero(); TILE * PANEL];
        for (i, (weight, bias)) in linear
            .weight
            .chunks(TILE * width)
            .zip(linear.bias.chunks(TILE))
            .enumerate()
        {
            let tile = first + i * TILE;
            let offsets = offsets.of_items(tile..tile + bias.len());
            for (start, n) in packed.panels() {
                packed.score(simd, start, weight, bias, &mut scores);
                add_to_tile(offsets, tile, start, &mut scores);
                let scores = &scores[..bias.len() * PANEL];
                for c in (0..n).step_by(T::lanes::<S>()) {
                    seen.look(simd, scores, c, start + c, tile);
                }
            }
        }
        seen.best.finish();
        seen
    }
}

/// Running counts and top-k of a chunk for each hidden vector, padded to whole panels.
struct Seen<'a, T> {
    wanted: Vec<T>,
    /// Number of scores not below the target's. Elements, so that whole vectors are counted; exact
    /// up to 2^24 items of a chunk in `f32`.
    counts: Vec<T>,
    /// Sum of 0 x score: NaN if a score is not finite.
    marks: Vec<T>,
    best: Best<'a, T>,
}

impl<'a, T: Real> Seen<'a, T> {
    fn new(
        wanted: Option<&[T]>,
        packed: &Packed<T>,
        items: usize,
        k: usize,
        floor: &'a Floor,
    ) -> Self {
        let padded = packed.batch().next_multiple_of(PANEL);
        let mut wanted = wanted.map_or_else(Vec::new, <[T]>::to_vec);
        // No score of a padding column, or of a row without a target, counts.
        wanted.resize(padded, T::infinity());
        Self {
            wanted,
            counts: vec![T::zero(); padded],
            marks: vec![T::zero(); padded],
            best: Best::new(k, items, padded, floor),
        }
    }

    /// Appends the chunk's candidates of hidden vector `b` whose score exceeds a threshold.
    fn add_candidates(&self, b: usize, bar: T, top: &mut Vec<(u32, T)>) {
        for &(item, score) in self.best.lists.list(b) {
            if score > bar {
                top.push((item, score));
            }
        }
    }

    /// The first hidden vector with a score that is not finite.
    fn not_finite(&self) -> Option<usize> {
        self.marks.iter().position(|mark| !mark.is_finite())
    }

    /// Processes one vector of columns of a tile whose first item is `first`, for the hidden
    /// vectors starting at `at`.
    #[inline(always)]
    fn look<S: Simd>(&mut self, simd: S, scores: &[T], column: usize, at: usize, first: usize) {
        let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
        let wanted = load::<T, S>(&self.wanted[at..]);
        let (mut count, mut mark) = (
            load::<T, S>(&self.counts[at..]),
            load::<T, S>(&self.marks[at..]),
        );
        for (i, group) in scores.chunks(GROUP * PANEL).enumerate() {
            let mut largest = T::splat(simd, T::neg_infinity());
            for row in group.chunks_exact(PANEL) {
                let score = load::<T, S>(&row[column..]);
                count = T::vadd(simd, count, T::select_ge(simd, score, wanted, one, zero));
                mark = T::vmul_add(simd, score, zero, mark);
                largest = T::vmax(simd, largest, score);
            }
            if T::any_gt(simd, largest, load::<T, S>(&self.best.bar[at..])) {
                self.best.keep(simd, group, column, at, first + i * GROUP);
            }
        }
        store::<T, S>(&mut self.counts[at..], count);
        store::<T, S>(&mut self.marks[at..], mark);
    }
}

/// For each hidden vector a lower bound of the k-th best score, shared by the chunks to prune their
/// lists early. It saves work and does not change results.
struct Floor(Vec<AtomicU64>);

impl Floor {
    fn new(batch: usize) -> Self {
        Self(
            (0..batch)
                .map(|_| AtomicU64::new(ordered(f64::NEG_INFINITY)))
                .collect(),
        )
    }

    /// Raises the bound to the smallest of `k` scores. Relaxed, since a bound that another chunk
    /// reads late is still a bound.
    fn raise<T: Real>(&self, b: usize, least: T) {
        self.0[b].fetch_max(ordered(least.double()), Ordering::Relaxed);
    }
}

/// A threshold just below the bound, since an equal score with a lower index wins.
fn below<T: Real>(floor: &AtomicU64) -> T {
    let x = T::of(unordered(floor.load(Ordering::Relaxed)));
    x - x.abs() * T::epsilon() - T::min_positive_value()
}

/// Maps a float to an integer with the same order.
fn ordered(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

fn unordered(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 {
        bits & !(1 << 63)
    } else {
        !bits
    })
}

/// Running top-k of each hidden vector, and the threshold that a score must exceed.
struct Best<'a, T> {
    floor: &'a Floor,
    bar: Vec<T>,
    lists: TopKLists<T>,
}

impl<'a, T: Real> Best<'a, T> {
    /// Empty lists for a chunk of `items` items.
    fn new(k: usize, items: usize, padded: usize, floor: &'a Floor) -> Self {
        let mut bar: Vec<T> = floor.0.iter().map(below).collect();
        let lists = TopKLists::new(bar.len(), k, items);
        // Padding columns, and all columns if k is 0, never pass.
        bar.resize(padded, T::infinity());
        Self { floor, bar, lists }
    }

    /// Inserts the scores above the threshold, for one vector of columns; `first` is the first
    /// item.
    #[inline(always)]
    fn keep<S: Simd>(&mut self, simd: S, scores: &[T], column: usize, at: usize, first: usize) {
        let mut bar = load::<T, S>(&self.bar[at..]);
        for (i, row) in scores.chunks_exact(PANEL).enumerate() {
            let row = &row[column..][..T::lanes::<S>()];
            if T::any_gt(simd, load::<T, S>(row), bar) {
                self.insert(row, at, (first + i) as u32);
                bar = load::<T, S>(&self.bar[at..]);
            }
        }
    }

    /// Rare after the first tiles, so not inlined.
    #[cold]
    fn insert(&mut self, row: &[T], at: usize, item: u32) {
        let bars = &mut self.bar[at..][..row.len()];
        for ((b, &score), bar) in (at..).zip(row).zip(bars) {
            if score > *bar
                && let Some(least) = self.lists.push(b, item, score)
            {
                self.floor.raise(b, least);
                *bar = Float::max(least, below(&self.floor.0[b]));
            }
        }
    }

    /// Publishes the chunk's bounds.
    fn finish(&mut self) {
        for b in 0..self.floor.0.len() {
            if let Some(least) = self.lists.cut(b) {
                self.floor.raise(b, least);
            }
        }
    }
}
