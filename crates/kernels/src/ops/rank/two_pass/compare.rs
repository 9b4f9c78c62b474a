//! Comparison of the first pass' scores with targets and bars.

use std::ops::Range;

use pulp::Simd;

use super::{Candidates, Chunk, EXACT_SHARE, Found, MAX_LISTED, THRESHOLD};
use crate::Real;
use crate::simd::slices::load;
use crate::simd::tiles::{GROUP, SIDE, Tile};

/// Scores of up to 32 items for 16 hidden vectors.
pub(super) struct Group<'a> {
    /// Without the bias: of the first 16 items and of the others.
    pub(super) scores: [&'a Tile; 2],
    pub(super) bias: &'a [f32],
    /// First item.
    pub(super) item: usize,
    /// Largest norm of the items and largest bias.
    pub(super) norms: [f32; 2],
    /// First hidden vector.
    pub(super) row: usize,
}

/// Scores of a group against thresholds.
pub(super) struct Seen<S: Simd> {
    /// Numbers of scores that reach the upper and the lower threshold.
    pub(super) sure: S::u32s,
    pub(super) possible: S::u32s,
    pub(super) largest: S::f32s,
}

impl Group<'_> {
    /// The scores of item `i` for the vector of hidden vectors at `at`.
    #[inline(always)]
    pub(super) fn score<S: Simd>(&self, simd: S, i: usize, at: usize) -> S::f32s {
        let sums = &self.scores[i / SIDE].sums(i % SIDE)[at..];
        simd.add_f32s(load::<f32, S>(sums), simd.splat_f32s(self.bias[i]))
    }

    /// The items of one half.
    #[inline(always)]
    fn items_of(&self, half: usize) -> Range<usize> {
        let items = self.bias.len();
        (half * SIDE).min(items)..((half + 1) * SIDE).min(items)
    }

    /// Compares the scores of one half's items.
    #[inline(always)]
    fn compare<S: Simd>(
        &self,
        simd: S,
        (half, at): (usize, usize),
        [surely, perhaps]: [S::f32s; 2],
    ) -> Seen<S> {
        let (zero, one) = (simd.splat_u32s(0), simd.splat_u32s(1));
        let mut seen = Seen {
            sure: zero,
            possible: zero,
            largest: simd.splat_f32s(f32::NEG_INFINITY),
        };
        let sums = self.scores[half].0.chunks_exact(SIDE);
        for (sums, &bias) in sums.zip(&self.bias[self.items_of(half)]) {
            let sums = load::<f32, S>(bytemuck::cast_slice(&sums[at..]));
            let score = simd.add_f32s(sums, simd.splat_f32s(bias));
            let is_sure = simd.greater_than_or_equal_f32s(score, surely);
            seen.sure = simd.add_u32s(seen.sure, simd.select_u32s(is_sure, one, zero));
            let may_be = simd.greater_than_or_equal_f32s(score, perhaps);
            seen.possible = simd.add_u32s(seen.possible, simd.select_u32s(may_be, one, zero));
            seen.largest = simd.max_f32s(seen.largest, score);
        }
        seen
    }
}

/// Adds a vector to counts.
#[inline(always)]
pub(super) fn add_counts<S: Simd>(simd: S, counts: &mut [u32], more: S::u32s) {
    let count: S::u32s = bytemuck::pod_read_unaligned(bytemuck::cast_slice(counts));
    let sum = simd.add_u32s(count, more);
    bytemuck::cast_slice_mut(counts).copy_from_slice(bytemuck::bytes_of(&sum));
}

/// The lanes of a mask, a bit each.
#[inline(always)]
pub(super) fn lanes_of<S: Simd>(mask: S::m32s) -> u32 {
    let bytes = bytemuck::bytes_of(&mask);
    match *bytes {
        [low] => u32::from(low),
        [low, high] => u32::from(u16::from_le_bytes([low, high])),
        _ => {
            let mut lanes = 0;
            for (lane, word) in bytes.chunks_exact(4).enumerate() {
                lanes |= u32::from(word != [0; 4]) << lane;
            }
            lanes
        }
    }
}

/// State of the first pass over a chunk, padded to whole groups of hidden vectors.
pub(super) struct Pass<'a> {
    pub(super) chunk: &'a Chunk<'a>,
    pub(super) norms: Vec<f32>,
    pub(super) wanted: Vec<f32>,
    /// Scores not below the target's.
    pub(super) counts: Vec<u32>,
    pub(super) bars: Vec<f32>,
    pub(super) lists: Vec<Candidates>,
    /// Vectors of scores that were computed exactly, and the number from which the pass is given
    /// up.
    pub(super) exact: usize,
    pub(super) max_exact: usize,
    pub(super) is_overflowing: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(chunk: &'a Chunk<'a>) -> Self {
        let batch = chunk.split.norms.len();
        let padded = batch.next_multiple_of(GROUP);
        let query = chunk.query;
        let mut norms = chunk.split.norms.clone();
        norms.resize(padded, 0.0);
        let mut wanted = chunk.wanted.map_or_else(Vec::new, <[f32]>::to_vec);
        // No score of a padding column, or of a row without a target, counts.
        wanted.resize(padded, f32::INFINITY);
        // Padding columns, and all columns if k is 0, never pass.
        let mut bars = Vec::with_capacity(padded);
        if query.k > 0 {
            bars.extend((0..batch).map(|b| chunk.floor.bar(b)));
        }
        bars.resize(padded, f32::INFINITY);
        Self {
            chunk,
            norms,
            wanted,
            counts: vec![0; padded],
            bars,
            lists: (0..batch).map(|_| Candidates::new(query.k)).collect(),
            exact: 0,
            max_exact: chunk.linear.bias.len() * padded / (EXACT_SHARE * SIDE) + GROUP,
            is_overflowing: false,
        }
    }

    /// Bound of the error of the group's scores for 16 hidden vectors, of which the first of a
    /// vector is `at`.
    #[inline(always)]
    pub(super) fn error<S: Simd>(&self, simd: S, group: &Group<'_>, at: usize) -> S::f32s {
        let [norm, bias] = group.norms;
        let slope = simd.splat_f32s(norm * self.chunk.split.relative);
        // Of the bias's addition, and of products below the range of f32.
        let constant = simd.splat_f32s(bias * 4.0 * f32::EPSILON + 1e-30);
        simd.mul_add_e_f32s(slope, load::<f32, S>(&self.norms[at..]), constant)
    }

    /// Counts and lists the items of a group.
    #[inline(always)]
    pub(super) fn visit<S: Simd>(&mut self, simd: S, group: &Group<'_>) {
        for at in (0..SIDE).step_by(f32::lanes::<S>()) {
            let row = group.row + at;
            let error = self.error(simd, group, row);
            let wanted = load::<f32, S>(&self.wanted[row..]);
            let bar = load::<f32, S>(&self.bars[row..]);
            let margin =
                |x| simd.mul_add_e_f32s(simd.abs_f32s(x), simd.splat_f32s(THRESHOLD), error);
            let surely = simd.add_f32s(wanted, margin(wanted));
            let perhaps = simd.sub_f32s(wanted, margin(wanted));
            let bar = simd.sub_f32s(bar, margin(bar));
            let thresholds = [surely, perhaps];
            // One half after the other: what is close or listed lies in few of them.
            for half in 0..2 {
                let seen = group.compare(simd, (half, at), thresholds);
                add_counts(simd, &mut self.counts[row..][..S::F32_LANES], seen.sure);
                let close = simd.sub_u32s(seen.possible, seen.sure);
                let is_close = simd.greater_than_u32s(close, simd.splat_u32s(0));
                if simd.first_true_m32s(is_close) < S::F32_LANES {
                    self.count_close(simd, group, (half, at), thresholds);
                }
                let is_listed = simd.greater_than_or_equal_f32s(seen.largest, bar);
                if simd.first_true_m32s(is_listed) < S::F32_LANES {
                    self.list(simd, group, (half, at), [bar, error]);
                }
            }
        }
    }

    /// Counts the items with scores between both thresholds by their exact scores.
    #[inline(always)]
    pub(super) fn count_close<S: Simd>(
        &mut self,
        simd: S,
        group: &Group<'_>,
        (half, at): (usize, usize),
        [surely, perhaps]: [S::f32s; 2],
    ) {
        let (zero, one) = (simd.splat_u32s(0), simd.splat_u32s(1));
        let row = group.row + at;
        let wanted = load::<f32, S>(&self.wanted[row..]);
        let mut count = zero;
        for i in group.items_of(half) {
            let score = group.score(simd, i, at);
            let is_sure = simd.greater_than_or_equal_f32s(score, surely);
            let may_be = simd.greater_than_or_equal_f32s(score, perhaps);
            let close = simd.select_u32s(may_be, simd.select_u32s(is_sure, zero, one), zero);
            if simd.first_true_m32s(simd.greater_than_u32s(close, zero)) < S::F32_LANES {
                let exact = self.exact_scores(simd, group.item - self.chunk.first + i, row);
                let counts = simd.greater_than_or_equal_f32s(exact, wanted);
                count = simd.add_u32s(count, simd.select_u32s(counts, close, zero));
                self.exact += 1;
            }
        }
        add_counts(simd, &mut self.counts[row..][..S::F32_LANES], count);
        self.is_overflowing |= self.exact > self.max_exact;
    }

    /// Scores of an item of the chunk for a vector of hidden vectors, as in the sweep in `f32`.
    #[inline(always)]
    pub(super) fn exact_scores<S: Simd>(&self, simd: S, item: usize, row: usize) -> S::f32s {
        let width = self.chunk.query.width;
        let weight = &self.chunk.linear.weight[item * width..][..width];
        let mut score = simd.splat_f32s(self.chunk.linear.bias[item]);
        let hidden = self.chunk.split.transposed.chunks_exact(self.norms.len());
        for (&w, hidden) in weight.iter().zip(hidden) {
            let hidden = load::<f32, S>(&hidden[row..]);
            score = simd.mul_add_e_f32s(simd.splat_f32s(w), hidden, score);
        }
        score
    }

    /// Adds the items that reach the bar.
    #[inline(always)]
    pub(super) fn list<S: Simd>(
        &mut self,
        simd: S,
        group: &Group<'_>,
        (half, at): (usize, usize),
        [bar, error]: [S::f32s; 2],
    ) {
        let errors: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&error));
        for i in group.items_of(half) {
            let score = group.score(simd, i, at);
            let mut lanes = lanes_of::<S>(simd.greater_than_or_equal_f32s(score, bar));
            let scores: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&score));
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                lanes &= lanes - 1;
                let bounds = [scores[lane] - errors[lane], scores[lane] + errors[lane]];
                self.push((group.item + i) as u32, group.row + at + lane, bounds);
            }
        }
    }

    /// Adds an item to a list if its upper bound reaches the bar.
    pub(super) fn push(&mut self, item: u32, row: usize, [low, high]: [f32; 2]) {
        let bar = self.bars[row];
        // A score of -inf is one that an offset changes.
        if !(high >= bar && low > f32::NEG_INFINITY) {
            return;
        }
        let k = self.chunk.query.k;
        let candidates = &mut self.lists[row];
        candidates.list.push((item, [low, high]));
        if candidates.list.len() >= candidates.limit {
            let bar = candidates.prune(k, bar.max(self.chunk.floor.bar(row)));
            self.chunk.floor.raise(row, bar);
            self.bars[row] = bar;
            let most = self.chunk.linear.bias.len() / MAX_LISTED + 4 * k;
            self.is_overflowing |= candidates.list.len() > most;
        }
    }

    /// Prunes the lists a last time.
    pub(super) fn finish(mut self) -> Found {
        for (row, candidates) in self.lists.iter_mut().enumerate() {
            if self.chunk.query.k > 0 {
                let bar = self.bars[row].max(self.chunk.floor.bar(row));
                let bar = candidates.prune(self.chunk.query.k, bar);
                self.chunk.floor.raise(row, bar);
            }
        }
        self.counts.truncate(self.lists.len());
        Found {
            counts: self.counts,
            lists: self.lists,
        }
    }
}
