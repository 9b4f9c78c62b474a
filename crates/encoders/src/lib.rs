//! Session encoders: a window of embedded items in, the state of the session out.
//!
//! Each encoder has a file that reads like its paper: the formulas, the named parameters, and a
//! reference `forward` on padded windows in candle's operations. Its `fused.rs` is the same model
//! on the kernels of `prl-kernels`, and a test ties the two. Parameters come from a
//! [`candle_nn::VarBuilder`]: seeded ([`prl_nn::SeededVarMap`]) or from a safetensors file, under
//! candle's names and layouts.
//!
//! Items arrive embedded, because the embedding table has an optimiser step of its own. An encoder
//! is independent of rewards and training methods; any [`SessionEncoder`] works with all of them,
//! and so does any module of candle-nn wrapped in one.
//!
//! ```
//! # #[cfg(feature = "gru")] {
//! use candle_core::{DType, Device, Tensor};
//! use prl_encoders::{EncoderKind, PaddedBatch};
//! use prl_nn::{ForwardCtx, SeededVarMap};
//!
//! # fn main() -> candle_core::Result<()> {
//! let (dim, window) = (8, 5);
//! let vb = SeededVarMap::new(42).var_builder(DType::F32, &Device::Cpu);
//! let encoder = EncoderKind::Gru.config().build(dim, window, vb.pp("encoder"))?;
//!
//! let batch = PaddedBatch {
//!     xs: &Tensor::ones((2, window, dim), DType::F32, &Device::Cpu)?,
//!     lengths: &[5, 2],
//! };
//! let states = encoder.encode(&batch, &ForwardCtx::infer())?;
//! assert_eq!(states.dims(), [2, encoder.width()]);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

#[cfg(feature = "caser")]
mod caser;
#[cfg(feature = "core")]
mod core_attention;
#[cfg(feature = "gru")]
mod gru;
mod kind;
#[cfg(feature = "nextitnet")]
mod nextitnet;
mod padded_batch;
#[cfg(feature = "sasrec")]
mod sasrec;
#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor};
use prl_kernels::packed::SeqOffsets;

#[cfg(feature = "caser")]
pub use caser::{Caser, CaserConfig};
#[cfg(feature = "core")]
pub use core_attention::CoreAttention;
#[cfg(feature = "gru")]
pub use gru::{Gru, GruConfig};
pub use kind::{EncoderConfig, EncoderKind};
#[cfg(feature = "nextitnet")]
pub use nextitnet::{NextItNet, NextItNetConfig};
pub use padded_batch::PaddedBatch;
pub use prl_nn::ForwardCtx;
#[cfg(feature = "sasrec")]
pub use sasrec::{SasRec, SasRecConfig};

/// A session encoder.
pub trait SessionEncoder: Send + Sync {
    /// Width of the state.
    fn width(&self) -> usize;

    /// The state of each session: `[B, width]`.
    ///
    /// # Errors
    /// If a length is zero or exceeds the window, or a shape does not fit.
    fn encode(&self, batch: &PaddedBatch<'_>, ctx: &ForwardCtx) -> Result<Tensor>;

    /// The output at every position, `[B, L, width]`, of encoders that have one.
    ///
    /// # Errors
    /// As of [`encode`](Self::encode).
    fn outputs(&self, _: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The state after every item of sequences without padding, `[rows, width]` from embedded items
    /// `[rows, d]`: at each row, that of the sequence up to there. `None` for an encoder that is
    /// not causal, and for any on other devices than a CPU.
    ///
    /// # Errors
    /// If a shape does not fit, or a sequence exceeds the window of an encoder that is bound to it.
    fn sequence_states(
        &self,
        _: &Tensor,
        _: &SeqOffsets,
        _: &ForwardCtx,
    ) -> Result<Option<Tensor>> {
        Ok(None)
    }
}
