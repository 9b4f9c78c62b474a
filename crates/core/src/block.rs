//! The block that turns `{return, state, step}` into the state the output layer reads (Eq. 9-13).
//!
//! P = [R e_r, s, h_t] is stacked, dropped out, and mixed: by one single-head attention block, or in the ablations by a mean
//! (PRL-mean) or by a linear layer per token and a mean (PRL-MLP); then normalised. Only the state's token is read
//! afterwards, so only its query is computed; the other two tokens enter as keys and values.

use candle_core::{Result, Tensor};
use prl_nn::{Init, LayerNorm, Linear, Pass, Scope, softmax};
use serde::{Deserialize, Serialize};

/// Where the state stands in the stack.
const STATE: usize = 1;
/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;

/// How the three tokens are mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mixing {
    /// Self-attention among the three (Eq. 11, 12).
    #[default]
    Attention,
    /// Their mean: PRL-mean.
    Mean,
    /// A linear layer each, then the mean: PRL-MLP.
    Mlp,
}

/// What the attention's residual connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Residual {
    /// The normalised stack: the released code.
    #[default]
    Normed,
    /// The stack itself: Eq. 12.
    Stack,
}

/// The switches of a [`PromptBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockConfig {
    /// How the tokens are mixed.
    pub mixing: Mixing,
    /// What the residual carries.
    pub residual: Residual,
    /// Dropout on the stack and on the attention weights.
    pub dropout: f64,
    /// Rows of the step table; later steps use the last.
    pub steps: usize,
}

impl Default for BlockConfig {
    /// The protocol's: attention, residual of the normalised stack, dropout 0.3, 50 steps.
    fn default() -> Self {
        Self { mixing: Mixing::default(), residual: Residual::default(), dropout: 0.3, steps: 50 }
    }
}

/// What is said beside the state, for each row of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts {
    /// The return, in the unit the model is fed.
    pub returns: Vec<f64>,
    /// The step t.
    pub steps: Vec<u32>,
}

/// The prompt block.
pub struct PromptBlock {
    config: BlockConfig,
    reward: Tensor,
    step: Tensor,
    mix: Mix,
    norm: LayerNorm,
}

enum Mix {
    Attention { norm: LayerNorm, query: Linear, key: Linear, value: Linear },
    Mean,
    Mlp([Linear; 3]),
}

impl PromptBlock {
    /// A block for states of `width`. The reward embedding and the step table begin as N(0, .01).
    pub fn new(config: BlockConfig, width: usize, mut scope: Scope<'_>) -> Result<Self> {
        let mut linear = |name: &str| Linear::new(width, width, scope.scope(name));
        let mix = match config.mixing {
            Mixing::Attention => {
                let (query, key, value) = (linear("query")?, linear("key")?, linear("value")?);
                Mix::Attention { norm: LayerNorm::new(width, EPS, scope.scope("norm_in"))?, query, key, value }
            }
            Mixing::Mean => Mix::Mean,
            Mixing::Mlp => Mix::Mlp([linear("mlp_reward")?, linear("mlp_state")?, linear("mlp_step")?]),
        };
        Ok(Self {
            config,
            reward: scope.get("reward", width, Init::Normal(0.01))?,
            step: scope.get("step", (config.steps, width), Init::Normal(0.01))?,
            mix,
            norm: LayerNorm::new(width, EPS, scope.scope("norm_out"))?,
        })
    }

    /// The attentive state `[B, width]` of a state `[B, width]` under a prompt.
    pub fn forward(&self, state: &Tensor, prompts: &Prompts, pass: &Pass) -> Result<Tensor> {
        let stack = pass.dropout(&self.stack(state, prompts)?, self.config.dropout)?;
        let mixed = match &self.mix {
            Mix::Attention { norm, query, key, value } => {
                let raw = stack.narrow(1, STATE, 1)?.contiguous()?;
                let normed = norm.forward(&raw)?;
                let weights = self.attention(&query.forward(&normed)?, &key.forward(&stack)?, pass)?;
                let mixed = weights.matmul(&value.forward(&stack)?)?;
                let carried = if self.config.residual == Residual::Normed { normed } else { raw };
                (mixed + carried)?.squeeze(1)?
            }
            Mix::Mean => stack.mean(1)?,
            Mix::Mlp(layers) => {
                let token = |i: usize| layers[i].forward(&stack.narrow(1, i, 1)?.squeeze(1)?);
                (((token(0)? + token(1)?)? + token(2)?)? / 3.0)?
            }
        };
        self.norm.forward(&mixed)
    }

    /// P: `[B, 3, width]` (Eq. 9, 10).
    fn stack(&self, state: &Tensor, prompts: &Prompts) -> Result<Tensor> {
        let batch = state.dim(0)?;
        let returns = Tensor::from_slice(&prompts.returns, (batch, 1), &candle_core::Device::Cpu)?;
        let returns = returns.to_dtype(state.dtype())?.to_device(state.device())?;
        let last = self.config.steps.saturating_sub(1) as u32;
        let steps: Vec<u32> = prompts.steps.iter().map(|&t| t.min(last)).collect();
        let steps = self.step.index_select(&Tensor::from_vec(steps, batch, state.device())?, 0)?;
        Tensor::stack(&[returns.broadcast_mul(&self.reward)?, state.clone(), steps], 1)
    }

    /// The weights of the three tokens, `[B, 1, 3]` (Eq. 11).
    fn attention(&self, query: &Tensor, key: &Tensor, pass: &Pass) -> Result<Tensor> {
        let width = key.dim(2)? as f64;
        let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? / width.sqrt())?;
        pass.dropout(&softmax(&scores)?, self.config.dropout)
    }
}
