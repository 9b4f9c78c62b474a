//! SASRec (Kang and McAuley, 2018) as in the SQN code: one block with one head, learned positions,
//! embeddings not scaled.
//!
//! With LN the layer norm and P the positions:
//!
//! ```text
//! x = dropout(E + P)                                                       (Eq. 1)
//! h = LN(x)
//! s = softmax((h W_Q)(x W_K)^T / sqrt(d), causal) (x W_V) + h              (Eq. 2-4)
//! g = LN(s)
//! f = W_2 relu(W_1 g + b_1) + b_2 + g                                      (Eq. 5)
//! y = LN(f)
//! ```
//!
//! Dropout is on x, on the attention weights and after each half of the feed-forward network; every
//! projection has a bias. The state is y at the last valid position.

mod fused;

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use prl_kernels::packed::SeqOffsets;
use prl_nn::{Backend, ForwardCtx, Init, LayerNorm, Linear, attention_weights, causal, get, relu};

use crate::{PaddedBatch, SessionEncoder};

/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;

/// Options of a [`SasRec`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SasRecConfig {
    /// Dropout rate.
    pub dropout: f64,
}

impl Default for SasRecConfig {
    fn default() -> Self {
        Self { dropout: 0.1 }
    }
}

/// One block of causal self-attention.
pub struct SasRec {
    /// P: `[L, d]`.
    position_emb: Tensor,
    attn_norm: LayerNorm,
    /// W_Q, W_K, W_V: `[d, d]` each, with a bias.
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    ffn_norm: LayerNorm,
    /// W_1, b_1.
    fc1: Linear,
    /// W_2, b_2.
    fc2: Linear,
    last_norm: LayerNorm,
    config: SasRecConfig,
    backend: Backend,
}

impl SasRec {
    /// Reference of the encoder at every position, on items `[B, L, d]`, to outputs `[B, L, d]`.
    ///
    /// Past the end of a session the output is LN(0), the bias of the last norm, as in the released
    /// code.
    pub fn forward(&self, batch: &PaddedBatch<'_>, ctx: &ForwardCtx) -> Result<Tensor> {
        let p = self.config.dropout;
        let length = batch.xs.dim(1)?;
        let positions = self.position_emb.narrow(0, 0, length)?;
        let x = ctx.dropout(&batch.xs.broadcast_add(&positions)?, p)?; // Eq. 1
        let h = self.attn_norm.forward(&x)?;
        let (q, k) = (self.q_proj.forward(&h)?, self.k_proj.forward(&x)?);
        let v = self.v_proj.forward(&x)?;
        let weights = attention_weights(&q, &k, Some(&causal(length, x.device())?))?; // Eq. 2
        let s = (ctx.dropout(&weights, p)?.matmul(&v)? + h)?; // Eq. 3, 4
        let g = self.ffn_norm.forward(&s)?;
        let f = ctx.dropout(&relu(&self.fc1.forward(&g)?)?, p)?;
        let f = (ctx.dropout(&self.fc2.forward(&f)?, p)? + g)?; // Eq. 5
        self.last_norm.forward(&batch.mask(&f)?)
    }

    /// Makes a block for windows of `window` items of `dim` dimensions.
    ///
    /// Initial values: Glorot matrices, positions N(0, 0.01^2).
    pub fn new(dim: usize, window: usize, config: SasRecConfig, vb: VarBuilder) -> Result<Self> {
        let (attn, ffn) = (vb.pp("attn"), vb.pp("ffn"));
        let linear = |vb: VarBuilder| Linear::new(dim, dim, vb);
        let norm = |name: &str| LayerNorm::new(dim, EPS, vb.pp(name));
        let position = Init::Normal(0.01);
        let q_proj = linear(attn.pp("q_proj"))?;
        Ok(Self {
            position_emb: get(&vb.pp("position_emb"), (window, dim), "weight", position)?,
            attn_norm: norm("attn_norm")?,
            backend: q_proj.backend(),
            q_proj,
            k_proj: linear(attn.pp("k_proj"))?,
            v_proj: linear(attn.pp("v_proj"))?,
            ffn_norm: norm("ffn_norm")?,
            fc1: linear(ffn.pp("fc1"))?,
            fc2: linear(ffn.pp("fc2"))?,
            last_norm: norm("last_norm")?,
            config,
        })
    }
}

impl SessionEncoder for SasRec {
    fn width(&self) -> usize {
        self.q_proj.bias().elem_count()
    }

    fn encode(&self, batch: &PaddedBatch<'_>, ctx: &ForwardCtx) -> Result<Tensor> {
        batch.check()?;
        match self.backend {
            Backend::Reference => batch.last(&self.forward(batch, ctx)?),
            Backend::CpuFused | Backend::Cuda => fused::encode(self, batch, ctx),
        }
    }

    /// The dropout masks differ from those of `encode`, which computes fewer positions.
    fn outputs(&self, batch: &PaddedBatch<'_>, ctx: &ForwardCtx) -> Result<Option<Tensor>> {
        batch.check()?;
        let outputs = match self.backend {
            Backend::Reference => self.forward(batch, ctx)?,
            Backend::CpuFused | Backend::Cuda => fused::outputs(self, batch, ctx)?,
        };
        Ok(Some(outputs))
    }

    fn sequence_states(
        &self,
        xs: &Tensor,
        offsets: &SeqOffsets,
        ctx: &ForwardCtx,
    ) -> Result<Option<Tensor>> {
        match self.backend {
            Backend::CpuFused => fused::sequence_states(self, xs, offsets, ctx).map(Some),
            Backend::Cuda | Backend::Reference => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SasRec, SasRecConfig};
    use crate::tests::assert_reference_matches_fused;

    #[test]
    fn sasrec_reference_matches_fused() {
        assert_reference_matches_fused(
            |dim, window, vb| SasRec::new(dim, window, SasRecConfig::default(), vb),
            |sasrec, batch, ctx| batch.last(&sasrec.forward(batch, ctx)?),
        );
    }
}
