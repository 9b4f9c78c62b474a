//! Fused output layer on the CPU: two passes over tiles of the weight.
//!
//! The first pass computes the log-sum-exp of the scores, the second all gradients; the second
//! applies Adam to a tile of the weight as soon as the tile's gradient is complete.

use candle_core::{DType, Device, Result, Tensor};
use prl_kernels::Real;
use prl_kernels::ops::adam::{AdamSlices, update};
use prl_kernels::ops::embedding::{gather, sum_by_row};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking, rank_packed};
use prl_kernels::ops::score_offsets::ScoreOffsets;
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, Softmax, backward, score, softmax};
use prl_kernels::simd::bf16::Bf16Pair;
use prl_kernels::simd::operand::GemmOperand;
use prl_kernels::storage::{MutableStorage, with};

use super::{Head, HeadBatch, HeadOutput};
use crate::dtype::by_dtype;
use crate::param::AdamStep;
use crate::process_group::{Number, ProcessGroup};

/// See [`Head::step`].
pub(super) fn step(
    head: &Head,
    adam: AdamStep<'_>,
    batch: &HeadBatch<'_>,
    group: &dyn ProcessGroup,
) -> Result<HeadOutput> {
    if head.is_bf16 && batch.hidden.dtype() == DType::F32 {
        return step_in::<Bf16Pair>(head, adam, batch, group);
    }
    by_dtype!(batch.hidden.dtype(), T => step_in::<T>(head, adam, batch, group))
}

/// The step with matrix products of `F`: f32, f64, or pairs of bfloat16.
fn step_in<F: GemmOperand<Sum: Number>>(
    head: &Head,
    adam: AdamStep<'_>,
    batch: &HeadBatch<'_>,
    group: &dyn ProcessGroup,
) -> Result<HeadOutput> {
    let (hidden, targets) = (batch.hidden.contiguous()?, batch.targets);
    let forward: Softmax<F> = with(&hidden, |h: &[F::Sum]| {
        with_linear(head, |linear| Ok(softmax(linear, h, targets)))
    })?;
    let weights: Vec<F::Sum> = batch.loss_weights.iter().map(|&w| F::Sum::of(w)).collect();
    let mut ce_loss = 0.0;
    for (ce, w) in forward.cross_entropy().zip(&weights) {
        ce_loss += ce * w.double();
    }
    let ce_loss = group.total(ce_loss);
    if !ce_loss.is_finite() {
        return Ok(HeadOutput::not_updated(ce_loss, &hidden));
    }
    let (hidden_grad, bias_grad) = with(&hidden, |hidden: &[F::Sum]| {
        with(head.bias.param.as_tensor(), |bias: &[F::Sum]| {
            let pass = BackwardPass {
                forward: &forward,
                hidden,
                bias,
                targets,
                weights: &weights,
            };
            head.weight
                .with_slices(|weight| pass.update(weight, adam, group))
        })
    })?;
    let bias_grad = Tensor::from_vec(bias_grad, head.bias.param.shape(), &Device::Cpu)?;
    head.bias.step(adam, &bias_grad)?;
    Ok(HeadOutput {
        ce_loss: Some(ce_loss),
        td_loss: 0.0,
        item_grad: None,
        item_rows: None,
        hidden_grad: Tensor::from_vec(hidden_grad, hidden.shape(), &Device::Cpu)?,
    })
}

/// Inputs of the second pass.
struct BackwardPass<'a, F: GemmOperand> {
    forward: &'a Softmax<F>,
    hidden: &'a [F::Sum],
    bias: &'a [F::Sum],
    targets: &'a [u32],
    weights: &'a [F::Sum],
}

/// Gradients of the hidden vectors and of the bias.
type Grads<T> = (Vec<T>, Vec<T>);

impl<F: GemmOperand<Sum: Number>> BackwardPass<'_, F> {
    /// Computes all gradients and takes Adam's step on the weight.
    fn update(
        &self,
        weight: AdamSlices<'_, F::Sum>,
        adam: AdamStep<'_>,
        group: &dyn ProcessGroup,
    ) -> Grads<F::Sum> {
        if group.is_alone() {
            let sink = Sink::Adam(adam.step(), weight.first, weight.second);
            return self.run(weight.param, sink);
        }
        // The weight's and the bias's gradients are summed over the processes in one call.
        let weights = weight.param.len();
        let mut sums = vec![num_traits::zero(); weights + self.bias.len()];
        let (weight_grad, bias_sum) = sums.split_at_mut(weights);
        let (hidden_grad, bias_grad) = self.run(weight.param, Sink::Gradient(weight_grad));
        bias_sum.copy_from_slice(&bias_grad);
        group.all_reduce_sum(F::Sum::as_buffer(&mut sums));
        let bias_grad = sums.split_off(weights);
        update(adam.step(), weight, &sums);
        (hidden_grad, bias_grad)
    }

    fn run(&self, weight: &mut [F::Sum], sink: Sink<'_, F::Sum>) -> Grads<F::Sum> {
        backward(
            weight,
            self.bias,
            self.hidden,
            self.targets,
            self.forward,
            self.weights,
            sink,
        )
    }
}

/// See [`Head::chosen_score_step`].
pub(super) fn chosen_score_step(
    head: &Head,
    adam: AdamStep<'_>,
    hidden: &Tensor,
    items: &[u32],
    grads: &[f64],
) -> Result<Tensor> {
    let hidden = hidden.contiguous()?;
    by_dtype!(hidden.dtype(), T => chosen_score_step_in::<T>(head, adam, &hidden, items, grads))
}

fn chosen_score_step_in<T: MutableStorage>(
    head: &Head,
    adam: AdamStep<'_>,
    hidden: &Tensor,
    items: &[u32],
    grads: &[f64],
) -> Result<Tensor> {
    let width = hidden.dim(1)?;
    // dL/dh_b = g_b W[i_b], before W is updated.
    let chosen = with(head.weight.param.as_tensor(), |weight: &[T]| {
        Ok(gather(weight, width, items))
    })?;
    let hidden_grad = scale_rows(&chosen, grads, width);
    // dL/dW[i] = sum of g_b h_b over the b with i_b = i.
    let (rows, weight_grad) = with(hidden, |h: &[T]| {
        Ok(sum_by_row(items, &scale_rows(h, grads, width), width))
    })?;
    head.weight.step_rows(adam.step(), &rows, &weight_grad)?;
    let mut bias_grad = vec![T::zero(); head.bias.param.elem_count()];
    for (&item, &g) in items.iter().zip(grads) {
        bias_grad[item as usize] += T::of(g);
    }
    let bias_grad = Tensor::from_vec(bias_grad, head.bias.param.shape(), &Device::Cpu)?;
    head.bias.step(adam, &bias_grad)?;
    Tensor::from_vec(hidden_grad, hidden.shape(), &Device::Cpu)
}

/// Row `b` of `rows`, `[B, width]`, times `factors[b]`.
fn scale_rows<T: Real>(rows: &[T], factors: &[f64], width: usize) -> Vec<T> {
    let mut scaled = Vec::with_capacity(rows.len());
    for (row, &factor) in rows.chunks_exact(width).zip(factors) {
        scaled.extend(row.iter().map(|&x| x * T::of(factor)));
    }
    scaled
}

/// See [`Head::scores`].
pub(super) fn scores(
    head: &Head,
    hidden: &Tensor,
    items: &[u32],
    bias: &Tensor,
) -> Result<Vec<f64>> {
    let (hidden, width) = (hidden.contiguous()?, hidden.dim(1)?);
    by_dtype!(hidden.dtype(), T => with(&hidden, |h: &[T]| {
        with_bias(head, bias, |linear| {
            Ok(score(linear, h, width, items).into_iter().map(Real::double).collect())
        })
    }))
}

/// See [`Head::rank`].
pub(super) fn rank(
    head: &Head,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
    bias: &Tensor,
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    let (hidden, width) = (hidden.contiguous()?, hidden.dim(1)?);
    by_dtype!(hidden.dtype(), T => with(&hidden, |h: &[T]| {
        with_bias(head, bias, |linear| {
            let packed = head.packed.get(linear.weight, width, h.len() / width);
            let (query, none) = ((targets, k), ScoreOffsets::none());
            let ranking = rank_packed(packed.as_deref(), linear, h, width, query, &none);
            Ok(ranking.map(in_f32))
        })
    }))
}

/// The best item of each hidden vector, without packed items.
pub(super) fn best(
    head: &Head,
    hidden: &Tensor,
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    let (hidden, width) = (hidden.contiguous()?, hidden.dim(1)?);
    by_dtype!(hidden.dtype(), T => with(&hidden, |h: &[T]| {
        with_linear(head, |linear| {
            Ok(prl_kernels::ops::rank::rank(linear, h, width, None, 1).map(in_f32))
        })
    }))
}

pub(crate) fn in_f32<T: Real>(ranking: Ranking<T>) -> Ranking<f32> {
    let mut top = Vec::with_capacity(ranking.top.len());
    for row in ranking.top {
        let mut narrowed = Vec::with_capacity(row.len());
        for (item, score) in row {
            narrowed.push((item, score.double() as f32));
        }
        top.push(narrowed);
    }
    Ranking {
        ranks: ranking.ranks,
        top,
    }
}

/// Calls `f` with weight and bias as slices.
pub(super) fn with_linear<T: MutableStorage, R>(
    head: &Head,
    f: impl FnOnce(OutputLayer<'_, T>) -> Result<R>,
) -> Result<R> {
    with_bias(head, head.bias.param.as_tensor(), f)
}

/// As [`with_linear`], with another bias in place of the layer's.
fn with_bias<T: MutableStorage, R>(
    head: &Head,
    bias: &Tensor,
    f: impl FnOnce(OutputLayer<'_, T>) -> Result<R>,
) -> Result<R> {
    with(head.weight.param.as_tensor(), |weight: &[T]| {
        with(bias, |bias: &[T]| f(OutputLayer { weight, bias }))
    })
}
