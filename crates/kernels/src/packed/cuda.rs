//! Offsets on the GPU, copied once and shared by all clones of a [`SeqOffsets`].

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;

use super::SeqOffsets;
use crate::cuda::{DeviceBuffer, Gpu};

/// First row of each window and the total, then the window index of each row.
pub(crate) type Table = Arc<DeviceBuffer<u32>>;

/// Lazily created table of a [`SeqOffsets`].
#[derive(Clone, Debug, Default)]
pub(super) struct Cache(Arc<Mutex<Option<Table>>>);

/// The cache takes no part in comparisons.
impl PartialEq for Cache {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cache {}

impl SeqOffsets {
    /// The table on the GPU; copied on first use.
    pub(crate) fn table(&self, gpu: &Gpu) -> Result<Table> {
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = cache.as_ref().filter(|table| gpu.has(table)) {
            return Ok(table.clone());
        }
        let mut words = Vec::with_capacity(self.starts.len() + self.rows());
        words.extend(self.starts.iter().map(|&start| start as u32));
        for (window, span) in self.iter().enumerate() {
            words.extend(std::iter::repeat_n(window as u32, span.len()));
        }
        let table = Arc::new(gpu.copy_in(&words)?);
        *cache = Some(table.clone());
        Ok(table)
    }
}
