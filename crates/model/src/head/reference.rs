//! The output layer from candle's operations, for devices that the kernels do not run on. The whole logits exist there.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};

use super::{Head, HeadStep};
use crate::param::AdamStep;

impl Head {
    pub(super) fn step_reference(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        targets: &[u32],
        scale: &[f64],
    ) -> Result<HeadStep> {
        let leaf = Var::from_tensor(&hidden.detach())?;
        let logits = self.logits(leaf.as_tensor())?;
        let top = logits.max_keepdim(1)?.detach();
        let lse = (logits.broadcast_sub(&top)?.exp()?.sum_keepdim(1)?.log()? + top)?;
        let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
        let scale =
            Tensor::from_slice(scale, (scale.len(), 1), &Device::Cpu)?.to_dtype(hidden.dtype())?;
        let loss = ((lse - logits.gather(&targets, 1)?)? * scale.to_device(hidden.device())?)?
            .sum_all()?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            return Ok(HeadStep {
                loss: Some(value),
                hidden: hidden.clone(),
            });
        }
        let grads = loss.backward()?;
        Ok(HeadStep {
            loss: Some(value),
            hidden: self.take(by, &grads, &leaf)?,
        })
    }

    pub(super) fn step_chosen_reference(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        items: &[u32],
        grads: &[f64],
    ) -> Result<Tensor> {
        let leaf = Var::from_tensor(&hidden.detach())?;
        let grads =
            Tensor::from_slice(grads, grads.len(), &Device::Cpu)?.to_dtype(hidden.dtype())?;
        let loss = (self.chosen(leaf.as_tensor(), items)? * grads.to_device(hidden.device())?)?
            .sum_all()?;
        self.take(by, &loss.backward()?, &leaf)
    }

    pub(super) fn scores_reference(&self, hidden: &Tensor, items: &[u32]) -> Result<Vec<f64>> {
        self.chosen(hidden, items)?.to_dtype(DType::F64)?.to_vec1()
    }

    /// The scores of `items[b]` for hidden vector b, `[B]`.
    fn chosen(&self, hidden: &Tensor, items: &[u32]) -> Result<Tensor> {
        let items = Tensor::from_slice(items, items.len(), hidden.device())?;
        let weight = self.weight.param.index_select(&items, 0)?;
        (hidden * weight)?.sum(1)? + self.bias.param.index_select(&items, 0)?
    }

    /// Steps weight and bias; returns the gradient of the hidden vectors.
    fn take(&self, by: AdamStep<'_>, grads: &GradStore, leaf: &Var) -> Result<Tensor> {
        for slot in [&self.weight, &self.bias] {
            if let Some(grad) = grads.get(&slot.param) {
                slot.step(by, grad)?;
            }
        }
        match grads.get(leaf) {
            Some(grad) => Ok(grad.clone()),
            None => bail!("the loss does not depend on the hidden vectors"),
        }
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        // The copy is needed: candle's product of a transposed view is wrong.
        hidden
            .matmul(&self.weight.param.t()?.contiguous()?)?
            .broadcast_add(&self.bias.param)
    }

    pub(super) fn rank_reference(
        &self,
        hidden: &Tensor,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
        let scores = self.logits(hidden)?.to_dtype(DType::F32)?;
        let bad = (&scores * 0.0)?.sum(1)?.to_vec1::<f32>()?;
        if let Some(row) = bad.iter().position(|x| !x.is_finite()) {
            return Ok(Err(NonFiniteScore { row }));
        }
        let ranks = match targets {
            Some(targets) => {
                let wanted = scores.gather(
                    &Tensor::from_slice(targets, (targets.len(), 1), scores.device())?,
                    1,
                )?;
                scores
                    .broadcast_ge(&wanted)?
                    .to_dtype(DType::F32)?
                    .sum(1)?
                    .to_vec1::<f32>()?
            }
            None => Vec::new(),
        };
        let k = k.min(scores.dim(1)?);
        let top = if k == 0 {
            vec![Vec::new(); scores.dim(0)?]
        } else {
            top_k(&scores, k)?
        };
        Ok(Ok(Ranking {
            ranks: ranks.into_iter().map(|r| r as u32).collect(),
            top,
        }))
    }
}

fn top_k(scores: &Tensor, k: usize) -> Result<Vec<Vec<(u32, f32)>>> {
    let rows = scores.to_vec2::<f32>()?;
    let best = |row: Vec<f32>| {
        let mut items: Vec<(u32, f32)> = row
            .into_iter()
            .enumerate()
            .map(|(i, s)| (i as u32, s))
            .collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        items.select_nth_unstable_by(k - 1, order);
        items.truncate(k);
        items.sort_by(order);
        items
    };
    Ok(rows.into_iter().map(best).collect())
}
