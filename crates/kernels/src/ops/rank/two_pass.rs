//! Ranking in two passes on the matrix engine: which scores decide a rank or a list is found from
//! products of bfloat16 parts with a bound on their error, and only those scores are computed
//! exactly. Ranks and lists have the bits of the sweep in `f32`.
//!
//! With `w = a + c + r` and `h = b + d + s`, where `a`, `b` are the roundings to bfloat16 and `c`,
//! `d` those of the remainders, the first pass computes `a b + a d + c b`. The rest,
//! `c d + r h + w s` but for smaller terms, is at most `3 / 2^18 |w| |h|` (Cauchy-Schwarz), as
//! `|c| <= |w| / 2^9` and `|r| <= |w| / 2^18`. To it comes the rounding of the sums, by `1 / 2^24`
//! of the sum of the terms' sizes at each operation on the way of a term into its sum: `width + 1`
//! in the sweep, and 17 within a tile and one a tile on the matrix engine.

mod compare;
mod operands;

use bytemuck::Zeroable;
use pulp::Simd;
use rayon::prelude::*;

use self::compare::{Group, Pass};
use self::operands::{Parts, SplitQuery, TILE_GROUPS, norms_of};
use super::{Floor, Ranking, unordered};
use crate::ops::score_offsets::ScoreOffsets;
use crate::ops::softmax_head::OutputLayer;
use crate::ops::top_k::best;
use crate::simd::slices::prefetch;
use crate::simd::tiles::{Block, GROUP, MatrixEngine, SIDE, Tile, TileEngine, TileWork, sum_at};

/// Share of the items, as a divisor, that a list may have: beyond it the sweep in `f32` is faster.
const MAX_LISTED: usize = 32;
/// Share of the scores, as a divisor, that may be computed exactly for the ranks, in vectors of up
/// to 16.
const EXACT_SHARE: usize = 4;
/// Scores up to this magnitude, and all partial sums, are finite.
const MAX_MAGNITUDE: f64 = 1e30;
/// Norms are enlarged by this factor, which exceeds the rounding of their computation.
const ENLARGED: f64 = 1.0 + 1e-5;
/// Thresholds move by this share of their magnitude, for the rounding of the threshold itself.
const THRESHOLD: f32 = 1.0 / (1 << 22) as f32;

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
/// many of them are too close to each other.
pub(super) fn rank(
    engine: MatrixEngine,
    linear: OutputLayer<'_, f32>,
    query: Query<'_>,
) -> Option<Ranking<f32>> {
    let items = linear.bias.len();
    if query.k > items / MAX_LISTED {
        return None;
    }
    let split = SplitQuery::new(query)?;
    let batch = split.norms.len();
    let wanted = query.targets.map(|targets| {
        engine.run(TargetScores {
            linear,
            query,
            targets,
        })
    });
    let floor = Floor::new(batch);
    // Few, since each finds its own bounds; the result does not depend on the number.
    let rows = items.div_ceil(2 * rayon::current_num_threads()).max(1);
    let weights = linear.weight.par_chunks(rows * query.width);
    let parts: Option<Vec<Found>> = weights
        .zip(linear.bias.par_chunks(rows))
        .enumerate()
        .map(|(i, (weight, bias))| {
            engine.run(Chunk {
                linear: OutputLayer { weight, bias },
                first: i * rows,
                query,
                wanted: wanted.as_deref(),
                split: &split,
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
        top.par_iter_mut().enumerate().for_each(|(b, top)| {
            engine.run(Exactly {
                linear,
                query,
                row: b,
                bar: floor.bar(b),
                parts: &parts,
                own: &own[b],
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

/// An item of a list and the bounds of its score.
type Candidate = (u32, [f32; 2]);

/// Result of the first pass over a chunk of items.
struct Found {
    /// Items of each hidden vector that score at least as high as its target.
    counts: Vec<u32>,
    lists: Vec<Candidates>,
}

/// Items that may be among the best of a hidden vector.
struct Candidates {
    list: Vec<Candidate>,
    /// Length at which the list is pruned.
    limit: usize,
}

impl Candidates {
    fn new(k: usize) -> Self {
        Self {
            list: Vec::new(),
            limit: 2 * k,
        }
    }

    /// Drops what is below `bar` or the k-th largest lower bound; returns the larger of both.
    fn prune(&mut self, k: usize, mut bar: f32) -> f32 {
        if self.list.len() >= k {
            let mut lower = Vec::with_capacity(self.list.len());
            lower.extend(self.list.iter().map(|(_, [low, _])| *low));
            let (_, kth, _) = lower.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            bar = bar.max(*kth);
        }
        self.list.retain(|(_, [_, high])| *high >= bar);
        self.limit = (2 * k).max(2 * self.list.len());
        bar
    }
}

/// A chunk of items in the first pass.
struct Chunk<'a> {
    linear: OutputLayer<'a, f32>,
    /// Its first item.
    first: usize,
    query: Query<'a>,
    /// Scores of the targets, offsets included.
    wanted: Option<&'a [f32]>,
    split: &'a SplitQuery,
    floor: &'a Floor,
}

impl TileWork for Chunk<'_> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Option<Found> {
        let (width, depth) = (self.query.width, self.query.width.div_ceil(GROUP));
        let mut pass = Pass::new(&self);
        let mut parts = Parts::new(width);
        // Of one group, and of the next, which is multiplied while the first is compared.
        let mut buffers: [Block; 2] = [[Tile::zeroed(); 4]; 2];
        const ITEMS: usize = TILE_GROUPS * GROUP;
        let tiles = self.linear.weight.chunks(ITEMS * width);
        for (t, (weight, bias)) in tiles.zip(self.linear.bias.chunks(ITEMS)).enumerate() {
            let first = self.first + t * ITEMS;
            let mut norms = [[0.0; 2]; TILE_GROUPS];
            let groups = weight.chunks(GROUP * width).zip(bias.chunks(GROUP));
            for (g, (weight, bias)) in groups.enumerate() {
                norms[g] = norms_of(simd, weight, width, bias)?;
                parts.pack((simd, engine), g, weight);
            }
            let offsets = self.query.offsets.of_items(first..first + bias.len());
            let next = self.linear.weight.get((t + 1) * ITEMS * width..);
            let next = next.map_or(&[][..], |next| &next[..next.len().min(ITEMS * width)]);
            let columns = |j: usize| &self.split.columns[j * 6 * depth..(j + 1) * 6 * depth];
            let (batches, groups) = (pass.norms.len() / GROUP, bias.len().div_ceil(GROUP));
            engine.multiply(parts.group(0), columns(0), &mut buffers[0], false);
            for j in 0..batches {
                for (g, bias) in bias.chunks(GROUP).enumerate() {
                    let item = first + g * GROUP;
                    let turn = j * groups + g;
                    prefetch::<f32, false>(next, turn, batches * groups);
                    let (next_j, next_g) = ((turn + 1) / groups, (turn + 1) % groups);
                    if next_j < batches {
                        let scores = &mut buffers[(turn + 1) % 2];
                        engine.multiply(parts.group(next_g), columns(next_j), scores, false);
                    }
                    let scores = &mut buffers[turn % 2];
                    for o in offsets {
                        let (i, row) = ((o.item as usize).wrapping_sub(item), o.row as usize);
                        if i < bias.len() && (j * GROUP..(j + 1) * GROUP).contains(&row) {
                            // Scored exactly later.
                            *sum_at(scores, i, row - j * GROUP) = f32::NEG_INFINITY;
                        }
                    }
                    for half in 0..2 {
                        let group = Group {
                            scores: [&scores[half], &scores[2 + half]],
                            bias,
                            item,
                            norms: norms[g],
                            row: j * GROUP + half * SIDE,
                        };
                        pass.visit(simd, &group);
                    }
                }
            }
            if pass.is_overflowing {
                return None;
            }
        }
        Some(pass.finish())
    }
}

/// Exact scores of a hidden vector's candidates.
struct Exactly<'a> {
    linear: OutputLayer<'a, f32>,
    query: Query<'a>,
    row: usize,
    bar: f32,
    parts: &'a [Found],
    /// Items with an offset.
    own: &'a [(u32, f32)],
    top: &'a mut Vec<(u32, f32)>,
}

impl TileWork for Exactly<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, _: S, _: E) {
        // The bounds of all chunks together leave little more than k items.
        let mut all = Candidates::new(self.query.k);
        for part in self.parts {
            all.list.extend_from_slice(&part.lists[self.row].list);
        }
        all.prune(self.query.k, self.bar);
        let items = all.list;
        let width = self.query.width;
        for (i, &(item, _)) in items.iter().enumerate() {
            // The rows lie anywhere.
            if let Some(&(item, _)) = items.get(i + 6) {
                let row = &self.linear.weight[item as usize * width..][..width];
                prefetch::<f32, false>(row, 0, 1);
            }
            let score = self.query.score(self.linear, item, self.row);
            self.top.push((item, score));
        }
        for &(item, value) in self.own {
            let score = self.query.score(self.linear, item, self.row) + value;
            self.top.push((item, score));
        }
        best(self.top, self.query.k);
    }
}

#[cfg(test)]
mod tests;
