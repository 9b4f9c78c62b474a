//! The encoders of this build: their names, options and construction.

use candle_core::Result;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::SessionEncoder;
#[cfg(feature = "caser")]
use crate::caser::{Caser, CaserConfig};
#[cfg(feature = "core")]
use crate::core_attention::CoreAttention;
#[cfg(feature = "gru")]
use crate::gru::{Gru, GruConfig};
#[cfg(feature = "nextitnet")]
use crate::nextitnet::{NextItNet, NextItNetConfig};
#[cfg(feature = "sasrec")]
use crate::sasrec::{SasRec, SasRecConfig};

/// An encoder of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// Gated recurrent unit (Hidasi et al., 2016; Eq. 8).
    #[cfg(feature = "gru")]
    Gru,
    /// Horizontal and vertical convolutions (Tang and Wang, 2018).
    #[cfg(feature = "caser")]
    Caser,
    /// Dilated causal convolutions (Yuan et al., 2019).
    #[cfg(feature = "nextitnet")]
    NextItNet,
    /// Causal self-attention (Kang and McAuley, 2018).
    #[cfg(feature = "sasrec")]
    SasRec,
    /// A weighted mean of the item embeddings (CORE; Hou et al., 2022).
    #[cfg(feature = "core")]
    Core,
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
        #[cfg(feature = "core")]
        EncoderKind::Core,
    ];

    /// Name on the command line and in files.
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
            #[cfg(feature = "core")]
            EncoderKind::Core => "core",
        }
    }

    /// The encoder of the modern recipe: `core` if this build has it, else the first one.
    pub fn modern() -> Self {
        let core = Self::ALL.iter().find(|kind| kind.name() == "core");
        *core.unwrap_or(&Self::ALL[0])
    }

    /// Whether the encoder has an output at every position ([`SessionEncoder::outputs`]).
    pub fn has_outputs(self) -> bool {
        match self {
            #[cfg(feature = "sasrec")]
            EncoderKind::SasRec => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// Whether an output does not depend on later items, so that one pass over a session has the
    /// state after each of its items ([`SessionEncoder::sequence_states`]).
    pub fn is_causal(self) -> bool {
        match self {
            #[cfg(feature = "caser")]
            EncoderKind::Caser => false,
            #[allow(unreachable_patterns)]
            _ => true,
        }
    }

    /// Whether [`SessionEncoder::sequence_states`] takes sequences longer than the window. The
    /// attention of `core` ends at the window there too; the GRU's state is that of the sequence.
    pub fn reads_past_the_window(self) -> bool {
        match self {
            #[cfg(feature = "gru")]
            EncoderKind::Gru => true,
            #[cfg(feature = "core")]
            EncoderKind::Core => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The shortest window that the encoder can be built for.
    pub fn min_window(self) -> usize {
        match self {
            #[cfg(feature = "caser")]
            EncoderKind::Caser => CaserConfig::default().min_window(),
            #[allow(unreachable_patterns)]
            _ => 1,
        }
    }

    /// The encoder's default options.
    pub fn config(self) -> EncoderConfig {
        match self {
            #[cfg(feature = "gru")]
            EncoderKind::Gru => EncoderConfig::Gru(GruConfig::default()),
            #[cfg(feature = "caser")]
            EncoderKind::Caser => EncoderConfig::Caser(CaserConfig::default()),
            #[cfg(feature = "nextitnet")]
            EncoderKind::NextItNet => EncoderConfig::NextItNet(NextItNetConfig::default()),
            #[cfg(feature = "sasrec")]
            EncoderKind::SasRec => EncoderConfig::SasRec(SasRecConfig::default()),
            #[cfg(feature = "core")]
            EncoderKind::Core => EncoderConfig::Core,
        }
    }
}

/// An encoder and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum EncoderConfig {
    /// A [`Gru`].
    #[cfg(feature = "gru")]
    Gru(GruConfig),
    /// A [`Caser`].
    #[cfg(feature = "caser")]
    Caser(CaserConfig),
    /// A [`NextItNet`].
    #[cfg(feature = "nextitnet")]
    NextItNet(NextItNetConfig),
    /// A [`SasRec`].
    #[cfg(feature = "sasrec")]
    SasRec(SasRecConfig),
    /// A [`CoreAttention`], which has no options.
    #[cfg(feature = "core")]
    Core,
}

impl EncoderConfig {
    /// Builds the encoder for windows of `window` items of `dim` dimensions, with the parameters of
    /// `vb`.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape, or the window is too short.
    #[allow(unused_variables)]
    pub fn build(
        self,
        dim: usize,
        window: usize,
        vb: VarBuilder,
    ) -> Result<Box<dyn SessionEncoder>> {
        match self {
            #[cfg(feature = "gru")]
            EncoderConfig::Gru(config) => Ok(Box::new(Gru::new(dim, config, vb)?)),
            #[cfg(feature = "caser")]
            EncoderConfig::Caser(config) => Ok(Box::new(Caser::new(dim, window, config, vb)?)),
            #[cfg(feature = "nextitnet")]
            EncoderConfig::NextItNet(config) => Ok(Box::new(NextItNet::new(dim, config, vb)?)),
            #[cfg(feature = "sasrec")]
            EncoderConfig::SasRec(config) => Ok(Box::new(SasRec::new(dim, window, config, vb)?)),
            #[cfg(feature = "core")]
            EncoderConfig::Core => Ok(Box::new(CoreAttention::new(dim, window, vb)?)),
        }
    }
}
