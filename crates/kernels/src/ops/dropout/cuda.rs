//! CUDA dropout with the same factors as on the CPU: both take 16-bit draws from ChaCha blocks,
//! which are computed by number.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::{Dropout, DropoutMask};
use crate::autograd::cuda::CudaOp;
use crate::cuda::{DROPOUT, DeviceBuffer, DeviceF32, Gpu, THREADS, View, blocks, view};

/// Draws per thread block, and per ChaCha block.
const ELEMENTS: usize = 2048;
const DRAWS: usize = 32;

/// A mask on the GPU, as `mask_of` in `dropout.cuh` reads it; without one all factors are 1.
pub(crate) fn mask_words(
    gpu: &Gpu,
    mask: Option<&DropoutMask>,
) -> Result<Option<DeviceBuffer<u32>>> {
    let Some(mask) = mask else { return Ok(None) };
    let stream = mask.rng.get_stream();
    let mut words = vec![
        mask.before as u32,
        stream as u32,
        (stream >> 32) as u32,
        mask.bar,
        mask.keep.to_bits(),
    ];
    for bytes in mask.rng.get_seed().as_chunks().0 {
        words.push(u32::from_le_bytes(*bytes));
    }
    Ok(Some(gpu.copy_in(&words)?))
}

/// Launch configuration for `n` elements.
pub(crate) fn mask_shape(mask: Option<&DropoutMask>, n: usize) -> LaunchConfig {
    blocks(
        (mask.map_or(0, |mask| mask.before) % DRAWS + n).div_ceil(ELEMENTS),
        THREADS,
        0,
    )
}

impl DropoutMask {
    /// The factors.
    pub(crate) fn alone(&self, gpu: &Gpu) -> Result<DeviceF32> {
        let out = gpu.alloc(self.n)?;
        self.times(gpu, None, view(&out))?;
        Ok(out)
    }

    /// The factors multiplied by x.
    pub(crate) fn of(&self, gpu: &Gpu, x: View<'_>) -> Result<DeviceF32> {
        let out = gpu.alloc(x.len)?;
        self.times(gpu, Some(x), view(&out))?;
        Ok(out)
    }

    /// Writes the factors to `out`, multiplied by x if given.
    fn times(&self, gpu: &Gpu, x: Option<View<'_>>, out: View<'_>) -> Result<()> {
        let words = mask_words(gpu, Some(self))?;
        let args = [
            out.into(),
            x.into(),
            (self.n as u32).into(),
            words.as_ref().map(view).into(),
        ];
        gpu.launch(DROPOUT, "dropout", mask_shape(Some(self), self.n), &args)
    }
}

impl CudaOp<1> for Dropout {
    type SavedCuda = ();

    fn forward_cuda(&self, gpu: &Gpu, [x]: [View<'_>; 1], y: View<'_>) -> Result<()> {
        self.0.times(gpu, Some(x), y)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        _: [View<'_>; 1],
        (): &(),
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        Ok(vec![self.0.of(gpu, grad)?])
    }
}
