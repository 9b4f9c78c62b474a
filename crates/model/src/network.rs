//! One network: item embedding, encoder, prompt block and output layer, and for Q-learning a second
//! output layer for the action values.

mod sequences;

use std::borrow::Cow;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts};
use prl_dataset::{Kind, Windows};
use prl_encoders::{PaddedBatch, SessionEncoder};
use prl_kernels::autograd::{Tape, record};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};
use prl_kernels::ops::score_offsets::ScoreOffsets;
use prl_kernels::ops::top_k_serving::TransposedItemMatrix;
use prl_nn::{ForwardCtx, SeededVarMap};

use crate::embedding::Embedding;
use crate::error::{Error, Result};
use crate::event_kinds::EventKinds;
use crate::gradients::Gradients;
use crate::head::{Head, HeadBatch, HeadOutput};
use crate::head_dtype::HeadDtype;
use crate::negative_sampler::NegativeSampler;
use crate::own_items::OwnItems;
use crate::param::{AdamParam, AdamStep};
use crate::process_group::ProcessGroup;
use crate::similarity_head::{SimilarityHead, SimilarityOptions, reference::normalised};
use crate::state_residual::{ResidualKind, StateResidual};

/// Sizes of the item embedding and the output layers, element type and device.
pub(crate) struct ModelDims<'a> {
    pub(crate) dim: usize,
    pub(crate) items: usize,
    pub(crate) seed: u64,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
    pub(crate) options: NetworkOptions,
}

/// Parts of a network beyond the paper's; the default has none of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkOptions {
    /// Whether the output layer scores by the item embedding.
    pub is_tied: bool,
    /// Temperature of cosine scores; `None` for dot products.
    pub temperature: Option<f64>,
    /// Treatment of the session's own items.
    pub own_items: OwnItems,
    /// Dropout of the embedded items.
    pub item_dropout: f64,
    /// Residual connection from the last item's embedding to the state.
    pub residual: ResidualKind,
    /// Residual connection from the state past the prompt block.
    pub is_prompt_residual: bool,
    /// Window length.
    pub window: usize,
    /// Whether the kinds of the window's events are part of the state.
    pub has_event_kinds: bool,
    /// Whether the output layer has a bias by item.
    pub has_item_bias: bool,
    /// Label smoothing.
    pub label_smoothing: f64,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            is_tied: false,
            temperature: None,
            own_items: OwnItems::Keep,
            item_dropout: 0.0,
            residual: ResidualKind::None,
            is_prompt_residual: false,
            window: 0,
            has_event_kinds: false,
            has_item_bias: true,
            label_smoothing: 0.0,
        }
    }
}

impl NetworkOptions {
    /// Whether the output layer is the paper's.
    fn has_plain_head(&self) -> bool {
        !self.is_tied
            && self.temperature.is_none()
            && self.own_items == OwnItems::Keep
            && self.has_item_bias
            && self.label_smoothing == 0.0
    }
}

/// Scores of the items as the next item.
pub(crate) enum OutputHead {
    /// The paper's: a weight of its own, dot products.
    Plain(Box<Head>),
    /// Similarity with item vectors.
    Similarity(Box<SimilarityHead>),
}

/// A network with the state of its optimizer.
pub(crate) struct Network {
    embedding: Embedding,
    encoder: Box<dyn SessionEncoder>,
    block: Option<PromptBlock>,
    /// From the last item to the state.
    state_residual: StateResidual,
    /// Kinds of the window's events, added to their items.
    event_kinds: Option<EventKinds>,
    /// From the state past the prompt block.
    prompt_residual: StateResidual,
    options: NetworkOptions,
    /// Scores of the items as the next item.
    pub(crate) head: OutputHead,
    /// Q(s, a) of the items as actions; for Q-learning only.
    pub(crate) critic: Option<Head>,
    /// Parameters of the encoder and the prompt block.
    backbone: Vec<AdamParam>,
}

/// Hidden vectors of a training batch, with the tape of their backward pass.
pub(crate) struct Forward<'a> {
    /// The items that were embedded.
    items: &'a [u32],
    /// Their embeddings, `[B, L, dim]`: the leaf of the autograd graph.
    leaf: Tensor,
    /// `[B, width]`.
    pub(crate) hidden: Tensor,
    tape: Tape,
}

/// The refusal of sampled negatives for the paper's output layer.
pub(crate) fn negatives_need_similarity() -> Error {
    Error::Config(
        "negatives train the output layer of the modern recipe; set tied, temperature or \
         own_items, or leave negatives out"
            .into(),
    )
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
            options,
        } = *ends;
        let vars = SeededVarMap::new(seed);
        let vb = vars.var_builder(dtype, device);
        let encoder = encoder(vb.pp("encoder"))?;
        // The projection of the residual connection maps states to the space of the items.
        let width = match options.residual {
            ResidualKind::Projected => dim,
            ResidualKind::None | ResidualKind::Scaled => encoder.width(),
        };
        let block = match block {
            Some(config) => Some(PromptBlock::new(config, width, vb.pp("prompt"))?),
            None => None,
        };
        let state_residual =
            StateResidual::new(options.residual, encoder.width(), dim, vb.pp("state"))?;
        let event_kinds = if options.has_event_kinds {
            Some(EventKinds::new(dim, vb.pp("event_kinds"))?)
        } else {
            None
        };
        // The prompt block's output has unit scale; the state of the modern recipe is an embedding.
        let prompt_kind = if block.is_some() && options.is_prompt_residual {
            ResidualKind::Scaled
        } else {
            ResidualKind::None
        };
        let prompt_residual =
            StateResidual::new(prompt_kind, width, width, vb.pp("prompt_residual"))?;
        let mut backbone = Vec::new();
        for param in vars.params() {
            backbone.push(AdamParam::new(param)?);
        }
        let embedding = Embedding::new(items, dim, dtype, device, seed)?;
        let head = if options.has_plain_head() {
            let head = Head::new(items, width, dtype, device, seed, "head")?;
            OutputHead::Plain(Box::new(head))
        } else {
            let shape = SimilarityOptions {
                is_tied: options.is_tied,
                temperature: options.temperature,
                own_items: options.own_items,
                window: options.window,
                has_event_biases: options.has_event_kinds,
                has_item_bias: options.has_item_bias,
                label_smoothing: options.label_smoothing,
            };
            let head = SimilarityHead::new(items, width, dtype, device, seed, shape)?;
            OutputHead::Similarity(Box::new(head))
        };
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
            state_residual,
            event_kinds,
            prompt_residual,
            options,
        })
    }

    /// Whether its hidden vectors depend on a prompt.
    pub(crate) fn is_prompted(&self) -> bool {
        self.block.as_ref().is_some_and(PromptBlock::is_prompted)
    }

    /// The output layer, if it is the paper's.
    pub(crate) fn plain_head(&self) -> candle_core::Result<&Head> {
        match &self.head {
            OutputHead::Plain(head) => Ok(head),
            OutputHead::Similarity(_) => candle_core::bail!("this network has a similarity head"),
        }
    }

    /// Takes the output layer's step on the cross-entropy.
    pub(crate) fn head_step(
        &self,
        adam: AdamStep<'_>,
        batch: &HeadBatch<'_>,
        windows: &Windows,
        group: &dyn ProcessGroup,
    ) -> candle_core::Result<HeadOutput> {
        match &self.head {
            OutputHead::Plain(head) => head.step(adam, batch, group),
            OutputHead::Similarity(head) => {
                head.step(adam, batch, windows, &self.embedding.table.param, group)
            }
        }
    }

    /// The output layer's bias `[items]`.
    pub(crate) fn output_bias(&self) -> &Tensor {
        match &self.head {
            OutputHead::Plain(head) => &head.bias.param,
            OutputHead::Similarity(head) => &head.bias.param,
        }
    }

    /// Ranks of the targets, if given, and the `k` best items of each hidden vector; `bias`
    /// `[items]` is the output layer's own or one in its place.
    pub(crate) fn rank(
        &self,
        hidden: &Tensor,
        windows: &Windows,
        targets: Option<&[u32]>,
        k: usize,
        bias: &Tensor,
    ) -> candle_core::Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
        match &self.head {
            OutputHead::Plain(head) => head.rank(hidden, targets, k, bias),
            OutputHead::Similarity(head) => {
                let embedding = &self.embedding.table.param;
                head.rank(hidden, windows, targets, k, embedding, bias)
            }
        }
    }

    /// The score of each of `items` for one hidden vector `[1, width]`; `None` for an excluded
    /// item. `bias` is as in [`rank`](Self::rank).
    pub(crate) fn scores(
        &self,
        hidden: &Tensor,
        window: &Windows,
        items: &[u32],
        bias: &Tensor,
    ) -> candle_core::Result<Vec<Option<f64>>> {
        match &self.head {
            OutputHead::Plain(head) => {
                let repeated = hidden.broadcast_as((items.len(), hidden.dim(1)?))?;
                Ok(head
                    .scores(&repeated, items, bias)?
                    .into_iter()
                    .map(Some)
                    .collect())
            }
            OutputHead::Similarity(head) => {
                head.scores(hidden, window, items, &self.embedding.table.param, bias)
            }
        }
    }

    /// The output layer in the layout for small batches; `None` unless it is `f32` on a CPU.
    pub(crate) fn catalogue(&self) -> candle_core::Result<Option<TransposedItemMatrix<f32>>> {
        match &self.head {
            OutputHead::Plain(head) => head.catalogue(),
            OutputHead::Similarity(head) => head.catalogue(&self.embedding.table.param),
        }
    }

    /// Additions to the scores of each window's own items.
    pub(crate) fn score_offsets(
        &self,
        windows: &Windows,
    ) -> candle_core::Result<ScoreOffsets<f32>> {
        match &self.head {
            OutputHead::Plain(_) => Ok(ScoreOffsets::none()),
            OutputHead::Similarity(head) => head.inference_offsets(windows),
        }
    }

    /// Sets the type to which training rounds the factors of the output layers' products.
    pub(crate) fn set_head_dtype(&mut self, dtype: HeadDtype) {
        let is_bf16 = dtype == HeadDtype::Bf16;
        match &mut self.head {
            OutputHead::Plain(head) => (head.is_bf16, head.dtype) = (is_bf16, dtype),
            OutputHead::Similarity(head) => head.is_bf16 = is_bf16,
        }
        if let Some(critic) = &mut self.critic {
            critic.dtype = dtype;
        }
    }

    /// Trains with sampled negatives, and lazy Adam for the tables of the items.
    pub(crate) fn set_negatives(&mut self, sampler: NegativeSampler) -> Result<()> {
        let OutputHead::Similarity(head) = &mut self.head else {
            return Err(negatives_need_similarity());
        };
        // The last row is the pad's.
        let items = self.embedding.table.param.dim(0)? - 1;
        if sampler.items() != items {
            let found = sampler.items();
            return Err(Error::Config(format!(
                "negatives of {found} items for a model of {items}; count the model's items"
            )));
        }
        self.embedding.table.make_lazy();
        head.set_negatives(sampler);
        Ok(())
    }

    /// Drops what was derived from the weights, since they were replaced.
    pub(crate) fn weights_changed(&self) {
        match &self.head {
            OutputHead::Plain(head) => head.weights_changed(),
            OutputHead::Similarity(head) => head.weights_changed(),
        }
        if let Some(critic) = &self.critic {
            critic.weights_changed();
        }
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
            items: &windows.items,
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
        let xs = self.with_kinds(&xs.detach(), &windows.kinds)?;
        let batch = PaddedBatch {
            xs: &xs,
            lengths: &windows.lengths,
        };
        Ok(self.state(&batch, &ForwardCtx::infer())?.detach())
    }

    /// The hidden vectors `[B, width]` that the output layer reads, of unit length for cosine
    /// scores.
    fn encode(
        &self,
        x: &Tensor,
        windows: &Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        self.head_input(self.hidden_of(x, windows, prompts, pass)?)
    }

    /// Hidden vectors in the scale that the output layer reads.
    fn head_input(&self, hidden: Tensor) -> Result<Tensor> {
        match &self.head {
            OutputHead::Similarity(head) if head.is_cosine() => Ok(normalised(&hidden)?),
            _ => Ok(hidden),
        }
    }

    /// The encoder's state with its residual connection, `[B, width]`.
    fn state(&self, batch: &PaddedBatch<'_>, pass: &ForwardCtx) -> Result<Tensor> {
        let state = self.encoder.encode(batch, pass)?;
        Ok(self
            .state_residual
            .forward(&state, || batch.last(batch.xs))?)
    }

    /// The embedded items `[.., dim]`, with the kinds of their events if the state has them.
    fn with_kinds(&self, x: &Tensor, kinds: &[Kind]) -> Result<Tensor> {
        match &self.event_kinds {
            Some(vectors) => Ok(vectors.add(x, kinds)?),
            None => Ok(x.clone()),
        }
    }

    fn hidden_of(
        &self,
        x: &Tensor,
        windows: &Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let lengths = windows.lengths.as_slice();
        let dropped = match self.options.item_dropout {
            0.0 => None,
            rate => Some(pass.dropout(x, rate)?),
        };
        let xs = self.with_kinds(dropped.as_ref().unwrap_or(x), &windows.kinds)?;
        let batch = PaddedBatch { xs: &xs, lengths };
        let Some(block) = &self.block else {
            return self.state(&batch, pass);
        };
        if !block.needs_outputs() {
            let state = self.state(&batch, pass)?;
            let hidden = block.hidden(&EncodedState::Last(&state), prompts, pass)?;
            return Ok(self.prompt_residual.forward(&hidden, || Ok(state))?);
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
            .map(|grad| (Cow::Borrowed(forward.items), grad));
        let mut backbone = Vec::new();
        for param in &self.backbone {
            if let Some(grad) = grads.remove(&param.param) {
                backbone.push((param.name(), param, grad));
            }
        }
        Ok(Gradients {
            backbone,
            rows,
            items: None,
        })
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
        match (&grads.items, &grads.rows) {
            (Some(items), rows) => {
                let rows = rows.as_ref().map(|(ids, grad)| (ids.as_ref(), grad));
                self.embedding.step_tied(adam, items.clone(), rows)?;
            }
            (None, Some((ids, grad))) => self.embedding.step(adam, ids, grad)?,
            (None, None) => {}
        }
        Ok(())
    }

    /// The parameters with a row for each item: embedding, output layers and their biases.
    pub(crate) fn item_tables(&self) -> impl Iterator<Item = &AdamParam> {
        let mut tables = vec![&self.embedding.table];
        match &self.head {
            OutputHead::Plain(head) => tables.extend([&head.bias, &head.weight]),
            OutputHead::Similarity(head) => tables.extend(head.item_tables()),
        }
        if let Some(critic) = &self.critic {
            tables.extend([&critic.bias, &critic.weight]);
        }
        tables.into_iter()
    }

    /// Every parameter with its moments.
    pub(crate) fn adam_params(&self) -> impl Iterator<Item = &AdamParam> {
        let mut ends = vec![&self.embedding.table];
        match &self.head {
            OutputHead::Plain(head) => ends.extend([&head.bias, &head.weight]),
            OutputHead::Similarity(head) => ends.extend(head.adam_params()),
        }
        if let Some(critic) = &self.critic {
            ends.extend([&critic.bias, &critic.weight]);
        }
        ends.into_iter().chain(&self.backbone)
    }
}
