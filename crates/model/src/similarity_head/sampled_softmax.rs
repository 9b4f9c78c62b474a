//! Sampled softmax: a training step of the [similarity head](super) whose cost does not grow with
//! the number of items.
//!
//! For an example `b` with the target `y`, let `P_b` be `y` and the window's own items, and `S` the
//! negatives of the step, the same for all examples, where item `j` occurs `m_j` times and is
//! expected `E_j` times (`N q_j` for `N` draws by `q`; [`NegativeSampler`]):
//!
//! ```text
//! Z_b = sum_(i in P_b) exp s_bi + sum_(j in S, not in P_b) exp(s_bj + ln(m_j / E_j))
//! L   = sum_b w_b (log Z_b - s_by)
//! dL/ds_bi = w_b (exp(s_bi - log Z_b) - [i = y])              i in P_b
//! dL/ds_bj = w_b exp(s_bj + ln(m_j / E_j) - log Z_b)          j in S, not in P_b
//! ```
//!
//! The target is in the sum with probability 1 and so has no correction: with it, as in the classic
//! form of logQ, the sum would be biased. `E[Z_b]` is the sum over all items, the gradient of the
//! target's score is `-w_b (1 - p_by)`, and the negatives estimate the rest (Khrylchenko et al.,
//! Correcting the LogQ Correction, 2025, arXiv 2507.09331, where `1 - p_by` is the weight of
//! an example). A negative that is the target (an accidental hit) or an own item is left
//! out of the second sum, since the first one has it. Own items are in the first sum because they
//! have the largest scores: estimated by a sample, they would make `Z_b` vary most. An excluded own
//! item is in neither. With all items as uniform negatives, `L` is the loss of the full softmax.
//!
//! The vectors of the negatives, targets and own items are gathered and scaled; the sweeps of the
//! fused head run over the negatives. Lazy Adam updates the rows that are touched
//! ([`update_touched`](prl_kernels::ops::adam::update_touched)).

#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Result, Tensor};
use num_traits::Float;
use prl_dataset::Windows;
use prl_kernels::Real;
use prl_kernels::ops::embedding::{gather as gather_rows_of, sum_by_row};
use prl_kernels::ops::score_offsets::{EXCLUDED, ScoreOffset, ScoreOffsets};
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, backward, softmax_relative_to};
use prl_kernels::simd::bf16::Bf16Pair;
use prl_kernels::simd::operand::GemmOperand;
use prl_kernels::storage::with;

use super::{Scaled, SimilarityHead};
use crate::dtype::by_dtype;
use crate::head::{HeadBatch, HeadOutput};
use crate::negative_sampler::{NegativeSampler, Negatives};
use crate::own_items::{EVENT_BIASES, OwnBiases, OwnItem, OwnItems, own_items};
use crate::param::AdamStep;
use crate::process_group::{Number, ProcessGroup, gather, gather_rows};

/// A training step with sampled negatives.
pub(super) struct SampledStep<'a> {
    pub(super) head: &'a SimilarityHead,
    pub(super) sampler: &'a NegativeSampler,
    pub(super) adam: AdamStep<'a>,
    pub(super) windows: &'a Windows,
    /// The item embedding.
    pub(super) embedding: &'a Tensor,
    pub(super) group: &'a dyn ProcessGroup,
}

/// The loss and its gradients.
struct Gradients<T> {
    loss: f64,
    hidden: Vec<T>,
    /// By the vectors of the candidates.
    vectors: Vec<T>,
    /// By the biases of the candidates.
    bias: Vec<T>,
    /// By the own-item bias, `[window]`.
    own_bias: Vec<T>,
    /// By the bias of own items by their events, `[EVENT_BIASES]`.
    event_bias: Vec<T>,
}

impl SampledStep<'_> {
    /// See [`SimilarityHead::step`].
    pub(super) fn run(&self, batch: &HeadBatch<'_>) -> Result<HeadOutput> {
        if self.head.is_bf16 && batch.hidden.dtype() == DType::F32 {
            return self.run_in::<Bf16Pair>(batch);
        }
        by_dtype!(batch.hidden.dtype(), T => self.run_in::<T>(batch))
    }

    fn run_in<F: GemmOperand<Sum: Number>>(&self, batch: &HeadBatch<'_>) -> Result<HeadOutput> {
        let (head, group) = (self.head, self.group);
        let hidden = batch.hidden.contiguous()?;
        let width = hidden.dim(1)?;
        let negatives = self.negatives(batch.targets);
        let own = own_items(self.windows);
        let (by_lag, by_events) = head.own_biases::<F::Sum>()?;
        let biases = OwnBiases {
            by_lag: &by_lag,
            by_events: &by_events,
        };
        let rule = OwnItemRule {
            own_items: head.options.own_items,
            biases: head.own_bias.is_some().then_some(biases),
        };
        let exact = ExactTerms::new(&own, batch.targets, rule);
        let candidates = Candidates::new(negatives, &exact.terms);
        let layer = self.layer(&candidates, width)?;
        let mut weights = Vec::with_capacity(batch.targets.len());
        for &w in batch.loss_weights {
            weights.push(<F::Sum as Real>::of(w));
        }
        let mut grads = with(&hidden, |h: &[F::Sum]| {
            Ok(exact.gradients::<F>(&candidates, &layer, h, &weights))
        })?;
        let loss = group.total(grads.loss);
        if !loss.is_finite() {
            return Ok(HeadOutput::not_updated(loss, &hidden));
        }
        head.unscale(&layer.scaled, &mut grads.vectors, width);
        let item_rows = self.update(&candidates.ids, &mut grads, width)?;
        Ok(HeadOutput {
            ce_loss: Some(loss),
            td_loss: 0.0,
            hidden_grad: Tensor::from_vec(grads.hidden, hidden.shape(), &Device::Cpu)?,
            item_grad: None,
            item_rows,
        })
    }

    /// The negatives of this step; `targets` are those of this process.
    fn negatives(&self, targets: &[u32]) -> Negatives {
        if self.sampler.is_in_batch() && !self.group.is_alone() {
            return self.sampler.draw(self.adam.t, &gather(self.group, targets));
        }
        self.sampler.draw(self.adam.t, targets)
    }

    /// The scaled vectors and the biases of the candidates.
    fn layer<T: Number>(&self, candidates: &Candidates, width: usize) -> Result<Layer<T>> {
        let vectors = self.head.vectors(self.embedding);
        let rows = with(vectors, |all: &[T]| {
            Ok(gather_rows_of(all, width, &candidates.ids))
        })?;
        let bias = with(self.head.bias.param.as_tensor(), |all: &[T]| {
            Ok(gather_rows_of(all, 1, &candidates.ids))
        })?;
        Ok(Layer {
            scaled: self.head.scale(&rows, width),
            bias,
            window: self.windows.window_len,
        })
    }

    /// Updates the biases, and untied vectors; returns the gradient of tied ones.
    fn update<T: Number>(
        &self,
        ids: &[u32],
        grads: &mut Gradients<T>,
        width: usize,
    ) -> Result<Option<(Vec<u32>, Tensor)>> {
        let (head, group) = (self.head, self.group);
        let vectors = std::mem::take(&mut grads.vectors);
        let mut vectors = Tensor::from_vec(vectors, (ids.len(), width), &Device::Cpu)?;
        let (mut rows, mut bias) = (ids.to_vec(), std::mem::take(&mut grads.bias));
        if !group.is_alone() {
            // In the order of the ranks, so that every process sums the same rows alike.
            (rows, vectors) = gather_rows(group, ids, &vectors)?;
            bias = gather(group, &bias);
            group.all_reduce_sum(T::as_buffer(&mut grads.own_bias));
            group.all_reduce_sum(T::as_buffer(&mut grads.event_bias));
        }
        if head.options.has_item_bias {
            let (touched, bias) = sum_by_row(&rows, &bias, 1);
            head.bias.step_touched(self.adam, &touched, &bias)?;
        }
        let own = [
            (&head.own_bias, &grads.own_bias),
            (&head.event_bias, &grads.event_bias),
        ];
        for (param, grad) in own {
            if let Some(param) = param {
                let grad = Tensor::from_slice(grad, param.param.shape(), &Device::Cpu)?;
                param.step(self.adam, &grad)?;
            }
        }
        let Some(weight) = &head.weight else {
            return Ok(Some((rows, vectors)));
        };
        with(&vectors, |vectors: &[T]| {
            let (touched, grads) = sum_by_row(&rows, vectors, width);
            weight.step_touched(self.adam, &touched, &grads)
        })?;
        Ok(None)
    }
}

/// Items whose vectors a step reads.
struct Candidates {
    /// The negatives, and then the items of exact terms that are not among them; both ascend.
    ids: Vec<u32>,
    negatives: Negatives,
}

impl Candidates {
    fn new<T>(negatives: Negatives, terms: &[Term<T>]) -> Self {
        let mut others = Vec::with_capacity(terms.len());
        for term in terms {
            if negatives.items.binary_search(&term.item).is_err() {
                others.push(term.item);
            }
        }
        others.sort_unstable();
        others.dedup();
        let mut ids = negatives.items.clone();
        ids.append(&mut others);
        Self { ids, negatives }
    }

    /// Place of a negative.
    fn negative(&self, item: u32) -> Option<usize> {
        self.negatives.items.binary_search(&item).ok()
    }

    /// Place of a candidate.
    fn place(&self, item: u32) -> usize {
        let first = self.negatives.items.len();
        let other = |place: usize| first + place;
        self.negative(item).unwrap_or_else(|| {
            let found = self.ids[first..].binary_search(&item);
            other(found.unwrap_or_else(|place| place))
        })
    }
}

/// Scaled vectors and biases of the candidates.
struct Layer<T> {
    scaled: Scaled<T>,
    bias: Vec<T>,
    /// Window length.
    window: usize,
}

/// Treatment of own items.
#[derive(Clone, Copy)]
struct OwnItemRule<'a, T> {
    own_items: OwnItems,
    /// Their biases, if they are learned.
    biases: Option<OwnBiases<'a, T>>,
}

/// A term of the first sum of `Z_b`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Term<T> {
    row: u32,
    item: u32,
    is_target: bool,
    /// Lag and events of an own item.
    own: Option<OwnItem>,
    /// Added to the score.
    offset: T,
}

/// The first sum of each `Z_b`, and what it leaves out of the second one.
struct ExactTerms<T> {
    /// By row, then by item.
    terms: Vec<Term<T>>,
    /// (item, row) of the terms and of excluded items.
    left_out: Vec<(u32, u32)>,
}

impl<T: Real> ExactTerms<T> {
    fn new(own: &[OwnItem], targets: &[u32], rule: OwnItemRule<'_, T>) -> Self {
        let mut terms = Vec::with_capacity(own.len() + targets.len());
        let mut left_out = Vec::with_capacity(own.len() + targets.len());
        let mut is_own = vec![false; targets.len()];
        for own in own {
            let (item, row) = (own.item, own.row);
            let is_target = targets[row as usize] == item;
            is_own[row as usize] |= is_target;
            left_out.push((item, row));
            if rule.own_items == OwnItems::Exclude && !is_target {
                continue;
            }
            let offset = match rule.biases {
                Some(biases) => biases.of(own),
                None => T::zero(),
            };
            terms.push(Term {
                row,
                item,
                is_target,
                own: Some(*own),
                offset,
            });
        }
        for ((&item, row), is_own) in targets.iter().zip(0..).zip(is_own) {
            if is_own {
                continue;
            }
            left_out.push((item, row));
            terms.push(Term {
                row,
                item,
                is_target: true,
                own: None,
                offset: T::zero(),
            });
        }
        terms.sort_unstable_by_key(|term| (term.row, term.item));
        Self { terms, left_out }
    }

    /// Offsets that leave negatives out of the second sum.
    fn left_out_of(&self, candidates: &Candidates) -> ScoreOffsets<T> {
        let mut offsets = Vec::new();
        for &(item, row) in &self.left_out {
            if let Some(place) = candidates.negative(item) {
                offsets.push(ScoreOffset {
                    item: place as u32,
                    row,
                    value: T::of(EXCLUDED),
                });
            }
        }
        ScoreOffsets::new(offsets)
    }

    /// Loss and gradients for hidden vectors `h`, by the scaled vectors.
    fn gradients<F: GemmOperand<Sum = T>>(
        &self,
        candidates: &Candidates,
        layer: &Layer<T>,
        h: &[T],
        weights: &[T],
    ) -> Gradients<T> {
        let width = h.len() / weights.len().max(1);
        let n = candidates.negatives.items.len();
        let scores = self.scores::<F>(candidates, layer, h, width);
        let (targets, exact_sums) = self.sums(&scores, weights.len());
        let mut bias = layer.bias[..n].to_vec();
        for (bias, &correction) in bias.iter_mut().zip(&candidates.negatives.corrections) {
            *bias += T::of(correction);
        }
        let mut vectors = layer.scaled.vectors[..n * width].to_vec();
        let negatives = OutputLayer {
            weight: &vectors,
            bias: &bias,
        };
        let offsets = self.left_out_of(candidates);
        let mut softmax = softmax_relative_to::<F>(negatives, h, &targets, offsets);
        softmax.add_terms(&exact_sums);
        let mut grads = Gradients {
            loss: 0.0,
            hidden: Vec::new(),
            vectors: vec![T::zero(); layer.scaled.vectors.len()],
            bias: Vec::new(),
            own_bias: vec![T::zero(); layer.window],
            event_bias: vec![T::zero(); EVENT_BIASES],
        };
        for (ce, w) in softmax.cross_entropy().zip(weights) {
            grads.loss += ce * w.double();
        }
        let sink = Sink::Gradient(&mut grads.vectors[..n * width]);
        (grads.hidden, grads.bias) = backward(&mut vectors, &bias, h, &[], &softmax, weights, sink);
        grads.bias.resize(layer.bias.len(), T::zero());
        for (term, &score) in self.terms.iter().zip(&scores) {
            let (row, place) = (term.row as usize, candidates.place(term.item));
            let p = Float::exp(score - softmax.log_sum_exp[row]);
            let is_target = if term.is_target { T::one() } else { T::zero() };
            let grad = weights[row] * (p - is_target);
            let vector = &layer.scaled.vectors[place * width..][..width];
            let h = &h[row * width..][..width];
            for (sum, &v) in grads.hidden[row * width..][..width].iter_mut().zip(vector) {
                *sum += grad * F::rounded(v);
            }
            for (sum, &h) in grads.vectors[place * width..][..width].iter_mut().zip(h) {
                *sum += grad * F::rounded(h);
            }
            grads.bias[place] += grad;
            if let Some(own) = &term.own {
                grads.own_bias[own.lag as usize] += grad;
                for i in own.event_biases() {
                    grads.event_bias[i] += grad;
                }
            }
        }
        grads
    }

    /// The score of each term.
    fn scores<F: GemmOperand<Sum = T>>(
        &self,
        candidates: &Candidates,
        layer: &Layer<T>,
        h: &[T],
        width: usize,
    ) -> Vec<T> {
        let mut scores = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let place = candidates.place(term.item);
            let vector = &layer.scaled.vectors[place * width..][..width];
            let mut score = layer.bias[place] + term.offset;
            for (&v, &h) in vector.iter().zip(&h[term.row as usize * width..]) {
                score += F::rounded(v) * F::rounded(h);
            }
            scores.push(score);
        }
        scores
    }

    /// Of each row, the target's score and the log-sum-exp of all terms.
    fn sums(&self, scores: &[T], rows: usize) -> (Vec<T>, Vec<T>) {
        let mut targets = vec![T::zero(); rows];
        let mut largest = vec![T::neg_infinity(); rows];
        for (term, &score) in self.terms.iter().zip(scores) {
            let row = term.row as usize;
            largest[row] = Float::max(largest[row], score);
            if term.is_target {
                targets[row] = score;
            }
        }
        let mut sums = vec![T::zero(); rows];
        for (term, &score) in self.terms.iter().zip(scores) {
            let row = term.row as usize;
            sums[row] += Float::exp(score - largest[row]);
        }
        for (sum, &largest) in sums.iter_mut().zip(&largest) {
            *sum = largest + Float::ln(*sum);
        }
        (targets, sums)
    }
}
