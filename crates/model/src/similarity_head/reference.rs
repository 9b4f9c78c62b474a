//! The formulas of [`similarity_head`](super) in candle's operations, on any device and type. The
//! `[B, items]` scores are stored.

use candle_core::{D, DType, Device, Result, Tensor, Var, bail};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};

use super::{EVENT_BIASES, MIN_NORM, OwnItem, SimilarityHead};
use crate::head::reference::{cross_entropy, rank_scores};
use crate::head::{HeadBatch, HeadOutput};
use crate::own_items::score_offsets;
use crate::param::AdamStep;

/// `x / |x|` by rows.
pub(crate) fn normalised(x: &Tensor) -> Result<Tensor> {
    let norm = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    x.broadcast_div(&norm.maximum(MIN_NORM)?)
}

/// `s_bi` without offsets, `[B, items]`.
pub(super) fn plain_scores(
    head: &SimilarityHead,
    hidden: &Tensor,
    vectors: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    let items = bias.elem_count();
    let vectors = vectors.narrow(0, 0, items)?;
    let scaled = match head.options.temperature {
        Some(tau) => (normalised(&vectors)? / tau)?,
        None => vectors,
    };
    // The copy is needed: candle's product of a transposed view is wrong.
    hidden
        .matmul(&scaled.t()?.contiguous()?)?
        .broadcast_add(bias)
}

/// `o_bi` as a matrix `[B, items]`, differentiable by the own-item bias.
pub(super) fn dense_offsets(
    head: &SimilarityHead,
    own: &[OwnItem],
    targets: Option<&[u32]>,
    like: &Tensor,
) -> Result<Tensor> {
    let (n, items) = like.dims2()?;
    let zeros = Tensor::zeros(n * items, like.dtype(), like.device())?;
    if own.is_empty() {
        return zeros.reshape((n, items));
    }
    let (mut places, mut lags, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
    let mut events = vec![0.0; own.len() * EVENT_BIASES];
    let excluded = score_offsets::<f64>(own, None, targets);
    for (i, (own, offset)) in own.iter().zip(excluded.as_slice()).enumerate() {
        places.push((own.row as usize * items) as u32 + own.item);
        lags.push(own.lag);
        fixed.push(offset.value);
        for bias in own.event_biases() {
            events[i * EVENT_BIASES + bias] = 1.0;
        }
    }
    let places = Tensor::from_vec(places, own.len(), like.device())?;
    let values = match &head.own_bias {
        Some(bias) => {
            let lags = Tensor::from_vec(lags, own.len(), like.device())?;
            let by_lag = bias.param.index_select(&lags, 0)?;
            match &head.event_bias {
                Some(bias) => {
                    let events = Tensor::from_vec(events, (own.len(), EVENT_BIASES), &Device::Cpu)?
                        .to_dtype(like.dtype())?
                        .to_device(like.device())?;
                    (by_lag + events.broadcast_mul(&bias.param)?.sum(1)?)?
                }
                None => by_lag,
            }
        }
        None => Tensor::from_vec(fixed, own.len(), &Device::Cpu)?
            .to_dtype(like.dtype())?
            .to_device(like.device())?,
    };
    zeros.index_add(&places, &values, 0)?.reshape((n, items))
}

/// `epsilon sum_b w_b (r_b,y_b - mean_i r_bi)` of the scores r `[B, items]` without offsets.
fn label_smoothing(head: &SimilarityHead, plain: &Tensor, batch: &HeadBatch<'_>) -> Result<Tensor> {
    let n = batch.targets.len();
    let targets = Tensor::from_slice(batch.targets, (n, 1), plain.device())?;
    let weights = Tensor::from_slice(batch.loss_weights, n, &Device::Cpu)?
        .to_dtype(plain.dtype())?
        .to_device(plain.device())?;
    let own = plain.gather(&targets, 1)?.squeeze(1)?;
    let above = (own - plain.mean(1)?)?;
    (above * weights)?.sum_all()? * head.options.label_smoothing
}

/// See [`SimilarityHead::step`].
pub(super) fn step(
    head: &SimilarityHead,
    adam: AdamStep<'_>,
    batch: &HeadBatch<'_>,
    own: &[OwnItem],
    embedding: &Tensor,
) -> Result<HeadOutput> {
    let hidden = Var::from_tensor(&batch.hidden.detach())?;
    let vectors = Var::from_tensor(&head.vectors(embedding).detach())?;
    let plain = plain_scores(head, &hidden, &vectors, &head.bias.param)?;
    let scores = (&plain + dense_offsets(head, own, Some(batch.targets), &plain)?)?;
    let mut loss = cross_entropy(&scores, batch)?;
    if head.options.label_smoothing > 0.0 {
        loss = (loss + label_smoothing(head, &plain, batch)?)?;
    }
    let ce_loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if !ce_loss.is_finite() {
        return Ok(HeadOutput::not_updated(ce_loss, batch.hidden));
    }
    let grads = loss.backward()?;
    let item_bias = Some(&head.bias).filter(|_| head.options.has_item_bias);
    let small = [item_bias, head.own_bias.as_ref(), head.event_bias.as_ref()];
    for param in small.into_iter().flatten() {
        if let Some(grad) = grads.get(&param.param) {
            param.step(adam, grad)?;
        }
    }
    let (Some(hidden_grad), Some(vector_grad)) = (grads.get(&hidden), grads.get(&vectors)) else {
        bail!("the loss does not depend on the hidden vectors");
    };
    Ok(HeadOutput {
        ce_loss: Some(ce_loss),
        td_loss: 0.0,
        hidden_grad: hidden_grad.clone(),
        item_grad: head.step_vectors(adam, vector_grad.clone())?,
        item_rows: None,
    })
}

/// See [`SimilarityHead::rank`].
pub(super) fn rank(
    head: &SimilarityHead,
    hidden: &Tensor,
    own: &[OwnItem],
    targets: Option<&[u32]>,
    k: usize,
    embedding: &Tensor,
    bias: &Tensor,
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    let scores = plain_scores(head, hidden, head.vectors(embedding), bias)?;
    let scores = (&scores + dense_offsets(head, own, None, &scores)?)?;
    rank_scores(&scores.to_dtype(DType::F32)?, targets, k)
}

/// The score of each of `items` for one hidden vector, without offsets.
pub(super) fn scores(
    head: &SimilarityHead,
    hidden: &Tensor,
    items: &[u32],
    embedding: &Tensor,
    bias: &Tensor,
) -> Result<Vec<f64>> {
    let scores = plain_scores(head, hidden, head.vectors(embedding), bias)?;
    let scores = scores
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    Ok(items.iter().map(|&item| scores[item as usize]).collect())
}
