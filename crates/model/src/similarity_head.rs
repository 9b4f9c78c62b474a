//! Output layer of the modern recipe: a score is the similarity of the state and the item's vector.
//!
//! For hidden vectors `h_b`, item vectors `E_i` (the item embedding if tied), targets `y_b` and
//! loss weights `w_b`:
//!
//! ```text
//! s_bi = (h_b / |h_b|) . (E_i / |E_i|) / tau + c_i + o_bi     without tau: h_b . E_i + c_i + o_bi
//! L    = sum_b w_b (log sum_i exp s_bi - s_b,y_b + epsilon (r_b,y_b - mean_i r_bi)),   r = s - o
//! g_i  = dL/de_i,  e_i = E_i / |E_i|:   dL/dE_i = (g_i - (g_i . e_i) e_i) / |E_i|
//! ```
//!
//! o_bi is zero but for the items of the window b ([`OwnItems`]): a bias by lag (and by the events
//! on the item), or an exclusion. epsilon is the label smoothing: a share of the target's
//! probability, spread over all items.
//! The network normalises the hidden vectors, so that candle differentiates that part.
//!
//! On a CPU the sweeps of the [fused head](crate::head) run over the scaled vectors `e_i / tau`,
//! which are computed once a step, and once for all batches of an evaluation. [`mod@reference`] is
//! the formulas in candle's operations, for any other device. With sampled negatives a step reads
//! some of the item vectors only: [`mod@sampled_softmax`].

mod label_smoothing;
pub(crate) mod reference;
mod sampled_softmax;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_dataset::Windows;
use prl_kernels::Real;
use prl_kernels::ops::rank::{NonFiniteScore, Ranking, rank_packed};
use prl_kernels::ops::score_offsets::{EXCLUDED, ScoreOffsets};
use prl_kernels::ops::softmax_head::{
    OutputLayer, Sink, backward, offset_gradients, score, softmax_with_offsets,
};
use prl_kernels::ops::top_k_serving::TransposedItemMatrix;
use prl_kernels::simd::bf16::Bf16Pair;
use prl_kernels::simd::operand::GemmOperand;
use prl_kernels::storage::{MutableStorage, with};
use prl_nn::{Backend, Init, PackedParam, format1_name};
use rayon::prelude::*;

use self::label_smoothing::LabelSmoothing;
use crate::dtype::by_dtype;
use crate::head::{HeadBatch, HeadOutput, in_f32};
use crate::negative_sampler::NegativeSampler;
use crate::own_items::{EVENT_BIASES, OwnBiases, OwnItem, OwnItems, own_items, score_offsets};
use crate::packed_cache::PackedCache;
use crate::param::{AdamParam, AdamStep};
use crate::process_group::{Number, ProcessGroup};
use sampled_softmax::SampledStep;

/// Shape of a [`SimilarityHead`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SimilarityOptions {
    /// Whether the item vectors are the item embedding.
    pub(crate) is_tied: bool,
    /// Temperature of cosine scores; `None` for dot products.
    pub(crate) temperature: Option<f64>,
    /// Treatment of the session's own items.
    pub(crate) own_items: OwnItems,
    /// Window length.
    pub(crate) window: usize,
    /// Whether own items have a bias by their events as well.
    pub(crate) has_event_biases: bool,
    /// Whether c is learned; it is zero otherwise.
    pub(crate) has_item_bias: bool,
    /// epsilon.
    pub(crate) label_smoothing: f64,
}

/// Output layer over item vectors.
pub(crate) struct SimilarityHead {
    /// Item vectors `[items, width]` if they are not the item embedding.
    weight: Option<AdamParam>,
    /// c: `[items]`.
    pub(crate) bias: AdamParam,
    /// Bias of own items by lag, `[window]`.
    own_bias: Option<AdamParam>,
    /// Bias of own items by their events, `[EVENT_BIASES]`.
    event_bias: Option<AdamParam>,
    options: SimilarityOptions,
    /// Whether the matrix products of a training step round their factors to bfloat16.
    pub(crate) is_bf16: bool,
    /// Negatives of a training step; without it, all items.
    sampler: Option<Box<NegativeSampler>>,
    backend: Backend,
    /// Scaled item vectors of the current weights, for inference.
    scaled: Mutex<Option<Arc<Tensor>>>,
    packed: PackedCache,
}

/// The item vectors in the form that the sweeps read, and the norms that scaled them.
struct Scaled<T> {
    vectors: Vec<T>,
    /// |E_i|, if the scores are cosines.
    norms: Vec<T>,
}

/// Smallest norm that a vector is divided by.
pub(crate) const MIN_NORM: f64 = 1e-12;

impl SimilarityHead {
    pub(crate) fn new(
        items: usize,
        width: usize,
        dtype: DType,
        device: &Device,
        seed: u64,
        options: SimilarityOptions,
    ) -> Result<Self> {
        let zeros = |name: &str, n: usize| {
            AdamParam::new(PackedParam::plain(name, Var::zeros(n, dtype, device)?))
        };
        let weight = if options.is_tied {
            None
        } else {
            let name = "head.weight";
            let mut rng = prl_seed::stream(seed, &format1_name(name), 0);
            let values = Init::Glorot.values(&[items, width], &mut rng)?;
            Some(AdamParam::from_values(
                name,
                values,
                (items, width),
                dtype,
                device,
            )?)
        };
        let own_bias = match options.own_items {
            OwnItems::Learned => Some(zeros("head.own_bias", options.window)?),
            _ => None,
        };
        let event_bias = if own_bias.is_some() && options.has_event_biases {
            Some(zeros("head.own_event_bias", EVENT_BIASES)?)
        } else {
            None
        };
        Ok(Self {
            weight,
            bias: zeros("head.bias", items)?,
            own_bias,
            event_bias,
            options,
            is_bf16: false,
            sampler: None,
            backend: Backend::new(device, dtype),
            scaled: Mutex::new(None),
            packed: PackedCache::default(),
        })
    }

    /// Its parameters.
    pub(crate) fn adam_params(&self) -> impl Iterator<Item = &AdamParam> {
        let params = [
            Some(&self.bias),
            self.weight.as_ref(),
            self.own_bias.as_ref(),
            self.event_bias.as_ref(),
        ];
        params.into_iter().flatten()
    }

    /// Its parameters with a row for each item.
    pub(crate) fn item_tables(&self) -> impl Iterator<Item = &AdamParam> {
        [Some(&self.bias), self.weight.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Trains with sampled negatives, and lazy Adam for the tables of the items.
    pub(crate) fn set_negatives(&mut self, sampler: NegativeSampler) {
        self.bias.make_lazy();
        if let Some(weight) = &mut self.weight {
            weight.make_lazy();
        }
        self.sampler = Some(Box::new(sampler));
    }

    /// Whether scores are cosines, so that hidden vectors are normalised.
    pub(crate) fn is_cosine(&self) -> bool {
        self.options.temperature.is_some()
    }

    /// The item vectors `[>= items, width]`; `embedding` is the item embedding.
    fn vectors<'a>(&'a self, embedding: &'a Tensor) -> &'a Tensor {
        match &self.weight {
            Some(weight) => weight.param.as_tensor(),
            None => embedding,
        }
    }

    /// Takes one Adam step on the bias, the own-item bias and untied item vectors; returns the
    /// gradients of the hidden vectors and, if tied, of the item embedding.
    pub(crate) fn step(
        &self,
        adam: AdamStep<'_>,
        batch: &HeadBatch<'_>,
        windows: &Windows,
        embedding: &Tensor,
        group: &dyn ProcessGroup,
    ) -> Result<HeadOutput> {
        self.weights_changed();
        if let Some(sampler) = &self.sampler {
            let step = SampledStep {
                head: self,
                sampler,
                adam,
                windows,
                embedding,
                group,
            };
            return step.run(batch);
        }
        let own = self.own(windows);
        if self.backend != Backend::CpuFused {
            return reference::step(self, adam, batch, &own, embedding);
        }
        if self.is_bf16 && batch.hidden.dtype() == DType::F32 {
            return self.step_in::<Bf16Pair>(adam, batch, &own, embedding, group);
        }
        by_dtype!(batch.hidden.dtype(), T => self.step_in::<T>(adam, batch, &own, embedding, group))
    }

    fn step_in<F: GemmOperand<Sum: Number>>(
        &self,
        adam: AdamStep<'_>,
        batch: &HeadBatch<'_>,
        own: &[OwnItem],
        embedding: &Tensor,
        group: &dyn ProcessGroup,
    ) -> Result<HeadOutput> {
        let (hidden, targets) = (batch.hidden.contiguous()?, batch.targets);
        let (items, width) = (self.bias.param.elem_count(), hidden.dim(1)?);
        let mut scaled: Scaled<F::Sum> = with(self.vectors(embedding), |vectors| {
            Ok(self.scale(&vectors[..items * width], width))
        })?;
        let bias: Vec<F::Sum> = copy_of(&self.bias.param)?;
        let offsets = self.offsets(own, Some(targets))?;
        let mut weights = Vec::with_capacity(targets.len());
        for &w in batch.loss_weights {
            weights.push(<F::Sum as Real>::of(w));
        }
        // A row of zeros for the pad, which the gradient of a tied embedding includes.
        let rows = self.vectors(embedding).dim(0)?;
        let mut vector_grad = vec![num_traits::zero(); rows * width];
        let (loss, hidden_grad, bias_grad, offset_grad) = with(&hidden, |h: &[F::Sum]| {
            let linear = OutputLayer {
                weight: &scaled.vectors,
                bias: &bias,
            };
            let forward = softmax_with_offsets::<F>(linear, h, targets, offsets);
            let mut loss = 0.0;
            for (ce, w) in forward.cross_entropy().zip(&weights) {
                loss += ce * w.double();
            }
            let offset_grad = offset_gradients(linear, h, targets, &forward, &weights);
            let sink = Sink::Gradient(&mut vector_grad[..items * width]);
            let (mut hidden_grad, mut bias_grad) = backward(
                &mut scaled.vectors,
                &bias,
                h,
                targets,
                &forward,
                &weights,
                sink,
            );
            let epsilon = self.options.label_smoothing;
            if epsilon > 0.0 {
                let smoothing = LabelSmoothing::new(epsilon, &scaled.vectors, &bias, width);
                let grads = (
                    &mut hidden_grad[..],
                    &mut vector_grad[..],
                    &mut bias_grad[..],
                );
                loss += smoothing.add(h, targets, &weights, grads);
            }
            Ok((loss, hidden_grad, bias_grad, offset_grad))
        })?;
        let loss = group.total(loss);
        if !loss.is_finite() {
            return Ok(HeadOutput::not_updated(loss, &hidden));
        }
        let mut own_grad = vec![num_traits::zero(); self.options.window];
        let mut event_grad = vec![num_traits::zero(); EVENT_BIASES];
        for (own, &grad) in own.iter().zip(&offset_grad) {
            own_grad[own.lag as usize] += grad;
            for i in own.event_biases() {
                event_grad[i] += grad;
            }
        }
        self.unscale(&scaled, &mut vector_grad[..items * width], width);
        let mut sums = [vector_grad, bias_grad, own_grad, event_grad];
        if !group.is_alone() {
            for sum in &mut sums {
                group.all_reduce_sum(F::Sum::as_buffer(sum));
            }
        }
        let [vector_grad, bias_grad, own_grad, event_grad] = sums;
        let small = [
            (
                Some(&self.bias).filter(|_| self.options.has_item_bias),
                bias_grad,
            ),
            (self.own_bias.as_ref(), own_grad),
            (self.event_bias.as_ref(), event_grad),
        ];
        for (param, grad) in small {
            if let Some(param) = param {
                let n = grad.len();
                param.step(adam, &Tensor::from_vec(grad, n, &Device::Cpu)?)?;
            }
        }
        let vector_grad = Tensor::from_vec(vector_grad, (rows, width), &Device::Cpu)?;
        Ok(HeadOutput {
            ce_loss: Some(loss),
            td_loss: 0.0,
            hidden_grad: Tensor::from_vec(hidden_grad, hidden.shape(), &Device::Cpu)?,
            item_grad: self.step_vectors(adam, vector_grad)?,
            item_rows: None,
        })
    }

    /// Updates untied item vectors; returns the gradient of tied ones.
    fn step_vectors(&self, adam: AdamStep<'_>, grad: Tensor) -> Result<Option<Tensor>> {
        match &self.weight {
            Some(weight) => {
                weight.step(adam, &grad)?;
                Ok(None)
            }
            None => Ok(Some(grad)),
        }
    }

    /// e_i / tau of all items, or the vectors themselves for dot products.
    fn scale<T: Real>(&self, vectors: &[T], width: usize) -> Scaled<T> {
        let Some(temperature) = self.options.temperature else {
            return Scaled {
                vectors: vectors.to_vec(),
                norms: Vec::new(),
            };
        };
        let temperature = T::of(temperature);
        let mut scaled = vectors.to_vec();
        let mut norms = vec![T::zero(); vectors.len() / width];
        scaled
            .par_chunks_mut(width)
            .zip(norms.par_iter_mut())
            .for_each(|(row, norm)| {
                *norm = norm_of(row);
                let factor = (*norm * temperature).recip();
                for x in row {
                    *x *= factor;
                }
            });
        Scaled {
            vectors: scaled,
            norms,
        }
    }

    /// Turns gradients by the scaled vectors into gradients by the item vectors, in place.
    fn unscale<T: Real>(&self, scaled: &Scaled<T>, grads: &mut [T], width: usize) {
        let Some(temperature) = self.options.temperature else {
            return;
        };
        let tau = T::of(temperature);
        let rows = scaled.vectors.par_chunks(width).zip(&scaled.norms);
        grads
            .par_chunks_mut(width)
            .zip(rows)
            .for_each(|(grad, (vector, &norm))| {
                // With v = e / tau and G = dL/dv: g = G / tau, and (g . e) e = tau (G . v) v.
                let mut dot = T::zero();
                for (&g, &v) in grad.iter().zip(vector) {
                    dot += g * v;
                }
                let along = dot * tau;
                let factor = norm.recip();
                for (g, &v) in grad.iter_mut().zip(vector) {
                    *g = (*g / tau - along * v) * factor;
                }
            });
    }

    /// The own items of the windows, none if they are ranked like any other.
    fn own(&self, windows: &Windows) -> Vec<OwnItem> {
        match self.options.own_items {
            OwnItems::Keep | OwnItems::Auto => Vec::new(),
            OwnItems::Exclude | OwnItems::Learned => own_items(windows),
        }
    }

    /// o_bi; `targets` are given in training, where a target is never excluded.
    fn offsets<T: MutableStorage>(
        &self,
        own: &[OwnItem],
        targets: Option<&[u32]>,
    ) -> Result<ScoreOffsets<T>> {
        if self.own_bias.is_none() {
            return Ok(score_offsets(own, None, targets));
        }
        let (by_lag, by_events) = self.own_biases()?;
        let biases = OwnBiases {
            by_lag: &by_lag,
            by_events: &by_events,
        };
        Ok(score_offsets(own, Some(biases), targets))
    }

    /// Learned biases of own items by lag and by events, empty where there are none.
    fn own_biases<T: MutableStorage>(&self) -> Result<(Vec<T>, Vec<T>)> {
        let values = |param: &Option<AdamParam>| match param {
            Some(param) => copy_of(&param.param),
            None => Ok(Vec::new()),
        };
        Ok((values(&self.own_bias)?, values(&self.event_bias)?))
    }

    /// o_bi of windows at inference.
    pub(crate) fn inference_offsets(&self, windows: &Windows) -> Result<ScoreOffsets<f32>> {
        let f32s = |param: Option<&AdamParam>| match param {
            Some(param) => param.param.to_dtype(DType::F32)?.to_vec1::<f32>(),
            None => Ok(Vec::new()),
        };
        let by_lag = f32s(self.own_bias.as_ref())?;
        let by_events = f32s(self.event_bias.as_ref())?;
        let biases = OwnBiases {
            by_lag: &by_lag,
            by_events: &by_events,
        };
        let biases = self.own_bias.is_some().then_some(biases);
        Ok(score_offsets(&self.own(windows), biases, None))
    }

    /// Drops what was derived from the weights, since they change.
    pub(crate) fn weights_changed(&self) {
        self.packed.forget();
        *self.scaled.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The scaled item vectors `[items, width]` of the current weights.
    fn scaled(&self, embedding: &Tensor) -> Result<Arc<Tensor>> {
        let mut cached = self.scaled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scaled) = &*cached {
            return Ok(Arc::clone(scaled));
        }
        let vectors = self.vectors(embedding);
        let (items, width) = (self.bias.param.elem_count(), vectors.dim(1)?);
        let scaled = by_dtype!(vectors.dtype(), T => with(vectors, |all: &[T]| {
            let scaled = self.scale(&all[..items * width], width);
            Tensor::from_vec(scaled.vectors, (items, width), &Device::Cpu)
        }))?;
        let scaled = Arc::new(scaled);
        *cached = Some(Arc::clone(&scaled));
        Ok(scaled)
    }

    /// Calls `f` with the scaled vectors and a bias. CPU only.
    fn with_layer<T: MutableStorage, R>(
        &self,
        embedding: &Tensor,
        bias: &Tensor,
        f: impl FnOnce(OutputLayer<'_, T>) -> Result<R>,
    ) -> Result<R> {
        let scaled = self.scaled(embedding)?;
        with(&scaled, |weight: &[T]| {
            with(bias, |bias: &[T]| f(OutputLayer { weight, bias }))
        })
    }

    /// Ranks of the targets, if given, and the `k` best items of each hidden vector. Excluded items
    /// are in no list, and as targets they have the last rank. `bias` `[items]` is the layer's own
    /// or one in its place.
    pub(crate) fn rank(
        &self,
        hidden: &Tensor,
        windows: &Windows,
        targets: Option<&[u32]>,
        k: usize,
        embedding: &Tensor,
        bias: &Tensor,
    ) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
        let own = self.own(windows);
        let ranking = if self.backend == Backend::CpuFused {
            let (hidden, width) = (hidden.contiguous()?, hidden.dim(1)?);
            by_dtype!(hidden.dtype(), T => with(&hidden, |h: &[T]| {
                let offsets = self.offsets(&own, None)?;
                self.with_layer(embedding, bias, |linear| {
                    let packed = self.packed.get(linear.weight, width, h.len() / width);
                    let (packed, query) = (packed.as_deref(), (targets, k));
                    Ok(rank_packed(packed, linear, h, width, query, &offsets).map(in_f32))
                })
            }))?
        } else {
            reference::rank(self, hidden, &own, targets, k, embedding, bias)?
        };
        let mut ranking = match ranking {
            Ok(ranking) => ranking,
            Err(error) => return Ok(Err(error)),
        };
        if let (OwnItems::Exclude, Some(targets)) = (self.options.own_items, targets) {
            for own in &own {
                let row = own.row as usize;
                if targets[row] == own.item {
                    ranking.ranks[row] = self.bias.param.elem_count() as u32;
                }
            }
        }
        for top in &mut ranking.top {
            top.retain(|&(_, score)| f64::from(score) > EXCLUDED / 2.0);
        }
        Ok(Ok(ranking))
    }

    /// The score of each of `items` for one hidden vector `[1, width]`; `None` for an excluded
    /// item. `bias` is as in [`rank`](Self::rank).
    pub(crate) fn scores(
        &self,
        hidden: &Tensor,
        windows: &Windows,
        items: &[u32],
        embedding: &Tensor,
        bias: &Tensor,
    ) -> Result<Vec<Option<f64>>> {
        let mut scores: Vec<f64> = if self.backend == Backend::CpuFused {
            let repeated = hidden
                .broadcast_as((items.len(), hidden.dim(1)?))?
                .contiguous()?;
            let width = hidden.dim(1)?;
            by_dtype!(hidden.dtype(), T => with(&repeated, |h: &[T]| {
                self.with_layer(embedding, bias, |linear| {
                    let mut scores = Vec::with_capacity(items.len());
                    for score in score(linear, h, width, items) {
                        scores.push(score.double());
                    }
                    Ok(scores)
                })
            }))?
        } else {
            reference::scores(self, hidden, items, embedding, bias)?
        };
        let offsets = self.inference_offsets(windows)?;
        let mut found = Vec::with_capacity(items.len());
        for (&item, score) in items.iter().zip(&mut scores) {
            let offset = offsets.at(item, 0);
            let is_excluded = f64::from(offset) <= EXCLUDED;
            // In the precision of the ranking, for equal bits.
            let sum = f64::from(*score as f32 + offset);
            found.push((!is_excluded).then_some(sum));
        }
        Ok(found)
    }

    /// The layer in the layout for small batches; `None` unless it is `f32` on a CPU.
    pub(crate) fn catalogue(
        &self,
        embedding: &Tensor,
    ) -> Result<Option<TransposedItemMatrix<f32>>> {
        if self.backend != Backend::CpuFused || self.bias.param.dtype() != DType::F32 {
            return Ok(None);
        }
        let width = self.vectors(embedding).dim(1)?;
        self.with_layer(embedding, &self.bias.param, |linear| {
            Ok(Some(TransposedItemMatrix::new(linear, width)))
        })
    }
}

/// |x|, at least [`MIN_NORM`].
fn norm_of<T: Real>(row: &[T]) -> T {
    let mut sum = T::zero();
    for &x in row {
        sum += x * x;
    }
    num_traits::Float::max(sum.sqrt(), T::of(MIN_NORM))
}

fn copy_of<T: MutableStorage>(var: &Var) -> Result<Vec<T>> {
    with(var.as_tensor(), |values: &[T]| Ok(values.to_vec()))
}
