//! CUDA side of a fused operation, in `f32`.

use candle_core::cuda_backend::CudaStorage;
use candle_core::{Layout, Result, Shape, Tensor, bail};

use crate::autograd::op::{FusedOp, Op, all};
use crate::cuda::{DeviceF32, Gpu, View, part, view, with};

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

impl<F: FusedOp<N>, const N: usize> Op<F, N> {
    pub(crate) fn run_cuda(
        &self,
        args: [(&CudaStorage, &Layout); N],
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = Gpu(args[0].0.device.clone());
        let views = all(args
            .into_iter()
            .map(|(storage, layout)| part(storage, layout)))?;
        let n = self.shape.elem_count();
        let out = gpu.owned(n)?;
        _ = self
            .kept
            .set(self.fused.forward_cuda(&gpu, views, view(&out).first(n))?);
        Ok((CudaStorage::wrap_cuda_slice(out, gpu.0), self.shape.clone()))
    }

    pub(crate) fn grads_cuda(
        &self,
        args: [&Tensor; N],
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Tensor; N]> {
        let Some(kept) = self.kept.get() else {
            bail!("{}: backward before forward", F::NAME)
        };
        let (gpu, grad) = (Gpu::of(out)?, grad.contiguous()?);
        let found = with([out, &grad], |[out, to]| {
            with(args, |args| {
                self.fused.backward_cuda(&gpu, args, kept, out, to)
            })
        })?;
        let mut found = found.into_iter();
        all(args
            .into_iter()
            .zip(F::PASS_THROUGH_GRAD)
            .map(|(like, passed)| {
                if passed {
                    return Ok(grad.clone());
                }
                let Some(numbers) = found.next() else {
                    bail!("{}: too few gradients", F::NAME)
                };
                numbers.tensor(like.shape())
            }))
    }
}
