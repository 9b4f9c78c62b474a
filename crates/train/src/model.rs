//! A model: the embedding, the encoder, the prompt block and the output layer; one training step, and one inference.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var};
use prl_core::{BlockConfig, PromptBlock, Prompts};
use prl_encoders::{Embedded, Encoder, Shape};
use prl_kernels::adam::Adam;
use prl_kernels::rank::Ranking;
use prl_nn::{Params, Pass};
use prl_sessions::Windows;

use crate::config;
use crate::error::{Error, Result};
use crate::slot::Slot;
use crate::tables::{Embedding, Head};

/// A trainable recommender.
pub struct Model {
    embedding: Embedding,
    encoder: Box<dyn Encoder>,
    block: Option<PromptBlock>,
    head: Head,
    /// Parameters of the middle, by name.
    middle: BTreeMap<String, Slot>,
    device: Device,
}

/// What a model learns from at a step.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// The states.
    pub windows: Windows,
    /// What is said beside them.
    pub prompts: Prompts,
    /// The items to predict `[B]`.
    pub targets: Vec<u32>,
    /// The weight of each example's cross-entropy in the loss `[B]`, the mean's 1 / B included.
    pub scale: Vec<f64>,
}

/// Where the time of training steps went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes {
    /// Embedding rows, encoder and prompt block, forward.
    pub encoder: Duration,
    /// The output layer: loss, gradients and its Adam step.
    pub head: Duration,
    /// Back through prompt block and encoder.
    pub backward: Duration,
    /// Adam on the middle and the embedding.
    pub adam: Duration,
}

impl Model {
    /// A model for `items` items with seeded initial values.
    pub fn new(
        shape: &config::Model,
        block: Option<BlockConfig>,
        items: usize,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let size = Shape { dim: shape.dim, window: shape.window };
        Self::with_encoder(
            |params| shape.encoder.build(size, params.scope("encoder")),
            block,
            shape.dim,
            items,
            seed,
            dtype,
            device,
        )
    }

    /// A model around an encoder of the caller's own.
    pub fn with_encoder(
        encoder: impl FnOnce(&mut Params) -> candle_core::Result<Box<dyn Encoder>>,
        block: Option<BlockConfig>,
        dim: usize,
        items: usize,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut params = Params::new(dtype, device, seed);
        let encoder = encoder(&mut params)?;
        let width = encoder.width();
        let block = block.map(|config| PromptBlock::new(config, width, params.scope("prompt"))).transpose()?;
        let slots = params.iter().map(|(name, var)| Ok((name.to_owned(), Slot::new(var.clone())?)));
        Ok(Self {
            embedding: Embedding::new(items, dim, dtype, device, seed)?,
            head: Head::new(items, width, dtype, device, seed)?,
            middle: slots.collect::<Result<_>>()?,
            encoder,
            block,
            device: device.clone(),
        })
    }

    /// Whether the model is fed a prompt.
    pub fn is_prompted(&self) -> bool {
        self.block.is_some()
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Training step `t` (from 1) on `sum of scale[b] x cross-entropy[b]`; returns that loss, before the step.
    pub fn step(&self, adam: Adam, t: u64, examples: &Examples, seed: u64, times: &mut StepTimes) -> Result<f64> {
        let Examples { windows, prompts, targets, scale } = examples;
        let mut clock = Instant::now();
        let mut lap = |into: &mut Duration| *into += std::mem::replace(&mut clock, Instant::now()).elapsed();
        let leaf = self.embedding.rows(&windows.items, windows.width)?;
        let hidden = self.hidden(leaf.as_tensor(), windows, prompts, &Pass::train(seed, t))?;
        lap(&mut times.encoder);
        let step = self.head.step(adam, t, &hidden.detach(), targets, scale)?;
        lap(&mut times.head);
        if !step.loss.is_finite() {
            return Err(Error::Diverged { step: t, loss: step.loss });
        }
        // The gradient of this product by the middle's parameters is the loss's own.
        let grads = (hidden * step.hidden)?.sum_all()?.backward()?;
        lap(&mut times.backward);
        for slot in self.middle.values() {
            if let Some(grad) = grads.get(&slot.param) {
                slot.step(adam, t, grad)?;
            }
        }
        if let Some(grad) = grads.get(&leaf) {
            self.embedding.step(adam, t, &windows.items, grad)?;
        }
        lap(&mut times.adam);
        Ok(step.loss)
    }

    fn hidden(&self, x: &Tensor, windows: &Windows, prompts: &Prompts, pass: &Pass) -> Result<Tensor> {
        let state = self.encoder.encode(&Embedded { x, lengths: &windows.lengths }, pass)?;
        match &self.block {
            Some(block) => Ok(block.forward(&state, prompts, pass)?),
            None => Ok(state),
        }
    }

    /// Ranks of the targets (if given) and the `k` best items for each window under its prompt.
    pub fn rank(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<Ranking<f32>> {
        if windows.is_empty() {
            return Ok(Ranking { ranks: Vec::new(), top: Vec::new() });
        }
        let leaf = self.embedding.rows(&windows.items, windows.width)?.as_tensor().detach();
        let hidden = self.hidden(&leaf, windows, prompts, &Pass::infer())?;
        Ok(self.head.rank(&hidden, targets, k)??)
    }

    /// Every parameter with its moments, by name.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&str, &Slot)> {
        let ends = [
            ("embedding.weight", &self.embedding.slot),
            ("head.bias", &self.head.bias),
            ("head.weight", &self.head.weight),
        ];
        ends.into_iter().chain(self.middle.iter().map(|(name, slot)| (name.as_str(), slot)))
    }

    /// Every parameter, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.slots().map(|(name, slot)| (name, &slot.param))
    }
}
