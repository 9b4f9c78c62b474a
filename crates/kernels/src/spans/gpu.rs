//! On a GPU: what kernels are told of windows, copied there once for all clones of their spans.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;

use super::Spans;
use crate::gpu::{Gpu, Memory};

/// Of each row, how many of its window come before it, and how many after.
pub(crate) type Sides = Arc<Memory<u32>>;

/// Those of some spans, once a kernel has asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache(Arc<Mutex<Option<Sides>>>);

/// Equal spans are equal whether they lie on a GPU or not.
impl PartialEq for Cache {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cache {}

impl Spans {
    /// What lies on either side of each row.
    pub(crate) fn sides(&self, gpu: &Gpu) -> Result<Sides> {
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sides) = cache.as_ref().filter(|sides| gpu.has(sides)) {
            return Ok(sides.clone());
        }
        let mut words = Vec::with_capacity(2 * self.rows());
        for n in self.iter().map(|span| span.len() as u32) {
            words.extend((0..n).flat_map(|t| [t, n - 1 - t]));
        }
        let sides = Arc::new(gpu.copy_in(&words)?);
        *cache = Some(sides.clone());
        Ok(sides)
    }
}
