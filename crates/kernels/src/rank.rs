//! Ranks and best items of a batch over the whole catalogue, counted and kept while the tiles of scores go by.

use std::sync::atomic::{AtomicU64, Ordering};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::head::{Linear, target_scores};
use crate::slices::{load, store};
use crate::tile::{PANEL, Packed};
use crate::{CHUNKS, Real};

/// Items of a tile.
const TILE: usize = 96;

/// A score that is NaN or infinite, where a rank was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a score of row {row} of the batch is not finite, so it has no rank")]
pub struct NotFinite {
    /// The first such row.
    pub row: usize,
}

/// What a batch of hidden vectors says of the items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking<T> {
    /// The target's pessimistic rank, from 1: the items, itself included, that score no less. Empty without targets.
    pub ranks: Vec<u32>,
    /// The best items of each hidden vector, best first, equal scores by lower index: min(k, items) each.
    pub top: Vec<Vec<(u32, T)>>,
}

/// Ranks each hidden vector's target (if `targets` are given) and lists its `k` best items.
///
/// # Errors
/// If a score is not finite.
pub fn rank<T: Real>(
    linear: Linear<'_, T>,
    hidden: &[T],
    width: usize,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<Ranking<T>, NotFinite> {
    let packed = Packed::new(hidden, width);
    let wanted = targets.map(|t| target_scores(linear, &packed, width, t));
    let rows = linear.bias.len().div_ceil(CHUNKS).max(1);
    let floor = Floor::new(if k > 0 { packed.batch() } else { 0 });
    let arch = Arch::new();
    let weights = linear.weight.par_chunks(rows * width).zip(linear.bias.par_chunks(rows)).enumerate();
    let parts: Vec<Part<T>> = weights
        .map(|(i, (weight, bias))| {
            let linear = Linear { weight, bias };
            let wanted = wanted.as_deref();
            arch.dispatch(Chunk { linear, first: i * rows, packed: &packed, width, wanted, k, floor: &floor })
        })
        .collect();
    if let Some(row) = parts.iter().filter_map(|p| p.not_finite).min() {
        return Err(NotFinite { row });
    }
    let batch = packed.batch();
    let ranks = match targets {
        Some(_) => (0..batch).map(|b| parts.iter().map(|p| p.no_less[b]).sum()).collect(),
        None => Vec::new(),
    };
    let mut top = vec![Vec::new(); batch];
    top.par_iter_mut().zip(floor.0.par_iter()).enumerate().for_each(|(b, (top, floor))| {
        let bar = below::<T>(floor);
        let lists = parts.iter().flat_map(|part| part.top.list(b)).copied();
        *top = best_of(lists.filter(|&(_, score)| score > bar), k);
    });
    Ok(Ranking { ranks, top })
}

/// The `k` best of some (item, score), best first.
fn best_of<T: Real>(items: impl Iterator<Item = (u32, T)>, k: usize) -> Vec<(u32, T)> {
    let mut all: Vec<(u32, T)> = items.collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// One chunk's share of the result.
struct Part<T> {
    no_less: Vec<u32>,
    top: Lists<T>,
    not_finite: Option<usize>,
}

struct Chunk<'a, T> {
    linear: Linear<'a, T>,
    first: usize,
    packed: &'a Packed<T>,
    width: usize,
    wanted: Option<&'a [T]>,
    k: usize,
    floor: &'a Floor,
}

impl<T: Real> WithSimd for Chunk<'_, T> {
    type Output = Part<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Part<T> {
        let batch = self.packed.batch();
        let padded = batch.next_multiple_of(PANEL);
        let mut wanted = self.wanted.map_or_else(Vec::new, <[T]>::to_vec);
        wanted.resize(padded, T::infinity());
        let mut counts = vec![T::zero(); padded];
        // Zero times a finite score is zero; anything else leaves its mark here.
        let mut marks = vec![T::zero(); padded];
        let mut best = Best::new(self.k, self.linear.bias.len(), padded, self.floor);
        let mut scores = vec![T::zero(); TILE * PANEL];
        for (i, (weight, bias)) in
            self.linear.weight.chunks(TILE * self.width).zip(self.linear.bias.chunks(TILE)).enumerate()
        {
            for (start, n) in self.packed.panels() {
                self.packed.score(simd, start, weight, bias, &mut scores);
                let scores = &scores[..bias.len() * PANEL];
                for c in (0..n).step_by(T::lanes::<S>()) {
                    let at = start + c;
                    count(simd, scores, c, &wanted[at..], &mut counts[at..], &mut marks[at..]);
                    best.keep(simd, scores, c, at, self.first + i * TILE);
                }
            }
        }
        self.floor.raise(&best.lists, self.k);
        Part {
            no_less: counts[..batch].iter().map(|c| c.double() as u32).collect(),
            top: best.lists,
            not_finite: marks[..batch].iter().position(|m| !m.is_finite()),
        }
    }
}

/// Counts the scores of some columns of a tile that are no less than wanted.
#[inline(always)]
fn count<T: Real, S: Simd>(simd: S, scores: &[T], column: usize, wanted: &[T], counts: &mut [T], marks: &mut [T]) {
    let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
    let target = load::<T, S>(wanted);
    let (mut n, mut mark) = (load::<T, S>(counts), load::<T, S>(marks));
    for row in scores.chunks_exact(PANEL) {
        let s = load::<T, S>(&row[column..]);
        n = T::vadd(simd, n, T::select_ge(simd, s, target, one, zero));
        mark = T::vmul_add(simd, s, zero, mark);
    }
    store::<T, S>(counts, n);
    store::<T, S>(marks, mark);
}

/// For each hidden vector a score that `k` items reach, so that no lower one is among the best: what the chunks that are done
/// tell those to come, which would fill their own lists from nothing otherwise. It spares work and shapes no result.
struct Floor(Vec<AtomicU64>);

impl Floor {
    fn new(batch: usize) -> Self {
        Self((0..batch).map(|_| AtomicU64::new(ordered(f64::NEG_INFINITY))).collect())
    }

    /// Takes in the lists of a chunk, those that hold `k`.
    fn raise<T: Real>(&self, lists: &Lists<T>, k: usize) {
        for (b, floor) in self.0.iter().enumerate() {
            if let Some(&(_, least)) = lists.list(b).get(k - 1) {
                floor.fetch_max(ordered(least.double()), Ordering::Relaxed);
            }
        }
    }
}

/// A score just below a floor, as an equal score of a lower index is better.
fn below<T: Real>(floor: &AtomicU64) -> T {
    let x = T::of(unordered(floor.load(Ordering::Relaxed)));
    x - x.abs() * T::epsilon() - T::min_positive_value()
}

/// The bits of a number, ordered as the numbers are.
fn ordered(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn unordered(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

/// Lists of (item, score), best first, at most `most` each, in one block of memory.
struct Lists<T> {
    entries: Vec<(u32, T)>,
    lengths: Vec<usize>,
    most: usize,
}

impl<T: Real> Lists<T> {
    fn new(lists: usize, most: usize) -> Self {
        Self { entries: vec![(0, T::zero()); lists * most], lengths: vec![0; lists], most }
    }

    fn list(&self, b: usize) -> &[(u32, T)] {
        &self.entries[b * self.most..][..self.lengths[b]]
    }

    /// Puts an item behind those that score no less; the last of a full list falls out.
    fn insert(&mut self, b: usize, item: u32, score: T) {
        let list = &mut self.entries[b * self.most..][..self.most];
        let length = (self.lengths[b] + 1).min(self.most);
        let place = list[..length - 1].partition_point(|&(_, s)| s >= score);
        list.copy_within(place..length - 1, place + 1);
        list[place] = (item, score);
        self.lengths[b] = length;
    }
}

/// The best items so far of each hidden vector, and the score an item must exceed to be among them.
struct Best<T> {
    k: usize,
    bar: Vec<T>,
    lists: Lists<T>,
}

impl<T: Real> Best<T> {
    /// Lists the best `k` of some items.
    fn new(k: usize, items: usize, padded: usize, floor: &Floor) -> Self {
        let mut bar: Vec<T> = floor.0.iter().map(below).collect();
        let lists = Lists::new(bar.len(), k.min(items));
        // Columns of padding, and all columns when nothing is to be kept, can never pass.
        bar.resize(padded, T::infinity());
        Self { k, bar, lists }
    }

    /// Looks through one vector of columns of a tile whose first item is `first`.
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

    /// Rare after the first tiles, so kept out of the loop.
    #[cold]
    fn insert(&mut self, row: &[T], at: usize, item: u32) {
        for (lane, &score) in row.iter().enumerate() {
            let b = at + lane;
            if score > self.bar[b] {
                self.lists.insert(b, item, score);
                if let Some(&(_, least)) = self.lists.list(b).get(self.k - 1) {
                    self.bar[b] = least;
                }
            }
        }
    }
}
