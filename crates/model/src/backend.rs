//! Choice between the fused kernels and candle's operations, made once per parameter table.

use candle_core::{DType, Device};

/// Implementation of the operations on a parameter table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Fused kernels on the CPU, f32 or f64.
    CpuFused,
    /// Fused kernels on an NVIDIA GPU, f32.
    Cuda,
    /// candle's operations: any device and type.
    Reference,
}

impl Backend {
    /// The fastest backend for tensors of a type on a device.
    pub(crate) fn new(device: &Device, dtype: DType) -> Self {
        if device.is_cpu() {
            Backend::CpuFused
        } else if cfg!(feature = "cuda") && device.is_cuda() && dtype == DType::F32 {
            Backend::Cuda
        } else {
            Backend::Reference
        }
    }
}
