//! Events and purchases of each item.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use crate::error::{Error, Result};
use crate::event::Kind;
use crate::examples::SplitExamples;

const EVENTS: &str = "events";
const PURCHASES: &str = "purchases";

/// Number of events and of purchases of each item, by item index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurchaseCounts {
    /// Clicks and purchases of each item.
    pub events: Vec<u32>,
    /// Purchases of each item.
    pub purchases: Vec<u32>,
}

impl PurchaseCounts {
    /// Counts of `items` items without an event.
    pub fn new(items: usize) -> Self {
        Self {
            events: vec![0; items],
            purchases: vec![0; items],
        }
    }

    /// Counts over the events that are examples.
    pub fn of(examples: &SplitExamples<'_>) -> Self {
        let data = examples.dataset();
        let (items, kinds) = (data.item_indices(), data.kinds());
        let mut counts = Self::new(data.items().len());
        for (_, targets) in examples.targets() {
            for event in targets {
                counts.add(items[event], kinds[event]);
            }
        }
        counts
    }

    /// Counts an event.
    pub fn add(&mut self, item: u32, kind: Kind) {
        let item = item as usize;
        self.events[item] = self.events[item].saturating_add(1);
        if kind == Kind::Purchase {
            self.purchases[item] = self.purchases[item].saturating_add(1);
        }
    }

    /// Serialises the counts as a safetensors file. Equal counts give equal bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if safetensors refuses the arrays.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tensors = [
            (EVENTS, view(&self.events)?),
            (PURCHASES, view(&self.purchases)?),
        ];
        safetensors::serialize(tensors, None).map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Reads a file written from [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::Damaged`] if the content is not counts of `items` items, [`Error::Fs`] if it cannot
    /// be read.
    pub fn load(path: &Path, items: usize) -> Result<Self> {
        let data = std::fs::read(path).map_err(prl_fs::Error::io(path))?;
        let damaged = |e: SafeTensorError| Error::damaged(path, e.to_string());
        let tensors = SafeTensors::deserialize(&data).map_err(damaged)?;
        let read = |name: &str| {
            let tensor = tensors.tensor(name).map_err(damaged)?;
            if tensor.dtype() != Dtype::U32 || tensor.shape() != [items] {
                let what = format!("{name} is not one count for each of {items} items");
                return Err(Error::damaged(path, what));
            }
            Ok(bytemuck::pod_collect_to_vec(tensor.data()))
        };
        let counts = Self {
            events: read(EVENTS)?,
            purchases: read(PURCHASES)?,
        };
        for (item, (&events, &purchases)) in counts.events.iter().zip(&counts.purchases).enumerate()
        {
            if purchases > events {
                let what = format!("item {item} has {purchases} purchases in {events} events");
                return Err(Error::damaged(path, what));
            }
        }
        Ok(counts)
    }
}

fn view(counts: &[u32]) -> Result<TensorView<'_>> {
    let data = bytemuck::cast_slice(counts);
    TensorView::new(Dtype::U32, vec![counts.len()], data).map_err(|e| Error::Invalid(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{Kind, PurchaseCounts};

    #[test]
    fn purchase_counts_survive_write_and_load() {
        let mut counts = PurchaseCounts::new(3);
        counts.add(0, Kind::Click);
        counts.add(2, Kind::Purchase);
        counts.add(2, Kind::Click);
        assert_eq!(
            (&counts.events[..], &counts.purchases[..]),
            (&[1, 0, 2][..], &[0, 0, 1][..])
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("purchase_counts.safetensors");
        std::fs::write(&path, counts.to_bytes().unwrap()).unwrap();
        assert_eq!(PurchaseCounts::load(&path, 3).unwrap(), counts);
        let other = PurchaseCounts::load(&path, 4).unwrap_err().to_string();
        assert!(other.contains("one count for each of 4 items"), "{other}");
        counts.purchases[1] = 5;
        std::fs::write(&path, counts.to_bytes().unwrap()).unwrap();
        let more = PurchaseCounts::load(&path, 3).unwrap_err().to_string();
        assert!(
            more.contains("item 1 has 5 purchases in 0 events"),
            "{more}"
        );
    }
}
