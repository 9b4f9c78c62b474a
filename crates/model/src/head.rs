//! Output layer: a score for every item, trained by weighted softmax cross-entropy.
//!
//! For hidden vectors `h_b`, targets `y_b` and loss weights `w_b` of a batch:
//!
//! ```text
//! s_b = W h_b + c                                        scores of all items
//! L   = sum_b w_b (log sum_i exp s_bi - s_b,y_b)         weighted cross-entropy
//! dL/ds_bi = w_b (softmax(s_b)_i - [i = y_b])
//! dL/dW = sum_b dL/ds_b h_b^T    dL/dc = sum_b dL/ds_b    dL/dh_b = W^T dL/ds_b
//! ```
//!
//! [`mod@reference`] computes this with candle's operations. [`cpu`] and `cuda` are the fused
//! paths: they never store the `[B, items]` scores and update `W` while its gradient is computed. A
//! model chooses between them once, by its [`Backend`].
//!
//! As a Q layer the scores are action values: [`Head::chosen_score_step`] trains the score of one
//! item per hidden vector.

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod reference;

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};
use prl_kernels::ops::top_k_serving::TransposedItemMatrix;
use prl_nn::{Backend, Init, PackedParam, format1_name};

use crate::head_dtype::HeadDtype;
use crate::packed_cache::PackedCache;
use crate::param::{AdamParam, AdamStep};
use crate::process_group::ProcessGroup;

pub(crate) use cpu::in_f32;

/// Output layer with weight `[items, width]` and bias `[items]`, not tied to the item embedding.
/// Weights start Xavier uniform, biases zero.
pub(crate) struct Head {
    pub(crate) weight: AdamParam,
    pub(crate) bias: AdamParam,
    /// Whether the matrix products of a training step on a CPU round their factors to bfloat16.
    pub(crate) is_bf16: bool,
    /// Type to which those of a training step on a GPU round them.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(crate) dtype: HeadDtype,
    backend: Backend,
    /// Packed item vectors of the current weights, for rankings.
    packed: PackedCache,
}

/// Examples of one training step of the output layer.
pub(crate) struct HeadBatch<'a> {
    /// Hidden vectors `[B, width]`.
    pub(crate) hidden: &'a Tensor,
    /// Target items `[B]`.
    pub(crate) targets: &'a [u32],
    /// Weight of each example in the loss `[B]`.
    pub(crate) loss_weights: &'a [f64],
}

/// Losses of one step and the gradient of the hidden vectors.
pub(crate) struct HeadOutput {
    /// Weighted cross-entropy; `None` on a GPU, where the step's finite check reports it.
    pub(crate) ce_loss: Option<f64>,
    /// Weighted temporal-difference loss, 0 without Q-learning.
    pub(crate) td_loss: f64,
    /// Gradient of the loss with respect to the hidden vectors, `[B, width]`.
    pub(crate) hidden_grad: Tensor,
    /// Gradient of the item embedding `[items + 1, width]`, of a layer tied to it.
    pub(crate) item_grad: Option<Tensor>,
    /// In its place, items and the gradient of their rows `[rows, width]`, with sampled negatives.
    pub(crate) item_rows: Option<(Vec<u32>, Tensor)>,
}

impl HeadOutput {
    /// Result of a step whose loss is not finite: nothing was updated.
    pub(crate) fn not_updated(ce_loss: f64, hidden: &Tensor) -> Self {
        Self {
            ce_loss: Some(ce_loss),
            td_loss: 0.0,
            hidden_grad: hidden.clone(),
            item_grad: None,
            item_rows: None,
        }
    }

    /// The loss as far as it is on the host.
    pub(crate) fn loss(&self) -> f64 {
        self.ce_loss.unwrap_or_default() + self.td_loss
    }
}

impl Head {
    /// A layer whose initial values depend on the seed and its name.
    pub(crate) fn new(
        items: usize,
        width: usize,
        dtype: DType,
        device: &Device,
        seed: u64,
        name: &str,
    ) -> Result<Self> {
        let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
        let mut rng = prl_seed::stream(seed, &format1_name(&weight_name), 0);
        let weight = Init::Glorot.values(&[items, width], &mut rng)?;
        let bias = Var::zeros(items, dtype, device)?;
        Ok(Self {
            weight: AdamParam::from_values(&weight_name, weight, (items, width), dtype, device)?,
            bias: AdamParam::new(PackedParam::plain(&bias_name, bias))?,
            is_bf16: false,
            dtype: HeadDtype::default(),
            backend: Backend::new(device, dtype),
            packed: PackedCache::default(),
        })
    }

    /// Drops what was derived from the weights, since they change.
    pub(crate) fn weights_changed(&self) {
        self.packed.forget();
    }

    /// Takes one Adam step on the weighted cross-entropy over the examples of all processes.
    ///
    /// Several processes need a CPU. If the loss is not finite, nothing is updated: it is returned,
    /// or on a GPU reported by the finite check.
    pub(crate) fn step(
        &self,
        adam: AdamStep<'_>,
        batch: &HeadBatch<'_>,
        group: &dyn ProcessGroup,
    ) -> Result<HeadOutput> {
        self.weights_changed();
        match self.backend {
            Backend::CpuFused => cpu::step(self, adam, batch, group),
            #[cfg(feature = "cuda")]
            Backend::Cuda => cuda::step(self, adam, batch),
            _ => reference::step(self, adam, batch),
        }
    }

    /// Takes one Adam step for the score of `items[b]` given `hidden[b]`, whose gradient is
    /// `grads[b]`; returns the gradient of the hidden vectors `[B, width]`.
    ///
    /// The weight's gradient is zero but for those rows; Adam's moments move all rows.
    pub(crate) fn chosen_score_step(
        &self,
        adam: AdamStep<'_>,
        hidden: &Tensor,
        items: &[u32],
        grads: &[f64],
    ) -> Result<Tensor> {
        self.weights_changed();
        match self.backend {
            Backend::CpuFused => cpu::chosen_score_step(self, adam, hidden, items, grads),
            _ => reference::chosen_score_step(self, adam, hidden, items, grads),
        }
    }

    /// The score of `items[b]` given `hidden[b]`, `[B]`; `bias` `[items]` is the layer's own or
    /// one in its place.
    pub(crate) fn scores(&self, hidden: &Tensor, items: &[u32], bias: &Tensor) -> Result<Vec<f64>> {
        match self.backend {
            Backend::CpuFused => cpu::scores(self, hidden, items, bias),
            _ => reference::scores(self, hidden, items, bias),
        }
    }

    /// Ranks of the targets, if given, and the `k` best items of each hidden vector; `bias`
    /// `[items]` is the layer's own or one in its place.
    pub(crate) fn rank(
        &self,
        hidden: &Tensor,
        targets: Option<&[u32]>,
        k: usize,
        bias: &Tensor,
    ) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
        match self.backend {
            Backend::CpuFused => cpu::rank(self, hidden, targets, k, bias),
            #[cfg(feature = "cuda")]
            Backend::Cuda => cuda::rank(self, hidden, targets, k, bias),
            _ => reference::rank(self, hidden, targets, k, bias),
        }
    }

    /// The best item of each hidden vector `[B]`; among equal scores the lowest index.
    pub(crate) fn best(
        &self,
        hidden: &Tensor,
    ) -> Result<std::result::Result<Vec<u32>, NonFiniteScore>> {
        let ranking = match self.backend {
            // Of a training step: the weights change before packed items would serve again.
            Backend::CpuFused => cpu::best(self, hidden)?,
            _ => self.rank(hidden, None, 1, &self.bias.param)?,
        };
        let ranking = match ranking {
            Ok(ranking) => ranking,
            Err(error) => return Ok(Err(error)),
        };
        let mut best = Vec::with_capacity(ranking.top.len());
        for top in &ranking.top {
            best.extend(top.first().map(|(item, _)| *item));
        }
        Ok(Ok(best))
    }

    /// The layer in the layout for small batches; `None` unless it is `f32` on a CPU.
    pub(crate) fn catalogue(&self) -> Result<Option<TransposedItemMatrix<f32>>> {
        if self.backend != Backend::CpuFused || self.weight.param.dtype() != DType::F32 {
            return Ok(None);
        }
        let width = self.weight.param.dim(1)?;
        cpu::with_linear(self, |linear| {
            Ok(Some(TransposedItemMatrix::new(linear, width)))
        })
    }
}

#[cfg(test)]
mod tests;
