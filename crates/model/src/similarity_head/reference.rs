//! The formulas of [`similarity_head`](super) in candle's operations, on any device and type. The
//! `[B, items]` scores are stored.

use candle_core::{D, DType, Device, Result, Tensor, Var, bail};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};

use super::{MIN_NORM, OwnItem, SimilarityHead};
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
) -> Result<Tensor> {
    let items = head.bias.param.elem_count();
    let vectors = vectors.narrow(0, 0, items)?;
    let scaled = match head.options.temperature {
        Some(tau) => (normalised(&vectors)? / tau)?,
        None => vectors,
    };
    // The copy is needed: candle's product of a transposed view is wrong.
    hidden
        .matmul(&scaled.t()?.contiguous()?)?
        .broadcast_add(&head.bias.param)
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
    for (own, offset) in own
        .iter()
        .zip(score_offsets::<f64>(own, None, targets).as_slice())
    {
        places.push((own.row as usize * items) as u32 + own.item);
        lags.push(own.lag);
        fixed.push(offset.value);
    }
    let places = Tensor::from_vec(places, own.len(), like.device())?;
    let values = match &head.own_bias {
        Some(bias) => {
            let lags = Tensor::from_vec(lags, own.len(), like.device())?;
            bias.param.index_select(&lags, 0)?
        }
        None => Tensor::from_vec(fixed, own.len(), &Device::Cpu)?
            .to_dtype(like.dtype())?
            .to_device(like.device())?,
    };
    zeros.index_add(&places, &values, 0)?.reshape((n, items))
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
    let scores = plain_scores(head, &hidden, &vectors)?;
    let scores = (&scores + dense_offsets(head, own, Some(batch.targets), &scores)?)?;
    let loss = cross_entropy(&scores, batch)?;
    let ce_loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if !ce_loss.is_finite() {
        return Ok(HeadOutput::not_updated(ce_loss, batch.hidden));
    }
    let grads = loss.backward()?;
    for param in [Some(&head.bias), head.own_bias.as_ref()]
        .into_iter()
        .flatten()
    {
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
) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
    let scores = plain_scores(head, hidden, head.vectors(embedding))?;
    let scores = (&scores + dense_offsets(head, own, None, &scores)?)?;
    rank_scores(&scores.to_dtype(DType::F32)?, targets, k)
}

/// The score of each of `items` for one hidden vector, without offsets.
pub(super) fn scores(
    head: &SimilarityHead,
    hidden: &Tensor,
    items: &[u32],
    embedding: &Tensor,
) -> Result<Vec<f64>> {
    let scores = plain_scores(head, hidden, head.vectors(embedding))?;
    let scores = scores
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    Ok(items.iter().map(|&item| scores[item as usize]).collect())
}
