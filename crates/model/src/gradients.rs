//! The gradients of one batch with respect to the backbone and the embedded items.

use std::borrow::Cow;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::finite::find_non_finite;
use crate::param::AdamParam;
use crate::process_group::{ProcessGroup, gather_rows, sum_tensors};

/// The gradients of a batch by all between the output layer and the embedding.
pub(crate) struct Gradients<'a> {
    /// By the parameters of the backbone that have one.
    pub(crate) backbone: Vec<(&'a str, &'a AdamParam, Tensor)>,
    /// The embedded items, and by their rows.
    pub(crate) rows: Option<(Cow<'a, [u32]>, Tensor)>,
}

impl Gradients<'_> {
    /// Each with the name of what it is by.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let backbone = self.backbone.iter().map(|(name, _, grad)| (*name, grad));
        backbone.chain(self.rows.iter().map(|(_, grad)| ("embedding.weight", grad)))
    }

    /// Whether all are finite.
    ///
    /// # Errors
    /// [`Error::Diverged`] at `step` if one is not.
    pub(crate) fn check(&self, step: u64) -> Result<()> {
        let (names, tensors): (Vec<&str>, Vec<&Tensor>) = self.all().unzip();
        let Some(strange) = find_non_finite(&tensors)? else {
            return Ok(());
        };
        Err(Error::Diverged {
            step,
            cause: format!("the gradient of {} is not finite", names[strange]),
        })
    }

    /// The whole batch's, when each rank has those of its share.
    pub(crate) fn with_process_group(self, group: &dyn ProcessGroup) -> Result<Self> {
        if group.is_alone() {
            return Ok(self);
        }
        let grads: Vec<Tensor> = self
            .backbone
            .iter()
            .map(|(.., grad)| grad.clone())
            .collect();
        let sums = if grads.is_empty() {
            grads
        } else {
            sum_tensors(group, &grads)?
        };
        let backbone = self
            .backbone
            .into_iter()
            .zip(sums)
            .map(|((name, slot, _), sum)| (name, slot, sum))
            .collect();
        let gathered = self
            .rows
            .map(|(ids, grad)| gather_rows(group, &ids, &grad))
            .transpose()?;
        Ok(Self {
            backbone,
            rows: gathered.map(|(ids, grad)| (Cow::Owned(ids), grad)),
        })
    }
}
