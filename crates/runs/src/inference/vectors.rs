//! Similarity of items by the vectors of the output layer.

use std::sync::Arc;

use prl_kernels::ops::score_offsets::ScoreOffsets;
use prl_kernels::ops::top_k_serving::{ItemFilter, TopK, TransposedItemMatrix};

use super::InferenceModel;
use crate::error::{Error, Result};

/// The vectors of the items, and their lengths.
pub(crate) struct ItemVectors {
    vectors: TransposedItemMatrix<f32>,
    norms: Vec<f32>,
}

impl ItemVectors {
    pub(crate) fn new(catalogue: &Arc<TransposedItemMatrix<f32>>) -> Self {
        Self {
            vectors: catalogue.without_bias(),
            norms: catalogue.norms(),
        }
    }

    /// The vector of an item, divided by its length; zeros if it has none.
    pub(crate) fn unit(&self, item: u32) -> Vec<f32> {
        let (mut vector, norm) = (self.vectors.vector(item), self.norms[item as usize]);
        if norm > 0.0 {
            for x in &mut vector {
                *x /= norm;
            }
        }
        vector
    }

    /// The items that a filter allows, without the item itself, by the cosine with it.
    fn similar(&self, item: u32, filter: ItemFilter<'_>, k: usize) -> Result<TopK<f32>> {
        let products = self
            .vectors
            .scores(&self.unit(item), &ScoreOffsets::new(Vec::new()));
        let products = products.map_err(|_| {
            Error::Config("the vectors of the items are not finite; train the run again".into())
        })?;
        let mut all = TopK::new();
        for (other, (&product, &norm)) in (0_u32..).zip(products.iter().zip(&self.norms)) {
            if other != item && filter.allows(other) {
                let cosine = if norm > 0.0 { product / norm } else { 0.0 };
                all.push((other, cosine.clamp(-1.0, 1.0)));
            }
        }
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if k < all.len() && k > 0 {
            all.select_nth_unstable_by(k - 1, order);
        }
        all.truncate(k);
        all.sort_unstable_by(order);
        Ok(all)
    }
}

impl InferenceModel {
    /// The vectors of the items; `None` for baselines and blends, and on a GPU.
    pub(crate) fn vectors(&self) -> Option<&ItemVectors> {
        let catalogue = self.catalogue.as_ref()?;
        Some(self.vectors.get_or_init(|| ItemVectors::new(catalogue)))
    }

    /// Whether items can be compared by their vectors.
    pub fn has_vectors(&self) -> bool {
        self.catalogue.is_some()
    }

    /// The `k` items most similar to an item by the cosine of their vectors in the output layer,
    /// among those that a filter allows; equal ones by lower index. `None` for a model without
    /// vectors.
    ///
    /// # Errors
    /// If a vector is not finite.
    pub fn similar(
        &self,
        item: u32,
        filter: ItemFilter<'_>,
        k: usize,
    ) -> Result<Option<TopK<f32>>> {
        match self.vectors() {
            Some(vectors) => Ok(Some(vectors.similar(item, filter, k)?)),
            None => Ok(None),
        }
    }
}
