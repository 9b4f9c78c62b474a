//! The hyperparameters of a model.

use candle_core::Device;
use prl_core::{AttentionKeys, ResidualInput, ReturnScale, RewardCode};
use prl_encoders::{EncoderConfig, EncoderKind};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::NetworkOptions;
use crate::own_items::OwnItems;
use crate::state_residual::ResidualKind;

/// Hyperparameters of a model; a saved model is rebuilt from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The encoder.
    pub encoder: EncoderKind,
    /// Width of an embedded item.
    pub dim: usize,
    /// Window length: the last items of a session that are encoded.
    pub window: usize,
    /// Dropout of the prompt block.
    pub dropout: f64,
    /// The unit in which returns are fed.
    pub prompt_scale: ReturnScale,
    /// Input of the attention's residual connection.
    pub residual: ResidualInput,
    /// Keys of the prompt block's attention: the prompt's tokens, or, as in the code released for
    /// SASRec, the encoder's outputs.
    pub attention: AttentionKeys,
    /// Encoding of a return as a token.
    pub reward_code: RewardCode,
    /// Initial bias of the GRU's update gate.
    pub update_bias: f64,
    /// Scores the items by the item embedding, in place of a weight of the output layer's own.
    pub tied: bool,
    /// Temperature of cosine scores; without it, or at 0, scores are dot products.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Adds the last item's embedding to the state. The encoder `core`, whose states are means of
    /// item embeddings, has no use for it.
    pub last_item_residual: bool,
    /// Treatment of the session's own items as candidates.
    pub own_items: OwnItems,
    /// Dropout of the embedded items.
    pub item_dropout: f64,
    /// Adds the kinds of the window's events (click or purchase) to the state, and to learned
    /// biases of own items a bias by their events.
    pub event_kinds: bool,
    /// Adds a bias by item to the scores.
    pub item_bias: bool,
    /// Label smoothing: share of the target's probability that is spread over all items.
    pub label_smoothing: f64,
}

impl ModelConfig {
    /// The encoder with its options.
    pub fn encoder_config(&self) -> EncoderConfig {
        match self.encoder.config() {
            #[cfg(feature = "gru")]
            EncoderConfig::Gru(_) => EncoderConfig::Gru(prl_encoders::GruConfig {
                update_bias: self.update_bias,
            }),
            #[allow(unreachable_patterns)]
            other => other,
        }
    }

    /// Temperature of cosine scores; `None` for dot products.
    pub fn cosine_temperature(&self) -> Option<f64> {
        self.temperature.filter(|&temperature| temperature > 0.0)
    }

    /// The parts beyond the paper's network.
    pub fn network_options(&self) -> NetworkOptions {
        let residual = match self.encoder {
            _ if !self.last_item_residual => ResidualKind::None,
            #[cfg(feature = "core")]
            EncoderKind::Core => ResidualKind::None,
            #[cfg(feature = "sasrec")]
            EncoderKind::SasRec => ResidualKind::Scaled,
            #[allow(unreachable_patterns)]
            _ => ResidualKind::Projected,
        };
        NetworkOptions {
            is_tied: self.tied,
            temperature: self.cosine_temperature(),
            own_items: self.own_items,
            item_dropout: self.item_dropout,
            residual,
            is_prompt_residual: self.last_item_residual,
            window: self.window,
            has_event_kinds: self.event_kinds,
            has_item_bias: self.item_bias,
            label_smoothing: self.label_smoothing,
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            encoder: EncoderKind::ALL[0],
            dim: 64,
            window: 10,
            dropout: 0.3,
            prompt_scale: ReturnScale::default(),
            residual: ResidualInput::default(),
            attention: AttentionKeys::default(),
            reward_code: RewardCode::default(),
            update_bias: 1.0,
            tied: false,
            temperature: None,
            last_item_residual: false,
            own_items: OwnItems::Keep,
            item_dropout: 0.0,
            event_kinds: false,
            item_bias: true,
            label_smoothing: 0.0,
        }
    }
}

/// Fails if sampled negatives are requested on a device other than the CPU.
pub fn check_negatives(is_sampled: bool, device: &Device) -> Result<()> {
    if is_sampled && !device.is_cpu() {
        return Err(Error::Config(
            "negatives train on a CPU only; use --device cpu, or leave them out".into(),
        ));
    }
    Ok(())
}
