//! One network: item embedding, encoder, prompt block and output layer, and for Q-learning a second
//! output layer for the action values.

use std::borrow::Cow;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts};
use prl_dataset::Windows;
use prl_encoders::{PaddedBatch, SessionEncoder};
use prl_kernels::autograd::{Tape, record};
use prl_nn::{ForwardCtx, SeededVarMap};

use crate::embedding::Embedding;
use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::head::Head;
use crate::param::{AdamParam, AdamStep};

/// Sizes of the item embedding and the output layers, element type and device.
pub(crate) struct ModelDims<'a> {
    pub(crate) dim: usize,
    pub(crate) items: usize,
    pub(crate) seed: u64,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

/// A network with the state of its optimizer.
pub(crate) struct Network {
    embedding: Embedding,
    encoder: Box<dyn SessionEncoder>,
    block: Option<PromptBlock>,
    /// Scores of the items as the next item.
    pub(crate) head: Head,
    /// Q(s, a) of the items as actions; for Q-learning only.
    pub(crate) critic: Option<Head>,
    /// Parameters of the encoder and the prompt block.
    backbone: Vec<AdamParam>,
}

/// Hidden vectors of a training batch, with the tape of their backward pass.
pub(crate) struct Forward<'a> {
    windows: &'a Windows,
    /// The embedded items, `[B, L, dim]`: the leaf of the autograd graph.
    leaf: Tensor,
    /// `[B, width]`.
    pub(crate) hidden: Tensor,
    tape: Tape,
}

impl Network {
    /// A network with seeded initial values around the encoder that `encoder` builds.
    pub(crate) fn new(
        encoder: impl FnOnce(VarBuilder) -> candle_core::Result<Box<dyn SessionEncoder>>,
        block: Option<PromptBlockConfig>,
        has_critic: bool,
        ends: &ModelDims<'_>,
    ) -> Result<Self> {
        let ModelDims {
            dim,
            items,
            seed,
            dtype,
            device,
        } = *ends;
        let vars = SeededVarMap::new(seed);
        let vb = vars.var_builder(dtype, device);
        let encoder = encoder(vb.pp("encoder"))?;
        let width = encoder.width();
        let block = match block {
            Some(config) => Some(PromptBlock::new(config, width, vb.pp("prompt"))?),
            None => None,
        };
        let mut backbone = Vec::new();
        for param in vars.params() {
            backbone.push(AdamParam::new(param)?);
        }
        let embedding = Embedding::new(items, dim, dtype, device, seed)?;
        let head = Head::new(items, width, dtype, device, seed, "head")?;
        let critic = if has_critic {
            Some(Head::new(items, width, dtype, device, seed, "q_head")?)
        } else {
            None
        };
        Ok(Self {
            embedding,
            head,
            critic,
            backbone,
            encoder,
            block,
        })
    }

    /// Whether its hidden vectors depend on a prompt.
    pub(crate) fn is_prompted(&self) -> bool {
        self.block.as_ref().is_some_and(PromptBlock::is_prompted)
    }

    /// Forward pass for training.
    pub(crate) fn forward<'a>(
        &self,
        windows: &'a Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Forward<'a>> {
        let leaf = self.embedding.rows(&windows.items, windows.window_len)?;
        let (hidden, tape) = record(|| self.encode(&leaf, windows, prompts, pass))?;
        Ok(Forward {
            windows,
            leaf,
            hidden,
            tape,
        })
    }

    /// Hidden vectors of a batch without a tape, `[B, width]`.
    pub(crate) fn hidden(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let x = self
            .embedding
            .rows(&windows.items, windows.window_len)?
            .detach();
        Ok(self.encode(&x, windows, prompts, pass)?.detach())
    }

    /// The encoder's states of a batch at inference: `[B, width]`.
    pub(crate) fn states(&self, windows: &Windows) -> Result<Tensor> {
        let xs = self.embedding.rows(&windows.items, windows.window_len)?;
        let batch = PaddedBatch {
            xs: &xs.detach(),
            lengths: &windows.lengths,
        };
        Ok(self.encoder.encode(&batch, &ForwardCtx::infer())?.detach())
    }

    fn encode(
        &self,
        x: &Tensor,
        windows: &Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let lengths = windows.lengths.as_slice();
        let batch = PaddedBatch { xs: x, lengths };
        let Some(block) = &self.block else {
            return Ok(self.encoder.encode(&batch, pass)?);
        };
        if !block.needs_outputs() {
            let state = self.encoder.encode(&batch, pass)?;
            return Ok(block.hidden(&EncodedState::Last(&state), prompts, pass)?);
        }
        let Some(outputs) = self.encoder.outputs(&batch, pass)? else {
            return Err(Error::Config(
                "attention = \"released\" needs an encoder with outputs: sasrec".into(),
            ));
        };
        let encoded = EncodedState::Outputs {
            outputs: &outputs,
            lengths,
        };
        Ok(block.hidden(&encoded, prompts, pass)?)
    }

    /// Backward pass from the gradient of the hidden vectors.
    pub(crate) fn backward<'a>(
        &'a self,
        forward: Forward<'a>,
        grad: Tensor,
    ) -> Result<Gradients<'a>> {
        let mut grads = forward.tape.backward(&forward.hidden, grad)?;
        let rows = grads
            .remove(&forward.leaf)
            .map(|grad| (Cow::Borrowed(forward.windows.items.as_slice()), grad));
        let mut backbone = Vec::new();
        for param in &self.backbone {
            if let Some(grad) = grads.remove(&param.param) {
                backbone.push((param.name(), param, grad));
            }
        }
        Ok(Gradients { backbone, rows })
    }

    /// Applies one Adam update to the encoder, the prompt block and the item embedding.
    ///
    /// # Errors
    /// [`Error::Diverged`] without an update if a gradient is not finite; on a GPU the step's
    /// finite check reports that later.
    pub(crate) fn apply_gradients(
        &self,
        adam: AdamStep<'_>,
        step: u64,
        grads: &Gradients<'_>,
    ) -> Result<()> {
        let tensors: Vec<&Tensor> = grads.all().map(|(_, grad)| grad).collect();
        if !adam.check.track(&tensors)? {
            grads.check(step)?;
        }
        let mut backbone = Vec::with_capacity(grads.backbone.len());
        for (_, param, grad) in &grads.backbone {
            backbone.push((*param, grad.clone()));
        }
        AdamParam::step_all(adam, &backbone)?;
        if let Some((ids, grad)) = &grads.rows {
            self.embedding.step(adam, ids, grad)?;
        }
        Ok(())
    }

    /// Every parameter with its moments.
    pub(crate) fn adam_params(&self) -> impl Iterator<Item = &AdamParam> {
        let mut ends = vec![&self.embedding.table, &self.head.bias, &self.head.weight];
        if let Some(critic) = &self.critic {
            ends.extend([&critic.bias, &critic.weight]);
        }
        ends.into_iter().chain(&self.backbone)
    }
}
