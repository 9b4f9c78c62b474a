//! Item map: raw item ids and their indices.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use crate::error::{Error, Result};

/// Bijection between raw item ids and indices `0..n`. Index `i` in arrays and scores is the item
/// `map.raw(i)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemMap {
    offsets: Vec<u64>,
    bytes: Vec<u8>,
    index: HashMap<Box<str>, u32>,
}

impl ItemMap {
    /// Builds the map from raw ids in index order.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an id occurs twice, or there are more than 2^32.
    pub fn new<S: AsRef<str>>(raw: impl IntoIterator<Item = S>) -> Result<Self> {
        let (mut offsets, mut bytes, mut index) = (vec![0], Vec::new(), HashMap::new());
        for (i, id) in raw.into_iter().enumerate() {
            let id = id.as_ref();
            bytes.extend_from_slice(id.as_bytes());
            offsets.push(bytes.len() as u64);
            let i = u32::try_from(i).map_err(|_| Error::Invalid("more than 2^32 items".into()))?;
            if index.insert(id.into(), i).is_some() {
                return Err(Error::Invalid(format!(
                    "item id {id:?} stands twice in the item map"
                )));
            }
        }
        Ok(Self {
            offsets,
            bytes,
            index,
        })
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether the map has no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Raw id of an index; `None` if out of range.
    pub fn raw(&self, index: u32) -> Option<&str> {
        let (a, b) = (
            *self.offsets.get(index as usize)?,
            *self.offsets.get(index as usize + 1)?,
        );
        std::str::from_utf8(&self.bytes[a as usize..b as usize]).ok()
    }

    /// Index of a raw id; `None` if the map does not contain it.
    pub fn index(&self, raw: &str) -> Option<u32> {
        self.index.get(raw).copied()
    }

    /// Serialises the map as a safetensors file. Equal maps give equal bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if safetensors refuses the arrays.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tensors = [
            ("bytes", view(Dtype::U8, self.bytes.len(), &self.bytes)?),
            (
                "offsets",
                view(
                    Dtype::U64,
                    self.offsets.len(),
                    bytemuck::cast_slice(&self.offsets),
                )?,
            ),
        ];
        safetensors::serialize(tensors, None).map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Reads a file written from [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::Damaged`] if the content is invalid, [`Error::Fs`] if it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let data = std::fs::read(path).map_err(prl_fs::Error::io(path))?;
        let damaged = |e: SafeTensorError| Error::damaged(path, e.to_string());
        let tensors = SafeTensors::deserialize(&data).map_err(damaged)?;
        let bytes = tensors.tensor("bytes").map_err(damaged)?.data();
        let offsets = tensors.tensor("offsets").map_err(damaged)?;
        if offsets.dtype() != Dtype::U64 || offsets.data().is_empty() {
            return Err(Error::damaged(
                path,
                "the offsets of the item ids are no offsets",
            ));
        }
        let offsets: Vec<u64> = bytemuck::pod_collect_to_vec(offsets.data());
        let mut ids = Vec::with_capacity(offsets.len());
        for pair in offsets.windows(2) {
            let id = bytes.get(pair[0] as usize..pair[1] as usize);
            match id.map(std::str::from_utf8) {
                Some(Ok(id)) => ids.push(id),
                _ => return Err(Error::damaged(path, "item ids are cut short or not UTF-8")),
            }
        }
        Self::new(ids)
    }
}

fn view(dtype: Dtype, len: usize, data: &[u8]) -> Result<TensorView<'_>> {
    TensorView::new(dtype, vec![len], data).map_err(|e| Error::Invalid(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::ItemMap;

    #[test]
    fn item_map_survives_write_and_load() {
        let map = ItemMap::new(["10", "2", "naïve/id"]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("items.safetensors");
        std::fs::write(&path, map.to_bytes().unwrap()).unwrap();
        let back = ItemMap::load(&path).unwrap();
        assert_eq!(map, back);
        assert_eq!(back.index("naïve/id"), Some(2));
        assert_eq!(
            (back.raw(1), back.raw(3), back.index("3")),
            (Some("2"), None, None)
        );
    }

    #[test]
    fn item_map_repeated_id_is_refused() {
        assert!(ItemMap::new(["a", "a"]).is_err());
    }
}
