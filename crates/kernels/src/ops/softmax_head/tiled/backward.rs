//! Second sweep on the matrix engine: probabilities, and the gradients of weight and bias.

use bytemuck::Zeroable;
use pulp::Simd;
use rayon::prelude::*;

use super::{FirstSweep, add_offsets};
use crate::ops::score_offsets::ScoreOffsets;
use crate::ops::softmax_head::Sink;
use crate::simd::bf16::Bf16Pair;
use crate::simd::operand::GemmOperand;
use crate::simd::slices::{load, prefetch, store};
use crate::simd::tiles::{
    Block, GROUP, SIDE, Tile, TileEngine, TileWork, exp, pack_pairs_of_rows, pack_rows,
};
use crate::{CHUNKS, Real};

/// Log-sum-exp of the columns past the last hidden vector: their probabilities are zero.
const PAST_THE_BATCH: f32 = 1e30;

/// Inputs of the second sweep.
#[derive(Clone, Copy)]
pub(in super::super) struct Pass<'a> {
    pub(in super::super) first: &'a FirstSweep,
    /// With the terms that were added since the first sweep.
    pub(in super::super) log_sum_exp: &'a [f32],
    pub(in super::super) offsets: &'a ScoreOffsets<f32>,
    pub(in super::super) hidden: &'a [f32],
    pub(in super::super) width: usize,
    /// (item, hidden vector), by item.
    pub(in super::super) targets: &'a [(u32, u32)],
    pub(in super::super) scale: &'a [f32],
    /// The targets' part of the hidden gradient.
    pub(in super::super) target_grad: &'a [f32],
}

/// See [`backward`](crate::ops::softmax_head::backward()).
pub(in super::super) fn backward(
    pass: Pass<'_>,
    weight: &mut [f32],
    bias: &[f32],
    sink: Sink<'_, f32>,
) -> (Vec<f32>, Vec<f32>) {
    let width = pass.width;
    let hidden_grad = pass.hidden_gradient();
    let engine = pass.first.engine;
    let batch = engine.run(Operands(&pass));
    let mut bias_grad = vec![0.0; bias.len()];
    let rows = bias.len().div_ceil(CHUNKS).max(1);
    let weights = weight
        .chunks_mut(rows * width)
        .zip(sink.chunks(rows * width));
    let biases = bias.chunks(rows).zip(bias_grad.chunks_mut(rows));
    let mut chunks = Vec::with_capacity(CHUNKS);
    for ((weight, sink), (bias, bias_grad)) in weights.zip(biases) {
        chunks.push(Chunk {
            pass,
            batch: &batch,
            first: chunks.len() * rows,
            weight,
            bias,
            bias_grad,
            sink,
        });
    }
    chunks.into_par_iter().for_each(|chunk| engine.run(chunk));
    (hidden_grad, bias_grad)
}

impl Pass<'_> {
    /// `scale (sum_i p_i w_i - w_target)`.
    fn hidden_gradient(&self) -> Vec<f32> {
        let mut grad = self.target_grad.to_vec();
        grad.resize(self.hidden.len(), 0.0);
        let logs = self.first.log_sum_exp.iter().zip(self.log_sum_exp);
        let rows = grad
            .chunks_exact_mut(self.width)
            .zip(self.first.expected.chunks_exact(self.width));
        for ((grad, expected), ((own, all), scale)) in rows.zip(logs.zip(self.scale)) {
            let factor = scale * (own - all).exp();
            for (grad, x) in grad.iter_mut().zip(expected) {
                *grad += factor * x;
            }
        }
        grad
    }

    /// The targets in the items from `start` to `end`: (item, hidden vector).
    fn targets_in(&self, start: usize, end: usize) -> &[(u32, u32)] {
        let place = |item: usize| self.targets.partition_point(|&(t, _)| (t as usize) < item);
        &self.targets[place(start)..place(end)]
    }
}

/// Operands shared by all chunks, padded to whole groups of hidden vectors.
struct BatchOperands {
    /// Scaled hidden vectors as columns of operand B, along the hidden vectors.
    scaled: Vec<Tile>,
    log_sum_exp: Vec<f32>,
    scale: Vec<f32>,
}

/// Computation of the operands.
struct Operands<'a>(&'a Pass<'a>);

impl TileWork for Operands<'_> {
    type Output = BatchOperands;

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> BatchOperands {
        let pass = self.0;
        let width = pass.width;
        let padded = pass.scale.len().next_multiple_of(GROUP);
        let mut hidden = pass.hidden.to_vec();
        for (row, &scale) in hidden.chunks_exact_mut(width).zip(pass.scale) {
            for x in row {
                *x *= scale;
            }
        }
        let mut scaled = Vec::with_capacity(2 * width.div_ceil(GROUP) * padded / GROUP);
        for k in 0..2 * width.div_ceil(GROUP) {
            for rows in hidden.chunks(GROUP * width) {
                scaled.push(pack_pairs_of_rows((simd, engine), rows, width, k * SIDE));
            }
        }
        let mut log_sum_exp = pass.log_sum_exp.to_vec();
        log_sum_exp.resize(padded, PAST_THE_BATCH);
        let mut scale = pass.scale.to_vec();
        scale.resize(padded, 0.0);
        BatchOperands {
            scaled,
            log_sum_exp,
            scale,
        }
    }
}

/// One chunk of items in the second sweep.
struct Chunk<'a> {
    pass: Pass<'a>,
    batch: &'a BatchOperands,
    /// Its first item.
    first: usize,
    weight: &'a mut [f32],
    bias: &'a [f32],
    bias_grad: &'a mut [f32],
    sink: Sink<'a, f32>,
}

impl TileWork for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) {
        let Self {
            pass,
            batch,
            first,
            weight,
            bias,
            bias_grad,
            mut sink,
        } = self;
        let (width, depth) = (pass.width, pass.width.div_ceil(GROUP));
        let batches = batch.scale.len() / GROUP;
        let mut rows = vec![Tile::zeroed(); 2 * depth];
        let mut probabilities = vec![Tile::zeroed(); 2 * batches];
        let mut block: Block = [Tile::zeroed(); 4];
        // Of 32 hidden vectors, and of the next, which are multiplied during the exponentials.
        let mut buffers = [block; 2];
        let mut weight_grad = vec![0.0; GROUP * width];
        for start in (0..bias.len()).step_by(GROUP) {
            let items = GROUP.min(bias.len() - start);
            let (weight, next) = weight[start * width..].split_at_mut(items * width);
            let next = &next[..next.len().min(weight.len())];
            let bias = &bias[start..][..items];
            pack_rows((simd, engine), weight, width, &mut rows);
            let item = first + start;
            let offsets = pass.offsets.of_items(item..item + items);
            let mut sums = [simd.splat_f32s(0.0); GROUP];
            let hidden = |j: usize| &pass.first.hidden[j * 2 * depth..][..2 * depth];
            engine.multiply(&rows, hidden(0), &mut buffers[0], false);
            for j in 0..batches {
                prefetch::<f32, true>(next, j, batches);
                sink.prefetch((start + items) * width, next.len(), (j, batches));
                if j + 1 < batches {
                    engine.multiply(&rows, hidden(j + 1), &mut buffers[(j + 1) % 2], false);
                }
                let scores = &mut buffers[j % 2];
                add_offsets(offsets, (item, j * GROUP), scores);
                for half in 0..2 {
                    let from = (half * SIDE).min(items);
                    let to = (from + SIDE).min(items);
                    let probabilities_of = Probabilities {
                        scores: [&scores[2 * half], &scores[2 * half + 1]],
                        bias: &bias[from..to],
                        log_sum_exp: &batch.log_sum_exp[j * GROUP..][..GROUP],
                        scale: &batch.scale[j * GROUP..][..GROUP],
                    };
                    let out = &mut probabilities[half * batches + j];
                    probabilities_of.run(simd, engine, &mut sums[from..to], out);
                }
            }
            let bias_grad = &mut bias_grad[start..][..items];
            for (grad, sum) in bias_grad.iter_mut().zip(sums) {
                *grad = simd.reduce_sum_f32s(sum);
            }
            let weight_grad = &mut weight_grad[..items * width];
            for k in 0..depth {
                let scaled = &batch.scaled[k * 2 * batches..][..2 * batches];
                engine.multiply(&probabilities, scaled, &mut block, false);
                copy_columns(&block, k * GROUP, width, weight_grad);
            }
            // By item, then by hidden vector: a fixed order of the sums.
            for &(t, b) in pass.targets_in(item, item + items) {
                let (t, b) = (t as usize - item, b as usize);
                let scale = pass.scale[b];
                let row = weight_grad[t * width..][..width].iter_mut();
                for (sum, &h) in row.zip(&pass.hidden[b * width..]) {
                    *sum -= Bf16Pair::rounded(scale * h);
                }
                bias_grad[t] -= scale;
            }
            sink.take(simd, start * width, weight, weight_grad);
        }
    }
}

/// Copies a block's rows to the columns of `matrix` `[_, width]` from `column` on.
#[inline(always)]
fn copy_columns(block: &Block, column: usize, width: usize, matrix: &mut [f32]) {
    for (r, row) in matrix.chunks_exact_mut(width).enumerate() {
        for half in 0..2 {
            let sums = block[r / SIDE * 2 + half].sums(r % SIDE);
            let from = (column + half * SIDE).min(width);
            let row = &mut row[from..(from + SIDE).min(width)];
            row.copy_from_slice(&sums[..row.len()]);
        }
    }
}

/// Scores of up to 16 items for 32 hidden vectors.
struct Probabilities<'a> {
    /// Without the bias: of the first 16 hidden vectors and of the others.
    scores: [&'a Tile; 2],
    bias: &'a [f32],
    log_sum_exp: &'a [f32],
    scale: &'a [f32],
}

impl Probabilities<'_> {
    /// Writes e^(score - log-sum-exp), hidden vectors joined that are 16 apart; adds them, scaled,
    /// to the item's sum.
    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E, sums: &mut [S::f32s], out: &mut Tile) {
        if self.bias.len() < SIDE {
            *out = Tile::zeroed();
        }
        for at in (0..SIDE).step_by(f32::lanes::<S>()) {
            let [mut logs, mut scales] = [[simd.splat_f32s(0.0); 2]; 2];
            for half in 0..2 {
                logs[half] = load::<f32, S>(&self.log_sum_exp[half * SIDE + at..]);
                scales[half] = load::<f32, S>(&self.scale[half * SIDE + at..]);
            }
            for (r, (&bias, sum)) in self.bias.iter().zip(sums.iter_mut()).enumerate() {
                let bias = simd.splat_f32s(bias);
                let mut p = [simd.splat_f32s(0.0); 2];
                for half in 0..2 {
                    let score = load::<f32, S>(&self.scores[half].sums(r)[at..]);
                    let x = simd.sub_f32s(simd.add_f32s(score, bias), logs[half]);
                    p[half] = exp::<S, 4>(simd, x);
                    *sum = simd.mul_add_e_f32s(p[half], scales[half], *sum);
                }
                let pairs = engine.join(simd, p[0], p[1]);
                store::<f32, S>(&mut out.sums_mut()[r * SIDE + at..], pairs);
            }
        }
    }
}
