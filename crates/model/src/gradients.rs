//! The gradients of one batch with respect to the backbone and the embedded items.

use std::borrow::Cow;

use candle_core::{D, Tensor};

use crate::error::{Error, Result};
use crate::finite::find_non_finite;
use crate::param::AdamParam;
use crate::process_group::{ProcessGroup, gather_rows, sum_tensors};

/// Gradients of one batch with respect to the backbone's parameters and the embedded items.
pub(crate) struct Gradients<'a> {
    /// Parameters of the backbone that have a gradient, by name.
    pub(crate) backbone: Vec<(&'a str, &'a AdamParam, Tensor)>,
    /// Items looked up and the gradient of their rows.
    pub(crate) rows: Option<(Cow<'a, [u32]>, Tensor)>,
    /// Gradient of the item embedding by a tied output layer, of the whole batch.
    pub(crate) items: Option<Tensor>,
}

impl Gradients<'_> {
    /// Adds the gradient of further rows of the item embedding.
    pub(crate) fn add_rows(&mut self, (ids, grad): (Vec<u32>, Tensor)) -> candle_core::Result<()> {
        let Some((earlier, rows)) = self.rows.take() else {
            self.rows = Some((Cow::Owned(ids), grad));
            return Ok(());
        };
        let rows = rows.reshape(((), rows.dim(D::Minus1)?))?;
        let mut all = earlier.into_owned();
        all.extend(ids);
        self.rows = Some((Cow::Owned(all), Tensor::cat(&[rows, grad], 0)?));
        Ok(())
    }

    /// All gradients, each with its parameter's name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let backbone = self.backbone.iter().map(|(name, _, grad)| (*name, grad));
        let rows = self.rows.iter().map(|(_, grad)| ("item_emb.weight", grad));
        let items = self.items.iter().map(|grad| ("item_emb.weight", grad));
        backbone.chain(rows).chain(items)
    }

    /// Fails with [`Error::Diverged`] at `step` if a gradient is not finite.
    pub(crate) fn check(&self, step: u64) -> Result<()> {
        let (names, tensors): (Vec<&str>, Vec<&Tensor>) = self.all().unzip();
        let Some(bad) = find_non_finite(&tensors)? else {
            return Ok(());
        };
        Err(Error::Diverged {
            step,
            cause: format!("the gradient of {} is not finite", names[bad]),
        })
    }

    /// The whole batch's, when each rank has those of its share.
    pub(crate) fn all_reduce(self, group: &dyn ProcessGroup) -> Result<Self> {
        if group.is_alone() {
            return Ok(self);
        }
        let mut grads = Vec::with_capacity(self.backbone.len());
        for (.., grad) in &self.backbone {
            grads.push(grad.clone());
        }
        let sums = if grads.is_empty() {
            grads
        } else {
            sum_tensors(group, &grads)?
        };
        let mut backbone = Vec::with_capacity(sums.len());
        for ((name, param, _), sum) in self.backbone.into_iter().zip(sums) {
            backbone.push((name, param, sum));
        }
        let rows = match self.rows {
            Some((ids, grad)) => {
                let (ids, grad) = gather_rows(group, &ids, &grad)?;
                Some((Cow::Owned(ids), grad))
            }
            None => None,
        };
        Ok(Self {
            backbone,
            rows,
            items: self.items,
        })
    }
}
