//! Named tensors of a network, as a checkpoint has them.

use std::collections::BTreeMap;

use prl_model::Model;

use crate::error::{Error, Result};

/// A tensor in row-major order.
pub(crate) struct NamedTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl NamedTensor {
    /// The elements in little-endian bytes.
    pub(crate) fn to_le_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 * self.values.len());
        for value in &self.values {
            bytes.extend(value.to_le_bytes());
        }
        bytes
    }
}

/// The tensors of a network by name.
pub(crate) struct Weights(BTreeMap<String, NamedTensor>);

impl Weights {
    /// A copy of every named tensor of a model.
    pub(crate) fn of(model: &Model) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, tensor) in model.named_parameters()? {
            let shape = tensor.dims().to_vec();
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            all.insert(name, NamedTensor { shape, values });
        }
        Ok(Self(all))
    }

    /// The tensor of a name.
    pub(crate) fn get(&self, name: &str) -> Result<&NamedTensor> {
        self.0
            .get(name)
            .ok_or_else(|| Error::NoTensor { name: name.into() })
    }

    /// Bytes of all values.
    pub(crate) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        for tensor in self.0.values() {
            bytes += 4 * tensor.values.len() as u64;
        }
        bytes
    }
}
