//! CUDA side of a fused operation, in `f32`.

use candle_core::Result;

use crate::cuda::{DeviceF32, Gpu, View};

/// CUDA implementation of an operation on N contiguous `f32` tensors.
pub(crate) trait CudaOp<const N: usize> {
    /// Values saved for the backward pass, beside the arguments and the result.
    type SavedCuda: Send + Sync + 'static;

    /// Writes the result and returns the saved values.
    fn forward_cuda(&self, gpu: &Gpu, args: [View<'_>; N], y: View<'_>) -> Result<Self::SavedCuda>;

    /// The gradients of the arguments that are not passed through, in order, from the result and
    /// its gradient.
    fn backward_cuda(
        &self,
        gpu: &Gpu,
        args: [View<'_>; N],
        kept: &Self::SavedCuda,
        out: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>>;
}

/// Implements [`CudaOp`] for an operation that runs on a CPU only.
macro_rules! cpu_only {
    ($op:ty, $args:literal, $name:literal) => {
        impl $crate::autograd::cuda::CudaOp<$args> for $op {
            type SavedCuda = ();

            fn forward_cuda(
                &self,
                _: &$crate::cuda::Gpu,
                _: [$crate::cuda::View<'_>; $args],
                _: $crate::cuda::View<'_>,
            ) -> candle_core::Result<()> {
                candle_core::bail!(concat!($name, " runs on a CPU only"))
            }

            fn backward_cuda(
                &self,
                _: &$crate::cuda::Gpu,
                _: [$crate::cuda::View<'_>; $args],
                _: &(),
                _: $crate::cuda::View<'_>,
                _: $crate::cuda::View<'_>,
            ) -> candle_core::Result<Vec<$crate::cuda::DeviceF32>> {
                candle_core::bail!(concat!($name, " runs on a CPU only"))
            }
        }
    };
}
pub(crate) use cpu_only;
