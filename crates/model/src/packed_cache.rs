//! Items packed for the rankings of large batches, kept as long as the weights stay the same.

use std::sync::{Arc, Mutex, PoisonError};

use prl_kernels::Real;
use prl_kernels::ops::rank::{MIN_BATCH, PackedItems};

/// The packed items of an output layer. An evaluation packs them once.
#[derive(Default)]
pub(crate) struct PackedCache(Mutex<Option<Arc<PackedItems>>>);

impl PackedCache {
    /// The packed weight `[items, width]` for a batch of hidden vectors; `None` where a ranking
    /// without it is as fast.
    pub(crate) fn get<T: Real>(
        &self,
        weight: &[T],
        width: usize,
        batch: usize,
    ) -> Option<Arc<PackedItems>> {
        if batch < MIN_BATCH {
            return None;
        }
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.is_none() {
            *cached = PackedItems::new(weight, width).map(Arc::new);
        }
        cached.clone()
    }

    /// Drops them, since the weight changes.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
