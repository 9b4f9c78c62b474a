//! Options of the prompt block.

use serde::{Deserialize, Serialize};

use crate::reward_embedding::RewardCode;

/// Mixing of the prompt's three tokens into the state's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenMixer {
    /// Self-attention among the three (Eq. 11, 12).
    #[default]
    Attention,
    /// Their mean: PRL-mean.
    Mean,
    /// A linear layer for each, then the mean: PRL-MLP.
    Mlp,
    /// No prompt: dropout and layer norm on the state (ablation control).
    #[serde(rename = "alone")]
    NoPrompt,
}

/// Keys and values of the state's attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKeys {
    /// The three tokens of the prompt (Eq. 11, 12).
    #[default]
    Prompt,
    /// The encoder's output at every position, as SASRec-PRL in the released code: neither return
    /// nor step reach the state.
    #[serde(rename = "released")]
    Outputs,
}

/// Input of the attention's residual connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResidualInput {
    /// The normalised stack LN(P): the released code.
    #[default]
    #[serde(rename = "normed")]
    Normalized,
    /// The stack P itself: Eq. 12.
    #[serde(rename = "stack")]
    Raw,
}

/// Options of a [`PromptBlock`](crate::PromptBlock).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptBlockConfig {
    /// Mixing of the tokens.
    pub mixing: TokenMixer,
    /// Input of the residual connection.
    pub residual: ResidualInput,
    /// Keys and values of the attention.
    pub keys: AttentionKeys,
    /// Code of a return.
    pub rewards: RewardCode,
    /// Dropout rate, on the stack and on the attention weights.
    pub dropout: f64,
    /// Rows of the step embedding; later steps share the last one.
    pub steps: usize,
}

impl Default for PromptBlockConfig {
    /// The protocol's: attention among the tokens, residual of the normalised stack, Eq. 9, dropout
    /// 0.3, 50 steps.
    fn default() -> Self {
        Self {
            mixing: TokenMixer::default(),
            residual: ResidualInput::default(),
            keys: AttentionKeys::default(),
            rewards: RewardCode::default(),
            dropout: 0.3,
            steps: 50,
        }
    }
}

impl PromptBlockConfig {
    /// Whether the attention's keys are the encoder's outputs.
    pub(crate) fn needs_outputs(&self) -> bool {
        self.mixing == TokenMixer::Attention && self.keys == AttentionKeys::Outputs
    }

    /// Whether there are return and step tokens.
    pub(crate) fn has_prompt(&self) -> bool {
        self.mixing != TokenMixer::NoPrompt && !self.needs_outputs()
    }
}
