//! The prompt block on fused kernels: the tokens of an example are three consecutive rows of a
//! matrix `[3 B, d]`, which one kernel gathers, weights and drops out.

use candle_core::{Result, Tensor};
use prl_kernels::ops::attention::{AttentionLayout, attention};
use prl_kernels::ops::embedding_sum::{RowWeights, WeightedRow, WeightedTable, embedding_sum};
use prl_kernels::ops::index_select::{add, index_select};
use prl_kernels::packed::SeqOffsets;
use prl_nn::ForwardCtx;
use prl_nn::fused::{dropout, layer_norm, linear};

use super::{
    Attention, EncodedState, PromptBlock, PromptBlockConfig, PromptEmbedding, Prompts, REWARD,
    ResidualInput, STATE, STEP, TOKENS, TokenMixer,
};

/// The hidden vectors `[B, d]`.
pub(super) fn forward(
    block: &PromptBlock,
    encoded: &EncodedState<'_>,
    prompts: &Prompts,
    ctx: &ForwardCtx,
) -> Result<Tensor> {
    let mixed = match (&block.prompt_emb, encoded) {
        (Some(emb), EncodedState::Last(state)) => {
            let stack = stack(emb, state, prompts, block.config.dropout, ctx)?;
            mix(block, &stack, ctx)?
        }
        (_, EncodedState::Outputs { outputs, lengths }) => {
            let (batch, window, width) = outputs.dims3()?;
            let rows = encoded.last_rows()?;
            let state = index_select(&outputs.reshape((batch * window, width))?, &rows)?;
            let state = dropout(&state, block.config.dropout, ctx)?;
            let offsets = SeqOffsets::new(lengths.iter().map(|&n| n as usize));
            match &block.attn {
                Some(attn) => {
                    let valid = index_select(outputs, &offsets.padded_indices(window))?;
                    attend(attn, &state, &valid, offsets, &block.config, ctx)?
                }
                None => state,
            }
        }
        (None, EncodedState::Last(state)) => dropout(state, block.config.dropout, ctx)?,
    };
    layer_norm(&block.last_norm, &mixed)
}

/// Mixes the tokens of the stack `[3 B, d]` into the state's: `[B, d]`.
fn mix(block: &PromptBlock, stack: &Tensor, ctx: &ForwardCtx) -> Result<Tensor> {
    let (rows, width) = stack.dims2()?;
    let batch = rows / TOKENS;
    match (block.config.mixing, &block.attn) {
        (TokenMixer::Attention, Some(attn)) => {
            let offsets = SeqOffsets::new(vec![TOKENS; batch]);
            let state = token(stack, STATE)?;
            attend(attn, &state, stack, offsets, &block.config, ctx)
        }
        (TokenMixer::Mlp, _) => {
            let of = |i: usize| linear(&block.mlp[i], &token(stack, i)?);
            ((of(REWARD)? + of(STATE)?)? + of(STEP)?)? / TOKENS as f64
        }
        _ => stack.reshape((batch, TOKENS, width))?.mean(1),
    }
}

/// Eq. 11 and 12: the state's token `[B, d]` attends to its own rows of `keys`.
fn attend(
    attn: &Attention,
    state: &Tensor,
    keys: &Tensor,
    offsets: SeqOffsets,
    config: &PromptBlockConfig,
    ctx: &ForwardCtx,
) -> Result<Tensor> {
    let normed = layer_norm(&attn.attn_norm, state)?;
    let q = linear(&attn.q_proj, &normed)?;
    let (k, v) = (linear(&attn.k_proj, keys)?, linear(&attn.v_proj, keys)?);
    let pattern = AttentionLayout {
        q_offsets: SeqOffsets::new(vec![1; offsets.windows()]),
        k_offsets: offsets,
        causal: false,
    };
    let mask = ctx.mask(pattern.num_scores(), config.dropout);
    let residual = match config.residual {
        ResidualInput::Normalized => &normed,
        ResidualInput::Raw => state,
    };
    add(&attention(&q, &k, &v, &pattern, mask.as_ref())?, residual)
}

/// The stack P after dropout (Eq. 9, 10): `[3 B, d]`.
fn stack(
    emb: &PromptEmbedding,
    state: &Tensor,
    prompts: &Prompts,
    rate: f64,
    ctx: &ForwardCtx,
) -> Result<Tensor> {
    let (batch, width) = state.dims2()?;
    let whole = |of: u32| WeightedRow {
        row: of,
        weight: 1.0,
    };
    let returns = prompts
        .returns
        .iter()
        .map(|&value| emb.reward_emb.share(value));
    let parts = vec![
        WeightedTable {
            table: state,
            rows: rows_of_token(STATE, (0..batch as u32).map(whole)),
        },
        WeightedTable {
            table: emb.reward_emb.packed()?,
            rows: rows_of_token(REWARD, returns),
        },
        WeightedTable {
            table: &emb.step_emb,
            rows: rows_of_token(STEP, emb.step_rows(prompts)?.into_iter().map(whole)),
        },
    ];
    embedding_sum(parts, ctx.mask(batch * TOKENS * width, rate))
}

/// Table rows of one token of each example; the other tokens have none of this table.
fn rows_of_token(which: usize, rows: impl Iterator<Item = WeightedRow>) -> RowWeights {
    let mut shares = Vec::new();
    for row in rows {
        let mut tokens = [None; TOKENS];
        tokens[which] = Some(row);
        shares.extend(tokens);
    }
    RowWeights::Gathered(shares)
}

/// One token of each example: `[B, d]` of `[3 B, d]`.
fn token(stack: &Tensor, which: usize) -> Result<Tensor> {
    let rows = which as u32..stack.dim(0)? as u32;
    index_select(stack, &rows.step_by(TOKENS).collect::<Vec<u32>>())
}
