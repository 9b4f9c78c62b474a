//! SASRec (Kang and McAuley, 2018) as the SQN code has it: one block of one head, learned positions, no scaling of the
//! embeddings.
//!
//! x = dropout(items + positions); h = LN(x); s = attention(h W_q, x W_k, x W_v) + h; g = LN(s); the output is LN(f(g) + g), f
//! being the feed-forward layer with dropout after each half. Biases everywhere, scores divided by sqrt(d), each position
//! sees itself and what came before, dropout on the attention weights; LN adds 1e-8 to the variance.
//!
//! With a single block the state needs but one query a window, so [`SessionEncoder::encode`] computes keys and values of all
//! positions and everything else of the last.

use candle_core::{Result, Tensor};
use prl_nn::{
    AttentionLayout, ForwardCtx, Init, LayerNorm, Linear, RowWeights, Scope, SeqOffsets,
    WeightedRow, WeightedTable, add, attention, blend, put, take,
};

use crate::{PaddedBatch, SessionEncoder, Shape};

/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;
/// On the input, the attention weights and the halves of the feed-forward layer.
const DROPOUT: f64 = 0.1;

/// One block of causal self-attention.
pub struct SasRec {
    /// `[L, d]`
    position: Tensor,
    norm_in: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    norm_mid: LayerNorm,
    inner: Linear,
    outer: Linear,
    norm_out: LayerNorm,
    width: usize,
}

impl SasRec {
    /// A block as wide as an item, Glorot matrices, positions N(0, .01).
    pub fn new(shape: Shape, mut scope: Scope<'_>) -> Result<Self> {
        let d = shape.dim;
        Ok(Self {
            position: scope.get("position", (shape.window, d), Init::Normal(0.01))?,
            norm_in: LayerNorm::new(d, EPS, scope.scope("norm_in"))?,
            query: Linear::new(d, d, scope.scope("query"))?,
            key: Linear::new(d, d, scope.scope("key"))?,
            value: Linear::new(d, d, scope.scope("value"))?,
            norm_mid: LayerNorm::new(d, EPS, scope.scope("norm_mid"))?,
            inner: Linear::new(d, d, scope.scope("inner"))?,
            outer: Linear::new(d, d, scope.scope("outer"))?,
            norm_out: LayerNorm::new(d, EPS, scope.scope("norm_out"))?,
            width: d,
        })
    }

    /// The rows of all windows with their positions: `[rows, d]`.
    fn input(
        &self,
        windows: &PaddedBatch<'_>,
        spans: &SeqOffsets,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let items = windows.rows(spans)?;
        let positions = spans.positions().map(|of| {
            Some(WeightedRow {
                row: of as u32,
                weight: 1.0,
            })
        });
        let parts = vec![
            WeightedTable {
                table: &items,
                rows: RowWeights::Identity,
            },
            WeightedTable {
                table: &self.position,
                rows: RowWeights::Gathered(positions.collect()),
            },
        ];
        blend(parts, pass.mask(items.elem_count(), DROPOUT))
    }

    /// What the block makes of some of the rows `x`, all but the final layer norm; the pattern says which they are.
    fn block(
        &self,
        rows: &Tensor,
        x: &Tensor,
        pattern: &AttentionLayout,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let normed = self.norm_in.forward(rows)?;
        let (q, k, v) = (
            self.query.forward(&normed)?,
            self.key.forward(x)?,
            self.value.forward(x)?,
        );
        let mask = pass.mask(pattern.num_scores(), DROPOUT);
        let mixed = add(&attention(&q, &k, &v, pattern, mask.as_ref())?, &normed)?;
        let normed = self.norm_mid.forward(&mixed)?;
        let inner = pass.dropout(&self.inner.forward_relu(&normed)?, DROPOUT)?;
        add(
            &pass.dropout(&self.outer.forward(&inner)?, DROPOUT)?,
            &normed,
        )
    }
}

impl SessionEncoder for SasRec {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, windows: &PaddedBatch<'_>, pass: &ForwardCtx) -> Result<Tensor> {
        let spans = windows.spans()?;
        let x = self.input(windows, &spans, pass)?;
        let queries = SeqOffsets::new(std::iter::repeat_n(1, spans.windows()));
        let last = take(&x, &spans.last())?;
        let pattern = AttentionLayout {
            q_offsets: queries,
            k_offsets: spans,
            causal: false,
        };
        self.norm_out
            .forward(&self.block(&last, &x, &pattern, pass)?)
    }

    /// Positions past a row's length hold the final layer norm of zero, its shift, as in the released code. The dropout masks
    /// are not those of `encode`: there are more of them.
    fn outputs(&self, windows: &PaddedBatch<'_>, pass: &ForwardCtx) -> Result<Option<Tensor>> {
        let spans = windows.spans()?;
        let x = self.input(windows, &spans, pass)?;
        let pattern = AttentionLayout {
            q_offsets: spans.clone(),
            k_offsets: spans.clone(),
            causal: true,
        };
        let rows = self.block(&x, &x, &pattern, pass)?;
        let (batch, length, _) = windows.x.dims3()?;
        let all = put(&rows, &spans.padded_indices(length), batch * length)?;
        Ok(Some(
            self.norm_out
                .forward(&all)?
                .reshape((batch, length, self.width))?,
        ))
    }
}
