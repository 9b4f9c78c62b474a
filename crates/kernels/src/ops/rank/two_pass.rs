//! Ranking in two passes on the matrix engine: which scores decide a rank or a list is found from
//! products in bfloat16 with a bound on their error, and only those scores are computed exactly.
//! Ranks and lists have the bits of the sweep in `f32`.
//!
//! With `m` the mean weight row, `w - m = a + c + ..` and `h = b + d + ..`, where `a` and `b` are
//! the roundings to bfloat16 and `c` and `d` those of the remainders, the first pass computes
//! `a b + a d + c b + bias`. From a score `w h + bias` that differs by `m h`, the same for all
//! items, and by an error of at most `|c| |d| + |w - m - a - c| |h| + |a + c| |h - b - d|`
//! (Cauchy-Schwarz), of which all norms are measured. To it comes the rounding of the sums, by
//! `1 / 2^24` of the sum of the terms' sizes at each operation on the way of a term into its sum:
//! `width + 1` in the sweep in `f32`, and 17 within a tile and one a tile on the matrix engine.

mod bars;
mod compare;
mod operands;

use std::ops::Range;

use bytemuck::Zeroable;
use pulp::Simd;
use rayon::prelude::*;

use self::compare::{Group, Pass};
pub use self::operands::PackedItems;
use self::operands::{HiddenColumns, ItemNorms};
use super::{Floor, Ranking, unordered};
use crate::ops::score_offsets::{ScoreOffset, ScoreOffsets};
use crate::ops::softmax_head::OutputLayer;
use crate::ops::top_k::best;
use crate::simd::slices::prefetch;
use crate::simd::tiles::{Block, GROUP, SIDE, Tile, TileEngine, TileWork, sum_at};

/// Share of the items, as a divisor, that a list may have: beyond it the sweep in `f32` is faster.
const MAX_LISTED: usize = 32;
/// Share of the scores, as a divisor, that may be close to the target's.
const MAX_CLOSE: usize = 16;
/// Thresholds move by this share of their magnitude, for the rounding of the threshold itself.
const THRESHOLD: f32 = 1.0 / (1 << 22) as f32;
/// Groups of items after which chunks exchange their bars.
const EXCHANGE: usize = 32;
/// Groups of 32 items that are multiplied with all hidden vectors together.
const TILE_GROUPS: usize = 2;

/// A batch to rank.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) hidden: &'a [f32],
    pub(super) width: usize,
    pub(super) targets: Option<&'a [u32]>,
    pub(super) k: usize,
    pub(super) offsets: &'a ScoreOffsets<f32>,
}

/// The ranking, or `None` if the sweep in `f32` has to make it: scores may not be finite, or too
/// many of them are too close to each other. `packed` are the items of `linear`.
pub(super) fn rank(
    packed: &PackedItems,
    linear: OutputLayer<'_, f32>,
    query: Query<'_>,
) -> Option<Ranking<f32>> {
    let items = linear.bias.len();
    if query.k > items / MAX_LISTED {
        return None;
    }
    let engine = packed.engine();
    let columns = HiddenColumns::new(query, packed)?;
    let batch = columns.batch;
    let wanted = query.targets.map(|targets| {
        engine.run(TargetScores {
            linear,
            query,
            targets,
        })
    });
    let floor = Floor::new(batch);
    bars::raise(packed, linear.bias, query, &columns, &floor)?;
    // A chunk a thread, since each has its own lists; the result does not depend on the number.
    let groups = packed.groups().div_ceil(rayon::current_num_threads());
    let starts: Vec<usize> = (0..packed.groups()).step_by(groups.max(1)).collect();
    let parts: Option<Vec<Found>> = starts
        .into_par_iter()
        .map(|start| {
            engine.run(Chunk {
                linear,
                packed,
                groups: start..(start + groups).min(packed.groups()),
                query,
                wanted: wanted.as_deref(),
                columns: &columns,
                floor: &floor,
            })
        })
        .collect();
    let parts = parts?;
    let mut own = vec![Vec::new(); batch];
    for o in query.offsets.as_slice() {
        own[o.row as usize].push((o.item, o.value));
    }
    let mut ranks = Vec::new();
    if let Some(wanted) = &wanted {
        for (b, &wanted) in wanted.iter().enumerate() {
            let mut rank: u32 = parts.iter().map(|part| part.counts[b]).sum();
            for &(item, value) in &own[b] {
                rank += u32::from(query.score(linear, item, b) + value >= wanted);
            }
            ranks.push(rank);
        }
    }
    let mut top = vec![Vec::new(); batch];
    if query.k > 0 {
        let rows = batch.div_ceil(4 * rayon::current_num_threads());
        top.par_chunks_mut(rows).enumerate().for_each(|(i, top)| {
            engine.run(Exactly {
                linear,
                query,
                first: i * rows,
                floor: &floor,
                parts: &parts,
                own: &own,
                top,
            });
        });
    }
    Some(Ranking { ranks, top })
}

impl Floor {
    /// The bound of a hidden vector.
    fn bar(&self, b: usize) -> f32 {
        unordered(self.0[b].load(std::sync::atomic::Ordering::Relaxed)) as f32
    }
}

impl Query<'_> {
    /// The score of an item without its offset: the chain of the sweep in `f32`.
    #[inline(always)]
    fn score(&self, linear: OutputLayer<'_, f32>, item: u32, row: usize) -> f32 {
        let item = item as usize;
        let weight = &linear.weight[item * self.width..][..self.width];
        let mut score = linear.bias[item];
        for (&w, &h) in weight.iter().zip(&self.hidden[row * self.width..]) {
            score = w.mul_add(h, score);
        }
        score
    }

    /// The scores of four items, in chains that hide each other's latency.
    #[inline(always)]
    fn four_scores(&self, linear: OutputLayer<'_, f32>, items: [u32; 4], row: usize) -> [f32; 4] {
        let [a, b, c, d] =
            items.map(|item| &linear.weight[item as usize * self.width..][..self.width]);
        let mut scores = items.map(|item| linear.bias[item as usize]);
        let hidden = &self.hidden[row * self.width..][..self.width];
        for ((((&h, &a), &b), &c), &d) in hidden.iter().zip(a).zip(b).zip(c).zip(d) {
            scores[0] = a.mul_add(h, scores[0]);
            scores[1] = b.mul_add(h, scores[1]);
            scores[2] = c.mul_add(h, scores[2]);
            scores[3] = d.mul_add(h, scores[3]);
        }
        scores
    }
}

/// Scores of the targets, offsets included.
struct TargetScores<'a> {
    linear: OutputLayer<'a, f32>,
    query: Query<'a>,
    targets: &'a [u32],
}

impl TileWork for TargetScores<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, _: S, _: E) -> Vec<f32> {
        let mut scores = Vec::with_capacity(self.targets.len());
        for (row, &item) in self.targets.iter().enumerate() {
            let score = self.query.score(self.linear, item, row);
            scores.push(score + self.query.offsets.at(item, row as u32));
        }
        scores
    }
}

/// An item that may be among the best of a hidden vector.
struct Candidate {
    item: u32,
    row: u32,
    /// Upper bound of its score.
    high: f32,
}

/// Result of the first pass over a chunk of items.
struct Found {
    /// Items of each hidden vector that score at least as high as its target.
    counts: Vec<u32>,
    /// The k largest lower bounds of the scores of each: `[batch, k]`.
    best: Vec<f32>,
    listed: Vec<Candidate>,
}

/// Excludes the scores that offsets change, of the items from `item` on and of the hidden vectors
/// from `row` on: they are computed exactly later.
#[inline(always)]
fn exclude_offsets(offsets: &[ScoreOffset<f32>], item: usize, row: usize, scores: &mut Block) {
    for o in offsets {
        let i = (o.item as usize).wrapping_sub(item);
        let b = (o.row as usize).wrapping_sub(row);
        if i < GROUP && b < GROUP {
            *sum_at(scores, i, b) = f32::NEG_INFINITY;
        }
    }
}

/// A chunk of items in the first pass.
struct Chunk<'a> {
    linear: OutputLayer<'a, f32>,
    packed: &'a PackedItems,
    /// Its groups of items.
    groups: Range<usize>,
    query: Query<'a>,
    /// Scores of the targets, offsets included.
    wanted: Option<&'a [f32]>,
    columns: &'a HiddenColumns,
    floor: &'a Floor,
}

impl TileWork for Chunk<'_> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Option<Found> {
        let mut pass = Pass::new(&self);
        let depth = self.query.width.div_ceil(GROUP);
        // Of one group, and of the next, which is multiplied while the first is compared.
        let mut buffers: [Block; 2] = [[Tile::zeroed(); 4]; 2];
        let items = self.linear.bias.len();
        for start in self.groups.clone().step_by(TILE_GROUPS) {
            let end = (start + TILE_GROUPS).min(self.groups.end);
            // Items that lack have no score.
            let mut biases = [[f32::NEG_INFINITY; GROUP]; TILE_GROUPS];
            let mut norms = [ItemNorms::default(); TILE_GROUPS];
            let mut largest = ItemNorms::default();
            for (i, g) in (start..end).enumerate() {
                let bias = &self.linear.bias[g * GROUP..items.min((g + 1) * GROUP)];
                biases[i][..bias.len()].copy_from_slice(bias);
                norms[i] = self.packed.norms(g).with_bias(bias)?;
                largest = largest.or(norms[i]);
            }
            let offsets = self
                .query
                .offsets
                .of_items(start * GROUP..items.min(end * GROUP));
            let (batches, groups) = (self.columns.groups(), end - start);
            for k in 0..depth {
                let (items, columns) = (self.packed.group(start), self.columns.group(0));
                engine.multiply_parts(items, columns, k, &mut buffers[0]);
            }
            for j in 0..batches {
                for g in start..end {
                    // The groups of the next turn of the loop over the items.
                    prefetch::<_, false>(self.packed.group(g + TILE_GROUPS), j, batches);
                    let turn = j * groups + g - start;
                    let (next_j, next_g) = ((turn + 1) / groups, start + (turn + 1) % groups);
                    let [first, second] = &mut buffers;
                    let (scores, next) = match turn % 2 {
                        0 => (first, second),
                        _ => (second, first),
                    };
                    exclude_offsets(offsets, g * GROUP, j * GROUP, scores);
                    for k in 0..depth {
                        if next_j < batches {
                            let columns = self.columns.group(next_j);
                            engine.multiply_parts(self.packed.group(next_g), columns, k, next);
                        }
                        // Beside the product: the sides are spread over its steps.
                        for side in 2 * k / depth..2 * (k + 1) / depth {
                            let group = Group {
                                scores: [&scores[side], &scores[2 + side]],
                                bias: &biases[g - start],
                                item: g * GROUP,
                                norms: norms[g - start],
                                row: j * GROUP + side * SIDE,
                            };
                            pass.visit((simd, engine), &group);
                        }
                    }
                }
            }
            pass.count_close(simd, largest);
            if (end - self.groups.start).is_multiple_of(EXCHANGE) {
                pass.exchange_bars();
            }
            if pass.is_overflowing(end - self.groups.start) {
                return None;
            }
        }
        Some(pass.finish())
    }
}

/// Exact scores of the candidates of some hidden vectors.
struct Exactly<'a> {
    linear: OutputLayer<'a, f32>,
    query: Query<'a>,
    /// First hidden vector.
    first: usize,
    floor: &'a Floor,
    parts: &'a [Found],
    /// Items with an offset, of all hidden vectors.
    own: &'a [Vec<(u32, f32)>],
    top: &'a mut [Vec<(u32, f32)>],
}

impl TileWork for Exactly<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, _: S, _: E) {
        let (linear, width) = (self.linear, self.query.width);
        let candidates = self.candidates();
        for (i, top) in self.top.iter_mut().enumerate() {
            let row = self.first + i;
            // Rows of the weight lie anywhere: those of the next hidden vector are fetched.
            for &item in candidates.get(i + 1).into_iter().flatten() {
                prefetch::<f32, false>(&linear.weight[item as usize * width..][..width], 0, 1);
            }
            for four in candidates[i].chunks(4) {
                // The last takes the place of those that lack.
                let last = four.len() - 1;
                let items: [u32; 4] = std::array::from_fn(|i| four[i.min(last)]);
                let scores = self.query.four_scores(linear, items, row);
                top.extend(four.iter().copied().zip(scores));
            }
            for &(item, value) in &self.own[row] {
                let score = self.query.score(linear, item, row) + value;
                top.push((item, score));
            }
            best(top, self.query.k);
        }
    }
}

impl Exactly<'_> {
    /// The items that may be among the best of each hidden vector.
    fn candidates(&self) -> Vec<Vec<u32>> {
        let k = self.query.k;
        let mut bars = Vec::with_capacity(self.top.len());
        for row in self.first..self.first + self.top.len() {
            // The bounds of all chunks together leave little more than k items.
            let mut lower = Vec::with_capacity(self.parts.len() * k);
            for part in self.parts {
                lower.extend_from_slice(&part.best[row * k..(row + 1) * k]);
            }
            let (_, kth, _) = lower.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            bars.push(self.floor.bar(row).max(*kth));
        }
        let mut candidates = vec![Vec::with_capacity(2 * k); self.top.len()];
        for candidate in self.parts.iter().flat_map(|part| &part.listed) {
            let i = (candidate.row as usize).wrapping_sub(self.first);
            if bars.get(i).is_some_and(|&bar| candidate.high >= bar) {
                candidates[i].push(candidate.item);
            }
        }
        candidates
    }
}

#[cfg(test)]
mod tests;
