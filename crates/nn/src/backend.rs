//! Choice between the fused kernels and candle's operations, made once per model.

use candle_core::{DType, Device};
use candle_nn::VarBuilder;

/// Implementation that a model runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Fused kernels on the CPU, f32 or f64.
    CpuFused,
    /// Fused kernels on an NVIDIA GPU, f32.
    Cuda,
    /// candle's operations: any device and type.
    Reference,
}

impl Backend {
    /// The fastest backend for tensors of a type on a device.
    pub fn new(device: &Device, dtype: DType) -> Self {
        if !prl_kernels::supports(device, dtype) {
            Backend::Reference
        } else if device.is_cpu() {
            Backend::CpuFused
        } else {
            Backend::Cuda
        }
    }

    /// The fastest backend for the tensors of a builder.
    pub fn of(vb: &VarBuilder) -> Self {
        Self::new(vb.device(), vb.dtype())
    }

    /// Whether the fused kernels run.
    pub fn is_fused(self) -> bool {
        self != Backend::Reference
    }
}
