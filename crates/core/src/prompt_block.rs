//! The prompt block: `{return R, state s, time step t}` to the hidden vector that the output layer
//! reads (Eq. 9-13).
//!
//! ```text
//! P = [R e_r, s, h_t]                                  prompt stack, 3 tokens   (Eq. 9, 10)
//! P = dropout(P)
//! A = softmax(LN(P) W_Q (P W_K)^T / sqrt(d)) P W_V     one attention head       (Eq. 11)
//! Z = A + LN(P)                                        residual connection      (Eq. 12)
//! y = LN(Z_s)                                          the state's token        (Eq. 13)
//! ```
//!
//! Only the state's token is read afterwards, so only its query is computed. (Eq. 12 adds P itself,
//! the released code LN(P): [`ResidualInput`].) In the ablations a mean replaces the attention
//! (PRL-mean), or a linear layer for each token and a mean (PRL-MLP). In the released code for
//! SASRec, keys and values are the encoder's outputs, so that no prompt reaches the state
//! ([`AttentionKeys::Outputs`]).

mod config;
mod fused;
#[cfg(test)]
mod tests;

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::VarBuilder;
use prl_nn::{Backend, ForwardCtx, Init, LayerNorm, Linear, attention_weights, get};

pub use config::{AttentionKeys, PromptBlockConfig, ResidualInput, TokenMixer};

use crate::reward_embedding::RewardEmbedding;

/// Tokens of the prompt stack, and the place of each.
const TOKENS: usize = 3;
const REWARD: usize = 0;
const STATE: usize = 1;
const STEP: usize = 2;
/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;

/// The prompt block.
pub struct PromptBlock {
    /// e_r and the table of h_t; none where no prompt reaches the state.
    prompt_emb: Option<PromptEmbedding>,
    attn: Option<Attention>,
    /// A linear layer for each token of the stack, with [`TokenMixer::Mlp`].
    mlp: Vec<Linear>,
    last_norm: LayerNorm,
    config: PromptBlockConfig,
    backend: Backend,
}

impl PromptBlock {
    /// Reference of the block (Eq. 9-13): hidden vectors `[B, d]` of the states `[B, d]`.
    pub fn forward(
        &self,
        encoded: &EncodedState<'_>,
        prompts: &Prompts,
        ctx: &ForwardCtx,
    ) -> Result<Tensor> {
        let s = encoded.state()?;
        let stack = match &self.prompt_emb {
            Some(emb) => Tensor::stack(&[&emb.returns(prompts)?, &s, &emb.steps(prompts)?], 1)?,
            None => s.unsqueeze(1)?,
        }; // Eq. 9, 10
        let stack = ctx.dropout(&stack, self.config.dropout)?;
        let s = stack.narrow(1, if stack.dim(1)? == TOKENS { STATE } else { 0 }, 1)?;
        let mixed = match (self.config.mixing, &self.attn) {
            (TokenMixer::Attention, Some(attn)) => {
                let (keys, visible) = encoded.keys(&stack)?;
                attn.forward(&s, &keys, visible.as_ref(), &self.config, ctx)? // Eq. 11, 12
            }
            (TokenMixer::Mlp, _) => self.mlp(&stack)?.mean(1)?,
            (TokenMixer::Mean, _) => stack.mean(1)?,
            _ => s.squeeze(1)?,
        };
        self.last_norm.forward(&mixed) // Eq. 13
    }

    /// A linear layer for each token of the stack.
    fn mlp(&self, stack: &Tensor) -> Result<Tensor> {
        let mut tokens = Vec::new();
        for (i, linear) in self.mlp.iter().enumerate() {
            tokens.push(linear.forward(&stack.narrow(1, i, 1)?)?);
        }
        Tensor::cat(&tokens, 1)
    }
}

/// Attention of the state's token, and its residual connection.
struct Attention {
    attn_norm: LayerNorm,
    /// W_Q, W_K, W_V: `[d, d]` each, with a bias.
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
}

impl Attention {
    /// Reference of Eq. 11 and 12: `[B, d]` from the state's token `[B, 1, d]` and the keys
    /// `[B, K, d]`.
    fn forward(
        &self,
        s: &Tensor,
        keys: &Tensor,
        visible: Option<&Tensor>,
        config: &PromptBlockConfig,
        ctx: &ForwardCtx,
    ) -> Result<Tensor> {
        let normed = self.attn_norm.forward(s)?;
        let (q, k) = (self.q_proj.forward(&normed)?, self.k_proj.forward(keys)?);
        let v = self.v_proj.forward(keys)?;
        let weights = ctx.dropout(&attention_weights(&q, &k, visible)?, config.dropout)?;
        let residual = match config.residual {
            ResidualInput::Normalized => &normed,
            ResidualInput::Raw => s,
        };
        (weights.matmul(&v)? + residual)?.squeeze(1)
    }
}

/// Embeddings of the prompt's return and time step (Eq. 9).
struct PromptEmbedding {
    reward_emb: RewardEmbedding,
    /// h_t: `[steps, d]`; later steps share the last row.
    step_emb: Tensor,
}

impl PromptEmbedding {
    /// The return tokens R e_r: `[B, d]`.
    fn returns(&self, prompts: &Prompts) -> Result<Tensor> {
        self.reward_emb.forward(&prompts.returns)
    }

    /// The step tokens h_t: `[B, d]`.
    fn steps(&self, prompts: &Prompts) -> Result<Tensor> {
        let rows = self.step_rows(prompts)?;
        let rows = Tensor::from_vec(rows, prompts.steps.len(), self.step_emb.device())?;
        self.step_emb.index_select(&rows, 0)
    }

    /// The row of each step in the table.
    fn step_rows(&self, prompts: &Prompts) -> Result<Vec<u32>> {
        let last = self.step_emb.dim(0)?.saturating_sub(1) as u32;
        Ok(prompts.steps.iter().map(|&step| step.min(last)).collect())
    }
}

/// Prompts of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts {
    /// The return R of each example, in the unit of the model.
    pub returns: Vec<f64>,
    /// The time step t of each example.
    pub steps: Vec<u32>,
    /// The factor beta of the batch: `beta v_i` is added to the score of item i with the value v_i.
    /// Zero adds nothing.
    pub tilt: f64,
}

/// Output of an encoder for a batch.
pub enum EncodedState<'a> {
    /// The states `[B, d]`.
    Last(&'a Tensor),
    /// The outputs at every position, where the block attends to them.
    Outputs {
        /// `[B, L, d]`.
        outputs: &'a Tensor,
        /// Valid positions of each window `[B]`, each in 1..=L.
        lengths: &'a [u32],
    },
}

impl EncodedState<'_> {
    /// Number of examples.
    fn len(&self) -> Result<usize> {
        match self {
            EncodedState::Last(state) => state.dim(0),
            EncodedState::Outputs { outputs, .. } => outputs.dim(0),
        }
    }

    /// The states `[B, d]`: the outputs at the last valid positions.
    fn state(&self) -> Result<Tensor> {
        match self {
            EncodedState::Last(state) => Ok((*state).clone()),
            EncodedState::Outputs { outputs, .. } => {
                let rows = Tensor::new(self.last_rows()?, outputs.device())?;
                outputs.flatten(0, 1)?.index_select(&rows, 0)
            }
        }
    }

    /// Row of the last valid position of each window, in outputs `[B L, d]`.
    fn last_rows(&self) -> Result<Vec<u32>> {
        let EncodedState::Outputs { outputs, lengths } = self else {
            bail!("prompt block: the encoder's outputs are missing");
        };
        let (batch, window, _) = outputs.dims3()?;
        if lengths.len() != batch || lengths.iter().any(|&n| n == 0 || n as usize > window) {
            bail!("prompt block: lengths {lengths:?} of {batch} windows of {window} positions");
        }
        let rows = lengths.iter().enumerate();
        Ok(rows.map(|(b, &n)| (b * window) as u32 + n - 1).collect())
    }

    /// The keys `[B, K, d]` of the attention, and which of them are visible, `[B, 1, K]`.
    fn keys(&self, stack: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let EncodedState::Outputs { outputs, lengths } = self else {
            return Ok((stack.clone(), None));
        };
        let (batch, window, _) = outputs.dims3()?;
        let mut visible = Vec::with_capacity(batch * window);
        for &n in *lengths {
            visible.extend((0..window).map(|t| u8::from(t < n as usize)));
        }
        let visible = Tensor::from_vec(visible, (batch, 1, window), outputs.device())?;
        Ok(((*outputs).clone(), Some(visible)))
    }
}

impl PromptBlock {
    /// Makes a block for states of `width`. The return and step embeddings start as N(0, 0.01^2),
    /// matrices as Glorot.
    pub fn new(config: PromptBlockConfig, width: usize, vb: VarBuilder) -> Result<Self> {
        let is_attention = config.mixing == TokenMixer::Attention;
        let mut backend = Backend::of(&vb);
        let attn = is_attention
            .then(|| Attention::new(width, &vb))
            .transpose()?;
        if let Some(attn) = &attn {
            backend = attn.q_proj.backend();
        }
        let mut mlp = Vec::new();
        if config.mixing == TokenMixer::Mlp {
            for token in ["reward", "state", "step"] {
                mlp.push(Linear::new(width, width, vb.pp("mlp").pp(token))?);
            }
        }
        let mut prompt_emb = None;
        if config.has_prompt() {
            let emb = PromptEmbedding::new(&config, width, &vb)?;
            backend = emb.reward_emb.backend();
            prompt_emb = Some(emb);
        }
        Ok(Self {
            prompt_emb,
            attn,
            mlp,
            last_norm: LayerNorm::new(width, EPS, vb.pp("last_norm"))?,
            config,
            backend,
        })
    }

    /// Whether the return and the step of a prompt reach the hidden vector.
    pub fn is_prompted(&self) -> bool {
        self.config.has_prompt()
    }

    /// Whether the block needs [`EncodedState::Outputs`].
    pub fn needs_outputs(&self) -> bool {
        self.config.needs_outputs()
    }

    /// The hidden vectors `[B, d]` that the output layer reads.
    ///
    /// # Errors
    /// If the encoder's outputs are needed and missing, or there is not one prompt an example.
    pub fn hidden(
        &self,
        encoded: &EncodedState<'_>,
        prompts: &Prompts,
        ctx: &ForwardCtx,
    ) -> Result<Tensor> {
        let n = encoded.len()?;
        let has_outputs = matches!(encoded, EncodedState::Outputs { .. });
        if self.needs_outputs() != has_outputs {
            bail!(
                "prompt block: it reads the encoder's outputs: {}",
                self.needs_outputs()
            );
        }
        if self.is_prompted() && (prompts.returns.len() != n || prompts.steps.len() != n) {
            bail!("prompt block: {n} states need as many returns and steps, not {prompts:?}");
        }
        match self.backend {
            Backend::Reference => self.forward(encoded, prompts, ctx),
            Backend::CpuFused | Backend::Cuda => fused::forward(self, encoded, prompts, ctx),
        }
    }
}

impl Attention {
    fn new(width: usize, vb: &VarBuilder) -> Result<Self> {
        let linear = |name: &str| Linear::new(width, width, vb.pp("attn").pp(name));
        Ok(Self {
            attn_norm: LayerNorm::new(width, EPS, vb.pp("attn_norm"))?,
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
        })
    }
}

impl PromptEmbedding {
    fn new(config: &PromptBlockConfig, width: usize, vb: &VarBuilder) -> Result<Self> {
        let steps = (config.steps, width);
        Ok(Self {
            reward_emb: RewardEmbedding::new(config.rewards, width, vb)?,
            step_emb: get(&vb.pp("step_emb"), steps, "weight", Init::Normal(0.01))?,
        })
    }
}
