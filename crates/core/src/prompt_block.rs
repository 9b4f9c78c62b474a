//! The block that turns `{return, state, step}` into the state the output layer reads (Eq. 9-13).
//!
//! P = [R e_r, s, h_t] is stacked, dropped out, and mixed: by one single-head attention block, or in the ablations by a mean
//! (PRL-mean) or by a linear layer per token and a mean (PRL-MLP); then normalised. Only the state's token is read
//! afterwards, so only its query is computed; the other two tokens enter as keys and values. The released code's form for
//! SASRec takes keys and values from the encoder's outputs instead ([`AttentionKeys::Outputs`]), where no prompt reaches the state.

use candle_core::{Result, Tensor, bail};
use prl_nn::{
    AttentionLayout, ForwardCtx, Init, LayerNorm, Linear, RowWeights, Scope, SeqOffsets,
    WeightedRow, WeightedTable, add, attention, blend, take,
};
use serde::{Deserialize, Serialize};

use crate::reward_embedding::{RewardCode, RewardEmbedding};

/// The tokens of the stack, and where each stands.
const TOKENS: usize = 3;
const REWARD: usize = 0;
const STATE: usize = 1;
const STEP: usize = 2;
/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;

/// How the three tokens are mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenMixer {
    /// Self-attention among the three (Eq. 11, 12).
    #[default]
    Attention,
    /// Their mean: PRL-mean.
    Mean,
    /// A linear layer each, then the mean: PRL-MLP.
    Mlp,
    /// The state alone, dropped out and normalised: the control that is told nothing.
    #[serde(rename = "alone")]
    NoPrompt,
}

/// What the state's token attends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKeys {
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
pub enum ResidualInput {
    /// The normalised stack: the released code.
    #[default]
    #[serde(rename = "normed")]
    Normalized,
    /// The stack itself: Eq. 12.
    #[serde(rename = "stack")]
    Raw,
}

/// The switches of a [`PromptBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptBlockConfig {
    /// How the tokens are mixed.
    pub mixing: TokenMixer,
    /// What the residual carries.
    pub residual: ResidualInput,
    /// What the state attends to.
    pub keys: AttentionKeys,
    /// How a return becomes a token.
    pub rewards: RewardCode,
    /// Dropout on the stack and on the attention weights.
    pub dropout: f64,
    /// Rows of the step table; later steps use the last.
    pub steps: usize,
}

impl Default for PromptBlockConfig {
    /// The protocol's: attention among the tokens, residual of the normalised stack, Eq. 9, dropout 0.3, 50 steps.
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

/// What is said beside the state, for each row of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts {
    /// The return, in the unit the model is fed.
    pub returns: Vec<f64>,
    /// The step t.
    pub steps: Vec<u32>,
}

/// What an encoder made of a batch of windows.
pub struct EncodedState<'a> {
    /// The states `[B, width]`.
    pub state: &'a Tensor,
    /// Every position's output `[B, L, width]`, where the block attends to them.
    pub outputs: Option<&'a Tensor>,
    /// Valid positions of each window `[B]`.
    pub lengths: &'a [u32],
}

/// The prompt block.
pub struct PromptBlock {
    config: PromptBlockConfig,
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
    pub fn new(config: PromptBlockConfig, width: usize, mut scope: Scope<'_>) -> Result<Self> {
        let mix = match (config.mixing, config.keys) {
            (TokenMixer::Attention, AttentionKeys::Prompt) => Mix::Attention {
                layers: Attention::new(width, &mut scope)?,
                tokens: Tokens::new(&config, width, &mut scope)?,
            },
            (TokenMixer::Attention, AttentionKeys::Outputs) => {
                Mix::Outputs(Attention::new(width, &mut scope)?)
            }
            (TokenMixer::Mean, _) => Mix::Mean(Tokens::new(&config, width, &mut scope)?),
            (TokenMixer::Mlp, _) => {
                let mut linear = |name: &str| Linear::new(width, width, scope.scope(name));
                let layers = [
                    linear("mlp_reward")?,
                    linear("mlp_state")?,
                    linear("mlp_step")?,
                ];
                Mix::Mlp(Tokens::new(&config, width, &mut scope)?, layers)
            }
            (TokenMixer::NoPrompt, _) => Mix::Alone,
        };
        Ok(Self {
            config,
            mix,
            norm: LayerNorm::new(width, EPS, scope.scope("norm_out"))?,
        })
    }

    /// Whether the block is told a return and a step.
    pub fn is_prompted(&self) -> bool {
        matches!(
            self.mix,
            Mix::Attention { .. } | Mix::Mean(_) | Mix::Mlp(..)
        )
    }

    /// Whether [`EncodedState::outputs`] must be there.
    pub fn needs_outputs(&self) -> bool {
        matches!(self.mix, Mix::Outputs(_))
    }

    /// The attentive state `[B, width]` of a state under a prompt.
    pub fn forward(
        &self,
        state: &EncodedState<'_>,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let (rate, (batch, width)) = (self.config.dropout, state.state.dims2()?);
        let stack = |tokens: &Tokens| tokens.stack(state.state, prompts, pass, rate);
        let mixed = match &self.mix {
            Mix::Attention { tokens, layers } => {
                let stack = stack(tokens)?;
                self.attend(
                    layers,
                    &token(&stack, STATE)?,
                    &stack,
                    SeqOffsets::new(vec![TOKENS; batch]),
                    pass,
                )?
            }
            Mix::Outputs(layers) => {
                let Some(outputs) = state.outputs else {
                    bail!("the encoder has no outputs to attend to")
                };
                let query = pass.dropout(state.state, rate)?;
                let spans = SeqOffsets::new(state.lengths.iter().map(|&n| n as usize));
                let valid = take(outputs, &spans.padded_indices(outputs.dim(1)?))?;
                self.attend(layers, &query, &valid, spans, pass)?
            }
            Mix::Mean(tokens) => stack(tokens)?.reshape((batch, TOKENS, width))?.mean(1)?,
            Mix::Mlp(tokens, layers) => {
                let stack = stack(tokens)?;
                let token = |i: usize| layers[i].forward(&token(&stack, i)?);
                (((token(REWARD)? + token(STATE)?)? + token(STEP)?)? / TOKENS as f64)?
            }
            Mix::Alone => pass.dropout(state.state, rate)?,
        };
        self.norm.forward(&mixed)
    }

    /// The state's token `[B, width]` after it looked at the rows of `keys` that are its own (Eq. 11, 12): `[B, width]`.
    fn attend(
        &self,
        layers: &Attention,
        state: &Tensor,
        keys: &Tensor,
        spans: SeqOffsets,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let normed = layers.norm.forward(state)?;
        let q = layers.query.forward(&normed)?;
        let (k, v) = (layers.key.forward(keys)?, layers.value.forward(keys)?);
        let pattern = AttentionLayout {
            q_offsets: SeqOffsets::new(vec![1; spans.windows()]),
            k_offsets: spans,
            causal: false,
        };
        let mask = pass.mask(pattern.num_scores(), self.config.dropout);
        let carried = if self.config.residual == ResidualInput::Normalized {
            &normed
        } else {
            state
        };
        add(&attention(&q, &k, &v, &pattern, mask.as_ref())?, carried)
    }
}

impl Attention {
    fn new(width: usize, scope: &mut Scope<'_>) -> Result<Self> {
        let mut linear = |name: &str| Linear::new(width, width, scope.scope(name));
        let (query, key, value) = (linear("query")?, linear("key")?, linear("value")?);
        Ok(Self {
            norm: LayerNorm::new(width, EPS, scope.scope("norm_in"))?,
            query,
            key,
            value,
        })
    }
}

impl Tokens {
    fn new(config: &PromptBlockConfig, width: usize, scope: &mut Scope<'_>) -> Result<Self> {
        let reward = RewardEmbedding::new(config.rewards, width, scope)?;
        Ok(Self {
            reward,
            step: scope.get("step", (config.steps, width), Init::Normal(0.01))?,
        })
    }

    /// P (Eq. 9, 10), dropped out, the tokens of a row one after another: `[3 B, width]`.
    fn stack(
        &self,
        state: &Tensor,
        prompts: &Prompts,
        pass: &ForwardCtx,
        dropout: f64,
    ) -> Result<Tensor> {
        let (batch, width) = state.dims2()?;
        let last = self.step.dim(0)?.saturating_sub(1) as u32;
        if prompts.returns.len() != batch || prompts.steps.len() != batch {
            bail!("{batch} states need as many returns and steps, not {prompts:?}");
        }
        let whole = |of: u32| WeightedRow {
            row: of,
            weight: 1.0,
        };
        let parts = vec![
            WeightedTable {
                table: state,
                rows: tokens(STATE, (0..batch as u32).map(whole)),
            },
            WeightedTable {
                table: self.reward.table(),
                rows: tokens(
                    REWARD,
                    prompts
                        .returns
                        .iter()
                        .map(|&value| self.reward.share(value)),
                ),
            },
            WeightedTable {
                table: &self.step,
                rows: tokens(
                    STEP,
                    prompts.steps.iter().map(|&step| whole(step.min(last))),
                ),
            },
        ];
        blend(parts, pass.mask(batch * TOKENS * width, dropout))
    }
}

/// Shares of one token of each stack.
fn tokens(which: usize, shares: impl Iterator<Item = WeightedRow>) -> RowWeights {
    RowWeights::Gathered(
        shares
            .flat_map(|share| (0..TOKENS).map(move |token| (token == which).then_some(share)))
            .collect(),
    )
}

/// A token of each stack: `[B, width]` of `[3 B, width]`.
fn token(stack: &Tensor, which: usize) -> Result<Tensor> {
    let rows: Vec<u32> = (which as u32..stack.dim(0)? as u32)
        .step_by(TOKENS)
        .collect();
    take(stack, &rows)
}
