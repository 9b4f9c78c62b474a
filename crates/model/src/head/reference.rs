//! Output layer in candle's operations: the formulas of [`head`](super) as they stand.
//!
//! Runs on any device and type. The `[B, items]` scores are stored.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};

use super::{Head, HeadBatch, HeadOutput};
use crate::param::AdamStep;

/// See [`Head::step`].
pub(super) fn step(head: &Head, adam: AdamStep<'_>, batch: &HeadBatch<'_>) -> Result<HeadOutput> {
    let hidden = Var::from_tensor(&batch.hidden.detach())?;
    let loss = cross_entropy(&all_scores(head, &hidden, &head.bias.param)?, batch)?;
    let ce_loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if !ce_loss.is_finite() {
        return Ok(HeadOutput::not_updated(ce_loss, batch.hidden));
    }
    Ok(HeadOutput {
        ce_loss: Some(ce_loss),
        td_loss: 0.0,
        item_grad: None,
        item_rows: None,
        hidden_grad: update(head, adam, &loss.backward()?, &hidden)?,
    })
}

/// `s_b = W h_b + c`, `[B, items]`.
fn all_scores(head: &Head, hidden: &Tensor, bias: &Tensor) -> Result<Tensor> {
    // The copy is needed: candle's product of a transposed view is wrong.
    let weight = head.weight.param.t()?.contiguous()?;
    hidden.matmul(&weight)?.broadcast_add(bias)
}

/// `sum_b w_b (log sum_i exp s_bi - s_b,y_b)` of scores `[B, items]`.
pub(crate) fn cross_entropy(scores: &Tensor, batch: &HeadBatch<'_>) -> Result<Tensor> {
    let n = batch.targets.len();
    let targets = Tensor::from_slice(batch.targets, (n, 1), scores.device())?;
    let weights = column(batch.loss_weights, scores)?;
    let max = scores.max_keepdim(1)?.detach();
    let log_sum_exp = (scores.broadcast_sub(&max)?.exp()?.sum_keepdim(1)?.log()? + max)?;
    let target_scores = scores.gather(&targets, 1)?;
    ((log_sum_exp - target_scores)? * weights)?.sum_all()
}

/// A column `[B, 1]` of the type and on the device of another tensor.
fn column(values: &[f64], like: &Tensor) -> Result<Tensor> {
    Tensor::from_slice(values, (values.len(), 1), &Device::Cpu)?
        .to_dtype(like.dtype())?
        .to_device(like.device())
}

/// See [`Head::chosen_score_step`].
pub(super) fn chosen_score_step(
    head: &Head,
    adam: AdamStep<'_>,
    hidden: &Tensor,
    items: &[u32],
    grads: &[f64],
) -> Result<Tensor> {
    let hidden = Var::from_tensor(&hidden.detach())?;
    let grads = column(grads, &hidden)?.squeeze(1)?;
    let loss = (chosen_scores(head, &hidden, items, &head.bias.param)? * grads)?.sum_all()?;
    update(head, adam, &loss.backward()?, &hidden)
}

/// See [`Head::scores`].
pub(super) fn scores(
    head: &Head,
    hidden: &Tensor,
    items: &[u32],
    bias: &Tensor,
) -> Result<Vec<f64>> {
    let scores = chosen_scores(head, hidden, items, bias)?;
    scores.to_dtype(DType::F64)?.to_vec1()
}

/// `W[i_b] . h_b + c[i_b]`, `[B]`.
fn chosen_scores(head: &Head, hidden: &Tensor, items: &[u32], bias: &Tensor) -> Result<Tensor> {
    let items = Tensor::from_slice(items, items.len(), hidden.device())?;
    let weight = head.weight.param.index_select(&items, 0)?;
    (hidden * weight)?.sum(1)? + bias.index_select(&items, 0)?
}

/// Applies the gradients to weight and bias; returns that of the hidden vectors.
fn update(head: &Head, adam: AdamStep<'_>, grads: &GradStore, hidden: &Var) -> Result<Tensor> {
    for param in [&head.weight, &head.bias] {
        if let Some(grad) = grads.get(&param.param) {
            param.step(adam, grad)?;
        }
    }
    match grads.get(hidden) {
        Some(grad) => Ok(grad.clone()),
        None => bail!("the loss does not depend on the hidden vectors"),
    }
}

/// See [`Head::rank`].
pub(super) fn rank(
    head: &Head,
    hidden: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
    bias: &Tensor,
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    let scores = all_scores(head, hidden, bias)?;
    rank_scores(&scores.to_dtype(DType::F32)?, targets, k)
}

/// Ranks of the targets, if given, and the `k` best items by scores `[B, items]`.
pub(crate) fn rank_scores(
    scores: &Tensor,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    // Zero times NaN or infinity is NaN.
    let zeros = (scores * 0.0)?.sum(1)?.to_vec1::<f32>()?;
    if let Some(row) = zeros.iter().position(|x| !x.is_finite()) {
        return Ok(Err(NonFiniteScore { row }));
    }
    let ranks = match targets {
        Some(targets) => target_ranks(scores, targets)?,
        None => Vec::new(),
    };
    let mut top = Vec::new();
    for row in scores.to_vec2::<f32>()? {
        top.push(top_k(row, k));
    }
    Ok(Ok(Ranking { ranks, top }))
}

/// Number of items that score at least as high as the target, `[B]`: ties count against it.
fn target_ranks(scores: &Tensor, targets: &[u32]) -> Result<Vec<u32>> {
    let targets = Tensor::from_slice(targets, (targets.len(), 1), scores.device())?;
    let target_scores = scores.gather(&targets, 1)?;
    let at_least = scores.broadcast_ge(&target_scores)?.to_dtype(DType::F32)?;
    let counts = at_least.sum(1)?.to_vec1::<f32>()?;
    Ok(counts.into_iter().map(|count| count as u32).collect())
}

/// The `k` best items with their scores, best first; equal scores by lower index.
fn top_k(scores: Vec<f32>, k: usize) -> Vec<(u32, f32)> {
    let k = k.min(scores.len());
    if k == 0 {
        return Vec::new();
    }
    let mut items: Vec<(u32, f32)> = (0..).zip(scores).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    items.select_nth_unstable_by(k - 1, order);
    items.truncate(k);
    items.sort_by(order);
    items
}
