//! One network: item embedding, encoder, prompt block and output layer, and for Q-learning a second
//! output layer for the action values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts};
use prl_dataset::Windows;
use prl_encoders::{PaddedBatch, SessionEncoder};
use prl_kernels::autograd::{Tape, record};
use prl_nn::{ForwardCtx, Params};

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
    /// Parameters of the encoder and the prompt block, by name.
    backbone: BTreeMap<String, AdamParam>,
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
        encoder: impl FnOnce(&mut Params) -> candle_core::Result<Box<dyn SessionEncoder>>,
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
        let mut params = Params::new(dtype, device, seed);
        let encoder = encoder(&mut params)?;
        let width = encoder.width();
        let block = block
            .map(|config| PromptBlock::new(config, width, params.scope("prompt")))
            .transpose()?;
        let slots = params
            .iter()
            .map(|(name, var)| Ok((name.to_owned(), AdamParam::new(var.clone())?)));
        let head = |name: &str| Head::new(items, width, dtype, device, seed, name);
        Ok(Self {
            embedding: Embedding::new(items, dim, dtype, device, seed)?,
            head: head("head")?,
            critic: has_critic.then(|| head("critic")).transpose()?,
            backbone: slots.collect::<Result<_>>()?,
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

    fn encode(
        &self,
        x: &Tensor,
        windows: &Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let lengths = windows.lengths.as_slice();
        let embedded = PaddedBatch { x, lengths };
        let Some(block) = &self.block else {
            return Ok(self.encoder.encode(&embedded, pass)?);
        };
        if !block.needs_outputs() {
            let state = self.encoder.encode(&embedded, pass)?;
            return Ok(block.forward(
                &EncodedState {
                    state: &state,
                    outputs: None,
                    lengths,
                },
                prompts,
                pass,
            )?);
        }
        let Some(outputs) = self.encoder.outputs(&embedded, pass)? else {
            return Err(Error::Config(
                "attention = \"released\" needs an encoder with outputs: sasrec".into(),
            ));
        };
        let (batch, length, width) = outputs.dims3()?;
        let last: Vec<u32> = (0..)
            .zip(lengths)
            .map(|(b, &n)| b * length as u32 + n - 1)
            .collect();
        let state = prl_nn::take(&outputs.reshape((batch * length, width))?, &last)?;
        Ok(block.forward(
            &EncodedState {
                state: &state,
                outputs: Some(&outputs),
                lengths,
            },
            prompts,
            pass,
        )?)
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
        let backbone = self.backbone.iter();
        let backbone = backbone
            .filter_map(|(name, slot)| Some((name.as_str(), slot, grads.remove(&slot.param)?)))
            .collect();
        Ok(Gradients { backbone, rows })
    }

    /// Applies one Adam update to the encoder, the prompt block and the item embedding.
    ///
    /// # Errors
    /// [`Error::Diverged`] without an update if a gradient is not finite; on a GPU the step's finite
    /// check reports that later.
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
        let backbone: Vec<_> = grads
            .backbone
            .iter()
            .map(|(_, slot, grad)| (*slot, grad.clone()))
            .collect();
        AdamParam::step_all(adam, &backbone)?;
        if let Some((ids, grad)) = &grads.rows {
            self.embedding.step(adam, ids, grad)?;
        }
        Ok(())
    }

    /// Every parameter with its moments, by name.
    pub(crate) fn adam_params(&self) -> impl Iterator<Item = (String, &AdamParam)> {
        let heads = [("head", Some(&self.head)), ("critic", self.critic.as_ref())];
        let heads = heads
            .into_iter()
            .filter_map(|(name, head)| Some((name, head?)))
            .flat_map(|(name, head)| {
                [
                    (format!("{name}.bias"), &head.bias),
                    (format!("{name}.weight"), &head.weight),
                ]
            });
        let backbone = self
            .backbone
            .iter()
            .map(|(name, slot)| (name.clone(), slot));
        std::iter::once(("embedding.weight".to_owned(), &self.embedding.table))
            .chain(heads)
            .chain(backbone)
    }
}
