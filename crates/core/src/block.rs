//! The block that turns `{return, state, step}` into the state the output layer reads (Eq. 9-13).
//!
//! P = [R e_r, s, h_t] is stacked, dropped out, and mixed: by one single-head attention block, or in the ablations by a mean
//! (PRL-mean) or by a linear layer per token and a mean (PRL-MLP); then normalised. Only the state's token is read
//! afterwards, so only its query is computed; the other two tokens enter as keys and values. The released code's form for
//! SASRec takes keys and values from the encoder's outputs instead ([`Keys::Outputs`]), where no prompt reaches the state.

use candle_core::{Result, Tensor, bail};
use prl_nn::{Init, LayerNorm, Linear, Pass, Scope, softmax};
use serde::{Deserialize, Serialize};

use crate::rewards::{RewardCode, RewardEmbedding};

/// Where the state stands in the stack.
const STATE: usize = 1;
/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;
/// A score whose weight is zero in any precision.
const FORBIDDEN: f64 = -1e9;

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
    /// The state alone, dropped out and normalised: the control that is told nothing.
    Alone,
}

/// What the state's token attends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// The three tokens of the prompt (Eq. 11, 12).
    #[default]
    Prompt,
    /// The encoder's output at every position, as SASRec-PRL in the released code: neither return nor step reach the state.
    #[serde(rename = "released")]
    Outputs,
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
    /// What the state attends to.
    pub keys: Keys,
    /// How a return becomes a token.
    pub rewards: RewardCode,
    /// Dropout on the stack and on the attention weights.
    pub dropout: f64,
    /// Rows of the step table; later steps use the last.
    pub steps: usize,
}

impl Default for BlockConfig {
    /// The protocol's: attention among the tokens, residual of the normalised stack, Eq. 9, dropout 0.3, 50 steps.
    fn default() -> Self {
        Self {
            mixing: Mixing::default(),
            residual: Residual::default(),
            keys: Keys::default(),
            rewards: RewardCode::default(),
            dropout: 0.3,
            steps: 50,
        }
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

/// What an encoder made of a batch of windows.
pub struct State<'a> {
    /// The states `[B, width]`.
    pub state: &'a Tensor,
    /// Every position's output `[B, L, width]`, where the block attends to them.
    pub outputs: Option<&'a Tensor>,
    /// Valid positions of each window `[B]`.
    pub lengths: &'a [u32],
}

/// The prompt block.
pub struct PromptBlock {
    config: BlockConfig,
    mix: Mix,
    norm: LayerNorm,
}

enum Mix {
    Attention { tokens: Tokens, layers: Attention },
    Outputs(Attention),
    Mean(Tokens),
    Mlp(Tokens, [Linear; 3]),
    Alone,
}

struct Attention {
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
}

/// What the prompt says beside the state.
struct Tokens {
    reward: RewardEmbedding,
    step: Tensor,
}

impl PromptBlock {
    /// A block for states of `width`. The reward embedding and the step table begin as N(0, .01).
    pub fn new(config: BlockConfig, width: usize, mut scope: Scope<'_>) -> Result<Self> {
        let mix = match (config.mixing, config.keys) {
            (Mixing::Attention, Keys::Prompt) => Mix::Attention {
                layers: Attention::new(width, &mut scope)?,
                tokens: Tokens::new(&config, width, &mut scope)?,
            },
            (Mixing::Attention, Keys::Outputs) => Mix::Outputs(Attention::new(width, &mut scope)?),
            (Mixing::Mean, _) => Mix::Mean(Tokens::new(&config, width, &mut scope)?),
            (Mixing::Mlp, _) => {
                let mut linear = |name: &str| Linear::new(width, width, scope.scope(name));
                let layers = [linear("mlp_reward")?, linear("mlp_state")?, linear("mlp_step")?];
                Mix::Mlp(Tokens::new(&config, width, &mut scope)?, layers)
            }
            (Mixing::Alone, _) => Mix::Alone,
        };
        Ok(Self { config, mix, norm: LayerNorm::new(width, EPS, scope.scope("norm_out"))? })
    }

    /// Whether the block is told a return and a step.
    pub fn is_prompted(&self) -> bool {
        matches!(self.mix, Mix::Attention { .. } | Mix::Mean(_) | Mix::Mlp(..))
    }

    /// Whether [`State::outputs`] must be there.
    pub fn needs_outputs(&self) -> bool {
        matches!(self.mix, Mix::Outputs(_))
    }

    /// The attentive state `[B, width]` of a state under a prompt.
    pub fn forward(&self, state: &State<'_>, prompts: &Prompts, pass: &Pass) -> Result<Tensor> {
        let rate = self.config.dropout;
        let stack = |tokens: &Tokens| pass.dropout(&tokens.stack(state.state, prompts, self.config.steps)?, rate);
        let mixed = match &self.mix {
            Mix::Attention { tokens, layers } => {
                let stack = stack(tokens)?;
                self.attend(layers, &stack.narrow(1, STATE, 1)?.contiguous()?, &stack, None, pass)?
            }
            Mix::Outputs(layers) => {
                let Some(outputs) = state.outputs else { bail!("the encoder has no outputs to attend to") };
                let query = pass.dropout(&state.state.unsqueeze(1)?, rate)?;
                self.attend(layers, &query, outputs, Some(&mask(state.lengths, outputs)?), pass)?
            }
            Mix::Mean(tokens) => stack(tokens)?.mean(1)?,
            Mix::Mlp(tokens, layers) => {
                let stack = stack(tokens)?;
                let token = |i: usize| layers[i].forward(&stack.narrow(1, i, 1)?.squeeze(1)?);
                (((token(0)? + token(1)?)? + token(2)?)? / 3.0)?
            }
            Mix::Alone => pass.dropout(state.state, rate)?,
        };
        self.norm.forward(&mixed)
    }

    /// The state's token `[B, 1, width]` after it looked at `keys` `[B, K, width]` (Eq. 11, 12): `[B, width]`.
    fn attend(
        &self,
        layers: &Attention,
        state: &Tensor,
        keys: &Tensor,
        mask: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<Tensor> {
        let normed = layers.norm.forward(state)?;
        let (query, key) = (layers.query.forward(&normed)?, layers.key.forward(keys)?);
        let width = key.dim(2)? as f64;
        let mut scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? / width.sqrt())?;
        if let Some(mask) = mask {
            scores = (scores + mask)?;
        }
        let weights = pass.dropout(&softmax(&scores)?, self.config.dropout)?;
        let carried = if self.config.residual == Residual::Normed { &normed } else { state };
        (weights.matmul(&layers.value.forward(keys)?)? + carried)?.squeeze(1)
    }
}

impl Attention {
    fn new(width: usize, scope: &mut Scope<'_>) -> Result<Self> {
        let mut linear = |name: &str| Linear::new(width, width, scope.scope(name));
        let (query, key, value) = (linear("query")?, linear("key")?, linear("value")?);
        Ok(Self { norm: LayerNorm::new(width, EPS, scope.scope("norm_in"))?, query, key, value })
    }
}

impl Tokens {
    fn new(config: &BlockConfig, width: usize, scope: &mut Scope<'_>) -> Result<Self> {
        let reward = RewardEmbedding::new(config.rewards, width, scope)?;
        Ok(Self { reward, step: scope.get("step", (config.steps, width), Init::Normal(0.01))? })
    }

    /// P: `[B, 3, width]` (Eq. 9, 10).
    fn stack(&self, state: &Tensor, prompts: &Prompts, rows: usize) -> Result<Tensor> {
        let last = rows.saturating_sub(1) as u32;
        let steps: Vec<u32> = prompts.steps.iter().map(|&t| t.min(last)).collect();
        let steps = self.step.index_select(&Tensor::from_vec(steps, state.dim(0)?, state.device())?, 0)?;
        Tensor::stack(&[self.reward.forward(&prompts.returns)?, state.clone(), steps], 1)
    }
}

/// Added to the scores `[B, 1, L]`: nothing at valid positions, and what makes a weight of zero elsewhere.
fn mask(lengths: &[u32], outputs: &Tensor) -> Result<Tensor> {
    let length = outputs.dim(1)?;
    let at = |n: u32| (0..length).map(move |t| if t < n as usize { 0.0 } else { FORBIDDEN });
    let values: Vec<f64> = lengths.iter().flat_map(|&n| at(n)).collect();
    let values = Tensor::from_vec(values, (lengths.len(), 1, length), &candle_core::Device::Cpu)?;
    values.to_dtype(outputs.dtype())?.to_device(outputs.device())
}
