//! Forward and backward pass of a fused operation on a GPU.

use candle_core::cuda_backend::CudaStorage;
use candle_core::{Layout, Result, Shape, Tensor, bail};

use super::{FusedOp, Op, all};
use crate::cuda::{Gpu, part, view, with};

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

    /// The result in the memory of the step that is recorded; `None` if there is none.
    pub(crate) fn run_recorded(&self, args: &[Tensor; N]) -> Result<Option<Tensor>> {
        if !args[0].device().is_cuda() {
            return Ok(None);
        }
        let gpu = Gpu::of(&args[0])?;
        let Some(out) = gpu.recorded_variable(&self.shape)? else {
            return Ok(None);
        };
        let saved = with([&out], |[y]| {
            with(args.each_ref(), |args| {
                self.fused.forward_cuda(&gpu, args, y)
            })
        })?;
        _ = self.kept.set(saved);
        Ok(Some(out))
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
