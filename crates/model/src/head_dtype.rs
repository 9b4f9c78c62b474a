//! Precision of the output layer's products in training.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Model;

/// Type to which a training step rounds the factors of the output layers' products. Sums, weights,
/// moments and ranking are in fp32 in any case. An `f64` model ignores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadDtype {
    /// No rounding.
    #[default]
    Fp32,
    /// TF32, eleven bits: by the tensor cores of a GPU.
    Tf32,
    /// bfloat16, eight bits: by the tensor cores of a GPU, and on a CPU, where the Q layer stays in
    /// fp32.
    Bf16,
}

impl HeadDtype {
    /// Whether it is the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Fails if a device has no such products; `is_plain` says whether the output layer is the
    /// paper's.
    ///
    /// # Errors
    /// [`Error::Config`] for TF32 on a CPU, and for another type than fp32 on a GPU with another
    /// output layer.
    pub fn check(self, device: &Device, is_plain: bool) -> Result<()> {
        if self == Self::Tf32 && device.is_cpu() {
            return Err(Error::Config(
                "head_dtype tf32 trains on a GPU only; use bf16 or fp32, or --device cuda".into(),
            ));
        }
        if !self.is_default() && !device.is_cpu() && !is_plain {
            return Err(Error::Config(
                "on a GPU the output layer of the modern recipe multiplies in fp32; leave \
                 head_dtype and bf16_head out, or use --device cpu"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The precision of the kernels on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn precision(self) -> prl_kernels::ops::softmax_head::cuda::Precision {
        use prl_kernels::ops::softmax_head::cuda::Precision;
        match self {
            Self::Fp32 => Precision::Fp32,
            Self::Tf32 => Precision::Tf32,
            Self::Bf16 => Precision::Bf16,
        }
    }
}

impl Model {
    /// Sets the type to which training rounds the factors of the output layers' products.
    ///
    /// # Errors
    /// As of [`HeadDtype::check`].
    pub fn with_head_dtype(mut self, dtype: HeadDtype) -> Result<Self> {
        let mut networks = self.networks.iter();
        dtype.check(&self.device, networks.all(|n| n.plain_head().is_ok()))?;
        for network in &mut self.networks {
            network.set_head_dtype(dtype);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::HeadDtype;
    use candle_core::Device;

    #[test]
    fn tf32_needs_a_gpu() {
        assert!(HeadDtype::Tf32.check(&Device::Cpu, true).is_err());
        assert!(HeadDtype::Bf16.check(&Device::Cpu, false).is_ok());
        assert!(HeadDtype::default().is_default());
    }
}
