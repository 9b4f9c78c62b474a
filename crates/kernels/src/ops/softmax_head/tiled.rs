//! The sweeps on the matrix engine, with operands rounded to bfloat16.
//!
//! The first sweep computes scores, exponentials relative to the target's score, their sums, and
//! the sums of weight rows weighted by them: the softmax part of the hidden gradient but for a
//! factor. The second computes the scores again, which is cheaper here than storing 18 million
//! exponentials, then probabilities, and the gradients of weight and bias.

mod backward;

use bytemuck::Zeroable;
use pulp::Simd;
use rayon::prelude::*;

pub(super) use self::backward::{Pass, backward};
use super::{MOST, OutputLayer, Sums, join};
use crate::CHUNKS;
use crate::Real;
use crate::ops::score_offsets::{ScoreOffset, ScoreOffsets};
use crate::simd::slices::{load, prefetch, store};
use crate::simd::tiles::{
    Block, GROUP, MatrixEngine, SIDE, Tile, TileEngine, TileWork, exp, pack_columns,
    pack_pairs_of_rows, pack_rows, sum_at,
};

/// Groups of 32 items in a tile of the first sweep: the sums over items are read and written once
/// a tile, and the tile's operands stay in the second-level cache.
const TILE_GROUPS: usize = 8;

/// Values of the first sweep that the second one reads.
pub(super) struct FirstSweep {
    engine: MatrixEngine,
    /// Hidden vectors as columns of operand B.
    hidden: Vec<Tile>,
    /// Expected weight row under the softmax of each hidden vector, `[batch, width]`.
    expected: Vec<f32>,
    /// Log-sum-exp of the softmax that [`expected`](Self::expected) belongs to.
    log_sum_exp: Vec<f32>,
}

/// Hidden vectors of a batch.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) hidden: &'a [f32],
    pub(super) width: usize,
    /// Item whose score is the reference of each hidden vector.
    pub(super) targets: &'a [u32],
}

/// The score of each hidden vector's target, without offsets, with the same bits as in the sweeps.
pub(super) fn target_scores(
    engine: MatrixEngine,
    linear: OutputLayer<'_, f32>,
    batch: Batch<'_>,
) -> Vec<f32> {
    struct Work<'a>(OutputLayer<'a, f32>, Batch<'a>);
    impl TileWork for Work<'_> {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Vec<f32> {
            let Self(linear, Batch { width, .. }) = self;
            let hidden = pack_columns(self.1.hidden, width);
            let depth = width.div_ceil(GROUP);
            let mut weight = vec![Tile::zeroed(); 2 * depth];
            let (mut rows, mut sums) = (Vec::new(), [Tile::zeroed(); 4]);
            let mut scores = Vec::with_capacity(self.1.targets.len());
            let columns = hidden.chunks_exact(2 * depth);
            for (targets, columns) in self.1.targets.chunks(GROUP).zip(columns) {
                rows.clear();
                for &t in targets {
                    rows.extend_from_slice(&linear.weight[t as usize * width..][..width]);
                }
                pack_rows((simd, engine), &rows, width, &mut weight);
                engine.multiply(&weight, columns, &mut sums, false);
                for (i, &t) in targets.iter().enumerate() {
                    scores.push(*sum_at(&mut sums, i, i) + linear.bias[t as usize]);
                }
            }
            scores
        }
    }
    engine.run(Work(linear, batch))
}

/// The first sweep, given the references: log-sum-exps, and the state for the second sweep.
pub(super) fn first_sweep(
    engine: MatrixEngine,
    linear: OutputLayer<'_, f32>,
    hidden: &[f32],
    references: &[f32],
    offsets: &ScoreOffsets<f32>,
) -> (Vec<f32>, FirstSweep) {
    let width = linear.weight.len() / linear.bias.len().max(1);
    let batch = references.len();
    let mut padded = references.to_vec();
    padded.resize(batch.next_multiple_of(GROUP), 0.0);
    let columns = pack_columns(hidden, width);
    let rows = linear.bias.len().div_ceil(CHUNKS).max(1);
    let weights = linear.weight.par_chunks(rows * width);
    let parts: Vec<(Sums<f32>, Vec<Block>)> = weights
        .zip(linear.bias.par_chunks(rows))
        .enumerate()
        .map(|(index, (weight, bias))| {
            engine.run(Sweep {
                linear: OutputLayer { weight, bias },
                first: index * rows,
                width,
                hidden: &columns,
                references: &padded,
                batch,
                offsets,
            })
        })
        .collect();
    let (sums, blocks): (Vec<Sums<f32>>, Vec<Vec<Block>>) = parts.into_iter().unzip();
    let mut log_sum_exp = Vec::with_capacity(batch);
    for b in 0..batch {
        log_sum_exp.push(join(&sums, b));
    }
    let expected = expected_rows(&sums, &blocks, &log_sum_exp, width);
    let state = FirstSweep {
        engine,
        hidden: columns,
        expected,
        log_sum_exp: log_sum_exp.clone(),
    };
    (log_sum_exp, state)
}

/// Weight rows summed with the weights `e^(score - log_sum_exp)`, `[batch, width]`; the chunks are
/// added in order.
fn expected_rows(
    sums: &[Sums<f32>],
    blocks: &[Vec<Block>],
    log_sum_exp: &[f32],
    width: usize,
) -> Vec<f32> {
    let groups = log_sum_exp.len().div_ceil(GROUP);
    let mut factors = vec![0.0; groups * GROUP];
    let mut total = vec![[Tile::zeroed(); 4]; width.div_ceil(GROUP) * groups];
    for ((references, _), blocks) in sums.iter().zip(blocks) {
        for ((factor, reference), log) in factors.iter_mut().zip(references).zip(log_sum_exp) {
            *factor = (reference - log).exp();
        }
        for (at, (total, block)) in total.iter_mut().zip(blocks).enumerate() {
            let factors = &factors[at % groups * GROUP..][..GROUP];
            for (t, (total, tile)) in total.iter_mut().zip(block).enumerate() {
                let factors = &factors[t % 2 * SIDE..][..SIDE];
                for (r, sums) in total.sums_mut().chunks_exact_mut(SIDE).enumerate() {
                    for ((sum, x), factor) in sums.iter_mut().zip(tile.sums(r)).zip(factors) {
                        *sum += x * factor;
                    }
                }
            }
        }
    }
    let mut rows = Vec::with_capacity(log_sum_exp.len() * width);
    for b in 0..log_sum_exp.len() {
        for k in 0..width {
            let block = &mut total[k / GROUP * groups + b / GROUP];
            rows.push(*sum_at(block, k % GROUP, b % GROUP));
        }
    }
    rows
}

/// Adds the offsets of a group of items and of rows to a block of their scores.
#[inline(always)]
fn add_offsets(
    offsets: &[ScoreOffset<f32>],
    (first_item, first_row): (usize, usize),
    scores: &mut Block,
) {
    for o in offsets {
        let row = o.row as usize;
        if (first_row..first_row + GROUP).contains(&row) {
            *sum_at(scores, o.item as usize - first_item, row - first_row) += o.value;
        }
    }
}

/// One chunk of items in the first sweep.
#[derive(Clone, Copy)]
struct Sweep<'a> {
    linear: OutputLayer<'a, f32>,
    /// Its first item.
    first: usize,
    width: usize,
    hidden: &'a [Tile],
    /// Padded to whole groups.
    references: &'a [f32],
    batch: usize,
    offsets: &'a ScoreOffsets<f32>,
}

impl TileWork for Sweep<'_> {
    /// References and sums of each hidden vector, and the weighted sums of weight rows, transposed:
    /// blocks of 32 columns by 32 hidden vectors.
    type Output = (Sums<f32>, Vec<Block>);

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Self::Output {
        let (sums, blocks) = self.sums(simd, engine, self.references);
        if sums[..self.batch].iter().all(|&sum| f64::from(sum) < MOST) {
            return ((self.references.to_vec(), sums), blocks);
        }
        // Some score is so far above its target's that the sum may overflow: a second pass,
        // relative to the largest scores.
        let references = self.largest(simd, engine);
        let (sums, blocks) = self.sums(simd, engine, &references);
        ((references, sums), blocks)
    }
}

/// Buffers of a tile of items.
struct Buffers {
    /// Per group, the rows of operand A.
    rows: Vec<Tile>,
    /// Columns of the weight as rows of operand A, along the groups.
    columns: Vec<Tile>,
    /// Exponentials of 32 hidden vectors as columns of operand B, along the groups.
    exps: Vec<Tile>,
    /// Of one group, and of the next, which is multiplied while the exponentials of the first are
    /// computed.
    scores: [Block; 2],
}

impl<'a> Sweep<'a> {
    fn depth(&self) -> usize {
        self.width.div_ceil(GROUP)
    }

    fn buffers(&self) -> Buffers {
        let tiles = |n: usize| vec![Tile::zeroed(); n];
        Buffers {
            rows: tiles(TILE_GROUPS * 2 * self.depth()),
            columns: tiles(TILE_GROUPS * 2 * self.depth()),
            exps: tiles(TILE_GROUPS * 2),
            scores: [[Tile::zeroed(); 4]; 2],
        }
    }

    /// Weight and bias of each tile of items, and its first item.
    fn tiles(&self) -> impl Iterator<Item = (&'a [f32], &'a [f32], usize)> + use<'a> {
        const ITEMS: usize = TILE_GROUPS * GROUP;
        let weights = self.linear.weight.chunks(ITEMS * self.width);
        let firsts = (self.first..).step_by(ITEMS);
        weights
            .zip(self.linear.bias.chunks(ITEMS))
            .zip(firsts)
            .map(|((weight, bias), first)| (weight, bias, first))
    }

    /// Sums of e^(score - reference), and of the weight rows weighted by them.
    #[inline(always)]
    fn sums<S: Simd, E: TileEngine>(
        &self,
        simd: S,
        engine: E,
        references: &[f32],
    ) -> (Vec<f32>, Vec<Block>) {
        let (depth, batches) = (self.depth(), self.references.len() / GROUP);
        let mut sums = vec![0.0; self.references.len()];
        let mut weighted = vec![[Tile::zeroed(); 4]; depth * batches];
        let mut to = self.buffers();
        let mut tiles = self.tiles().peekable();
        while let Some((weight, bias, first)) = tiles.next() {
            let next = tiles.peek().map_or(&[][..], |&(weight, ..)| weight);
            let groups = bias.len().div_ceil(GROUP);
            for (g, rows) in weight.chunks(GROUP * self.width).enumerate() {
                let tiles = &mut to.rows[g * 2 * depth..][..2 * depth];
                pack_rows((simd, engine), rows, self.width, tiles);
                for k in 0..2 * depth {
                    let pairs = pack_pairs_of_rows((simd, engine), rows, self.width, k * SIDE);
                    to.columns[k * groups + g] = engine.transpose(&pairs);
                }
            }
            let tile_offsets = self.offsets.of_items(first..first + bias.len());
            for j in 0..batches {
                let hidden = &self.hidden[j * 2 * depth..][..2 * depth];
                let rows = |g: usize| g * 2 * depth..(g + 1) * 2 * depth;
                engine.multiply(&to.rows[rows(0)], hidden, &mut to.scores[0], false);
                for (g, bias) in bias.chunks(GROUP).enumerate() {
                    prefetch::<f32, false>(next, j * groups + g, batches * groups);
                    if g + 1 < groups {
                        let scores = &mut to.scores[(g + 1) % 2];
                        engine.multiply(&to.rows[rows(g + 1)], hidden, scores, false);
                    }
                    let scores = &mut to.scores[g % 2];
                    if !tile_offsets.is_empty() {
                        let item = first + g * GROUP;
                        let offsets = self.offsets.of_items(item..item + bias.len());
                        add_offsets(offsets, (item, j * GROUP), scores);
                    }
                    for half in 0..2 {
                        let events = j * GROUP + half * SIDE;
                        let exponentials = Exponentials {
                            scores: [&scores[half], &scores[2 + half]],
                            bias,
                            references: &references[events..][..SIDE],
                        };
                        let sums = &mut sums[events..][..SIDE];
                        let out = &mut to.exps[half * groups + g];
                        exponentials.run(simd, engine, sums, out);
                    }
                }
                for k in 0..depth {
                    let columns = &to.columns[k * 2 * groups..][..2 * groups];
                    let sums = &mut weighted[k * batches + j];
                    engine.multiply(columns, &to.exps[..2 * groups], sums, true);
                }
            }
        }
        (sums, weighted)
    }

    /// The largest score of each hidden vector.
    #[inline(always)]
    fn largest<S: Simd, E: TileEngine>(&self, simd: S, engine: E) -> Vec<f32> {
        let mut largest = vec![f32::NEG_INFINITY; self.references.len()];
        let mut to = self.buffers();
        let depth = self.depth();
        for (weight, bias, first) in self.tiles() {
            let groups = weight.chunks(GROUP * self.width).zip(bias.chunks(GROUP));
            for (g, (rows, bias)) in groups.enumerate() {
                pack_rows((simd, engine), rows, self.width, &mut to.rows[..2 * depth]);
                let item = first + g * GROUP;
                let offsets = self.offsets.of_items(item..item + bias.len());
                for (j, hidden) in self.hidden.chunks_exact(2 * depth).enumerate() {
                    let scores = &mut to.scores[0];
                    engine.multiply(&to.rows[..2 * depth], hidden, scores, false);
                    add_offsets(offsets, (item, j * GROUP), scores);
                    for (b, largest) in largest[j * GROUP..][..GROUP].iter_mut().enumerate() {
                        for (i, &bias) in bias.iter().enumerate() {
                            *largest = largest.max(*sum_at(scores, i, b) + bias);
                        }
                    }
                }
            }
        }
        // The columns past the last hidden vector.
        largest[self.batch..].fill(0.0);
        largest
    }
}

/// Scores of up to 32 items for 16 hidden vectors.
struct Exponentials<'a> {
    /// Without the bias: of the first 16 items and of the others.
    scores: [&'a Tile; 2],
    bias: &'a [f32],
    references: &'a [f32],
}

impl Exponentials<'_> {
    /// Writes e^(score - reference), items joined that are 16 apart; adds them to `sums`.
    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E, sums: &mut [f32], out: &mut Tile) {
        let items = self.bias.len();
        if items < GROUP {
            *out = Tile::zeroed();
        }
        let zero = simd.splat_f32s(0.0);
        for at in (0..SIDE).step_by(f32::lanes::<S>()) {
            let reference = load::<f32, S>(&self.references[at..]);
            let mut sum = [load::<f32, S>(&sums[at..]), zero];
            for r in 0..SIDE.min(items) {
                let mut exps = [zero; 2];
                for half in 0..2 {
                    // Items past the last one have no exponentials.
                    if half * SIDE + r < items {
                        let score = load::<f32, S>(&self.scores[half].sums(r)[at..]);
                        let bias = simd.splat_f32s(self.bias[half * SIDE + r]);
                        let x = simd.sub_f32s(simd.add_f32s(score, bias), reference);
                        exps[half] = exp::<S, 5>(simd, x);
                        sum[half] = simd.add_f32s(sum[half], exps[half]);
                    }
                }
                let pairs = engine.join(simd, exps[0], exps[1]);
                store::<f32, S>(&mut out.sums_mut()[r * SIDE + at..], pairs);
            }
            store::<f32, S>(&mut sums[at..], simd.add_f32s(sum[0], sum[1]));
        }
    }
}
