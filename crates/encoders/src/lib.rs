//! Session encoders: a window of embedded items in, the state of the session out.
//!
//! One trait, one file an encoder, one cargo feature each. An encoder gets the items already embedded, because the embedding
//! table is large and has a training step of its own; and it knows nothing of rewards or methods, so any of them works
//! under any method.

#[cfg(feature = "caser")]
mod caser;
#[cfg(feature = "gru")]
mod gru;
#[cfg(feature = "nextitnet")]
mod nextitnet;
#[cfg(feature = "sasrec")]
mod sasrec;

use candle_core::{Result, Tensor, bail};
use prl_nn::{ForwardCtx, Scope, SeqOffsets};
use serde::{Deserialize, Serialize};

#[cfg(feature = "caser")]
pub use caser::Caser;
#[cfg(feature = "gru")]
pub use gru::Gru;
#[cfg(feature = "nextitnet")]
pub use nextitnet::NextItNet;
#[cfg(feature = "sasrec")]
pub use sasrec::SasRec;

/// A batch of windows with their items embedded.
pub struct PaddedBatch<'a> {
    /// `[B, L, d]`, oldest item first. Positions past a row's length hold padding that must not influence its state.
    pub x: &'a Tensor,
    /// Valid positions `[B]`, each in 1..=L.
    pub lengths: &'a [u32],
}

impl PaddedBatch<'_> {
    /// Where each window's rows lie when the padding is left out. An error if a length is none.
    pub fn spans(&self) -> Result<SeqOffsets> {
        let (batch, length, _) = self.x.dims3()?;
        if self.lengths.len() != batch
            || self.lengths.iter().any(|&n| n == 0 || n as usize > length)
        {
            bail!(
                "{batch} windows of {length} positions need as many lengths in 1..={length}, not {:?}",
                self.lengths
            );
        }
        Ok(SeqOffsets::new(self.lengths.iter().map(|&n| n as usize)))
    }

    /// The embedded items without the padding: `[rows, d]`.
    pub fn rows(&self, spans: &SeqOffsets) -> Result<Tensor> {
        prl_nn::take(self.x, &spans.padded_indices(self.x.dim(1)?))
    }
}

/// A session encoder.
pub trait SessionEncoder: Send + Sync {
    /// The width of the state.
    fn width(&self) -> usize;

    /// The state of each window: `[B, width]`.
    fn encode(&self, windows: &PaddedBatch<'_>, pass: &ForwardCtx) -> Result<Tensor>;

    /// What the encoder puts out at every position, `[B, L, width]`, if it does.
    fn outputs(&self, _: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// The sizes and switches an encoder is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Width of an embedded item.
    pub dim: usize,
    /// Window length L.
    pub window: usize,
    /// What the bias of a GRU's update gate begins at: 1 where Eq. 8 is read to the letter. The gate of TensorFlow 1's cell,
    /// whose bias begins at 1, is the share of the old state, 1 - z; that corresponds to -1 here.
    pub update_bias: f64,
}

impl Shape {
    /// Sizes with the switches at their defaults.
    pub fn new(dim: usize, window: usize) -> Self {
        Self {
            dim,
            window,
            update_bias: 1.0,
        }
    }
}

/// The encoders of this build, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// A gated recurrent unit (Hidasi et al., 2016; Eq. 8).
    #[cfg(feature = "gru")]
    Gru,
    /// Horizontal and vertical filters (Tang and Wang, 2018).
    #[cfg(feature = "caser")]
    Caser,
    /// Dilated causal convolutions (Yuan et al., 2019).
    #[cfg(feature = "nextitnet")]
    NextItNet,
    /// Causal self-attention (Kang and McAuley, 2018).
    #[cfg(feature = "sasrec")]
    SasRec,
}

impl EncoderKind {
    /// Every encoder of this build.
    pub const ALL: &'static [EncoderKind] = &[
        #[cfg(feature = "gru")]
        EncoderKind::Gru,
        #[cfg(feature = "caser")]
        EncoderKind::Caser,
        #[cfg(feature = "nextitnet")]
        EncoderKind::NextItNet,
        #[cfg(feature = "sasrec")]
        EncoderKind::SasRec,
    ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "gru")]
            EncoderKind::Gru => "gru",
            #[cfg(feature = "caser")]
            EncoderKind::Caser => "caser",
            #[cfg(feature = "nextitnet")]
            EncoderKind::NextItNet => "nextitnet",
            #[cfg(feature = "sasrec")]
            EncoderKind::SasRec => "sasrec",
        }
    }

    /// Whether it has an output at every position ([`SessionEncoder::outputs`]).
    pub fn has_outputs(self) -> bool {
        match self {
            #[cfg(feature = "sasrec")]
            EncoderKind::SasRec => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The shortest window it can be made for.
    pub fn least_window(self) -> usize {
        match self {
            #[cfg(feature = "caser")]
            EncoderKind::Caser => caser::LEAST_WINDOW,
            #[allow(unreachable_patterns)]
            _ => 1,
        }
    }

    /// Makes the encoder with its parameters in `scope`.
    pub fn build(self, shape: Shape, scope: Scope<'_>) -> Result<Box<dyn SessionEncoder>> {
        match self {
            #[cfg(feature = "gru")]
            EncoderKind::Gru => Ok(Box::new(Gru::new(shape, scope)?)),
            #[cfg(feature = "caser")]
            EncoderKind::Caser => Ok(Box::new(Caser::new(shape, scope)?)),
            #[cfg(feature = "nextitnet")]
            EncoderKind::NextItNet => Ok(Box::new(NextItNet::new(shape, scope)?)),
            #[cfg(feature = "sasrec")]
            EncoderKind::SasRec => Ok(Box::new(SasRec::new(shape, scope)?)),
        }
    }
}
