//! Session encoders: a window of embedded items in, the state of the session out.
//!
//! One trait, one file an encoder, one cargo feature each. An encoder gets the items already embedded, because the embedding
//! table is large and has a training step of its own; and it knows nothing of rewards or methods, so any of them works
//! under any method.

#[cfg(feature = "gru")]
mod gru;

use candle_core::{Result, Tensor};
use prl_nn::{Pass, Scope};
use serde::{Deserialize, Serialize};

#[cfg(feature = "gru")]
pub use gru::Gru;

/// A batch of windows with their items embedded.
pub struct Embedded<'a> {
    /// `[B, L, d]`, oldest item first. Positions past a row's length hold padding that must not influence its state.
    pub x: &'a Tensor,
    /// Valid positions `[B]`, each in 1..=L.
    pub lengths: &'a [u32],
}

/// A session encoder.
pub trait Encoder: Send + Sync {
    /// The width of the state.
    fn width(&self) -> usize;

    /// The state of each window: `[B, width]`.
    fn encode(&self, windows: &Embedded<'_>, pass: &Pass) -> Result<Tensor>;
}

/// The sizes an encoder is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Width of an embedded item.
    pub dim: usize,
    /// Window length L.
    pub window: usize,
}

/// The encoders of this build, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// A gated recurrent unit (Hidasi et al., 2016; Eq. 8).
    #[cfg(feature = "gru")]
    Gru,
}

impl EncoderKind {
    /// Every encoder of this build.
    pub const ALL: &'static [EncoderKind] = &[
        #[cfg(feature = "gru")]
        EncoderKind::Gru,
    ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "gru")]
            EncoderKind::Gru => "gru",
        }
    }

    /// Makes the encoder with its parameters in `scope`.
    pub fn build(self, shape: Shape, scope: Scope<'_>) -> Result<Box<dyn Encoder>> {
        match self {
            #[cfg(feature = "gru")]
            EncoderKind::Gru => Ok(Box::new(Gru::new(shape, scope)?)),
        }
    }
}
