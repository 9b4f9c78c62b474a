//! SASRec on kernels over packed rows: the sessions' positions follow one another without padding.
//!
//! With a single block, the state needs one query a session: [`encode`] computes keys and values of
//! all positions and everything else of the last one.

use candle_core::{Result, Tensor, bail};
use prl_kernels::ops::attention::{AttentionLayout, attention};
use prl_kernels::ops::embedding_sum::{RowWeights, WeightedRow, WeightedTable, embedding_sum};
use prl_kernels::ops::index_select::{add, index_select, scatter_rows};
use prl_kernels::packed::SeqOffsets;
use prl_nn::ForwardCtx;
use prl_nn::fused::{dropout, layer_norm, linear, linear_relu};

use super::SasRec;
use crate::PaddedBatch;

/// The states `[B, d]`.
pub(super) fn encode(model: &SasRec, batch: &PaddedBatch<'_>, ctx: &ForwardCtx) -> Result<Tensor> {
    let offsets = batch.offsets()?;
    let x = input(model, &batch.packed_rows(&offsets)?, &offsets, ctx)?;
    let queries = SeqOffsets::new(std::iter::repeat_n(1, offsets.windows()));
    let last = index_select(&x, &offsets.last())?;
    let pattern = AttentionLayout {
        q_offsets: queries,
        k_offsets: offsets,
        causal: false,
    };
    layer_norm(&model.last_norm, &block(model, &last, &x, &pattern, ctx)?)
}

/// The outputs at every position, `[B, L, d]`.
pub(super) fn outputs(model: &SasRec, batch: &PaddedBatch<'_>, ctx: &ForwardCtx) -> Result<Tensor> {
    let offsets = batch.offsets()?;
    let rows = causal_block(model, &batch.packed_rows(&offsets)?, &offsets, ctx)?;
    let (n, length, d) = batch.xs.dims3()?;
    let padded = scatter_rows(&rows, &offsets.padded_indices(length), n * length)?;
    layer_norm(&model.last_norm, &padded)?.reshape((n, length, d))
}

/// The states after every row of sequences of at most a window, `[rows, d]`.
pub(super) fn sequence_states(
    model: &SasRec,
    xs: &Tensor,
    offsets: &SeqOffsets,
    ctx: &ForwardCtx,
) -> Result<Tensor> {
    let (window, longest) = (model.position_emb.dim(0)?, longest(offsets));
    if longest > window {
        bail!("sasrec: a sequence of {longest} items exceeds the window of {window}; cut it");
    }
    layer_norm(&model.last_norm, &causal_block(model, xs, offsets, ctx)?)
}

fn longest(offsets: &SeqOffsets) -> usize {
    offsets.iter().map(|rows| rows.len()).max().unwrap_or(0)
}

/// The block at every position of the packed items `[rows, d]`, up to the last layer norm.
fn causal_block(
    model: &SasRec,
    items: &Tensor,
    offsets: &SeqOffsets,
    ctx: &ForwardCtx,
) -> Result<Tensor> {
    let x = input(model, items, offsets, ctx)?;
    let pattern = AttentionLayout {
        q_offsets: offsets.clone(),
        k_offsets: offsets.clone(),
        causal: true,
    };
    block(model, &x, &x, &pattern, ctx)
}

/// Items and positions of all sessions: `[rows, d]`.
fn input(model: &SasRec, items: &Tensor, offsets: &SeqOffsets, ctx: &ForwardCtx) -> Result<Tensor> {
    let mut positions = Vec::with_capacity(offsets.rows());
    for position in offsets.positions() {
        positions.push(Some(WeightedRow {
            row: position as u32,
            weight: 1.0,
        }));
    }
    let parts = vec![
        WeightedTable {
            table: items,
            rows: RowWeights::Identity,
        },
        WeightedTable {
            table: &model.position_emb,
            rows: RowWeights::Gathered(positions),
        },
    ];
    embedding_sum(parts, ctx.mask(items.elem_count(), model.config.dropout))
}

/// The block at the positions `rows` of the input `x`, up to the last layer norm. The pattern tells
/// which positions these are.
fn block(
    model: &SasRec,
    rows: &Tensor,
    x: &Tensor,
    pattern: &AttentionLayout,
    ctx: &ForwardCtx,
) -> Result<Tensor> {
    let p = model.config.dropout;
    let h = layer_norm(&model.attn_norm, rows)?;
    let q = linear(&model.q_proj, &h)?;
    let (k, v) = (linear(&model.k_proj, x)?, linear(&model.v_proj, x)?);
    let mask = ctx.mask(pattern.num_scores(), p);
    let s = add(&attention(&q, &k, &v, pattern, mask.as_ref())?, &h)?;
    let g = layer_norm(&model.ffn_norm, &s)?;
    let f = dropout(&linear_relu(&model.fc1, &g)?, p, ctx)?;
    add(&dropout(&linear(&model.fc2, &f)?, p, ctx)?, &g)
}
