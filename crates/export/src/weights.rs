//! Named tensors of a network, as a checkpoint has them.

use std::collections::BTreeMap;

use prl_model::Model;

use crate::error::{Error, Result};

/// A tensor in row-major order.
struct NamedTensor {
    shape: Vec<usize>,
    /// 32-bit numbers, little-endian; `None` once they were taken.
    bytes: Option<Vec<u8>>,
}

/// The tensors of a network by name.
pub(crate) struct Weights(BTreeMap<String, NamedTensor>);

impl Weights {
    /// A copy of every named tensor of a model.
    pub(crate) fn of(model: &Model) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, tensor) in model.named_parameters()? {
            let mut bytes = Vec::with_capacity(4 * tensor.elem_count());
            for value in tensor.flatten_all()?.to_vec1::<f32>()? {
                bytes.extend(value.to_le_bytes());
            }
            let shape = tensor.dims().to_vec();
            let bytes = Some(bytes);
            all.insert(name, NamedTensor { shape, bytes });
        }
        Ok(Self(all))
    }

    /// Whether there is a tensor of a name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize]> {
        match self.0.get(name) {
            Some(tensor) => Ok(&tensor.shape),
            None => Err(no_tensor(name)),
        }
    }

    /// The elements of a tensor in little-endian bytes; `None` if they were taken already. They are
    /// moved, since a table of the items may be most of what memory holds.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.0.get_mut(name) {
            Some(tensor) => Ok(tensor.bytes.take()),
            None => Err(no_tensor(name)),
        }
    }

    /// Bytes of all elements.
    pub(crate) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        for tensor in self.0.values() {
            bytes += tensor.bytes.as_ref().map_or(0, Vec::len) as u64;
        }
        bytes
    }
}

fn no_tensor(name: &str) -> Error {
    Error::NoTensor { name: name.into() }
}
