//! CUDA launches of Caser's convolutions: one thread block per window in the forward pass and for
//! the input gradient; the filter gradient is split by filter, tap and columns.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::CaserConv;
use crate::autograd::cuda::CudaOp;
use crate::cuda::row_ops::column_sums;
use crate::cuda::{
    Arg, CASER_CONV, CASER_CONV_BACKWARD, DeviceBuffer, DeviceF32, Gpu, SHARED, THREADS, View,
    blocks, sizes, view,
};

/// Positions scored at a time by a block.
const CHUNK: usize = 32;
/// Largest number of threads per block.
const MOST: usize = 1024;
/// Rows of a short window per thread.
const ROWS: usize = 5;

/// Values saved for the backward pass.
pub(crate) struct Saved {
    lengths: DeviceBuffer<u32>,
    /// Per height: the height, the first row of its filters, the row of its biases.
    heights: DeviceBuffer<u32>,
    /// The best position of each horizontal filter.
    best: DeviceBuffer<u32>,
}

impl CaserConv {
    /// Length, width, heights, filters of each height.
    fn sizes(&self) -> [Arg; 4] {
        sizes([self.length, self.width, self.heights.len(), self.filters])
    }

    fn taps(&self) -> usize {
        self.heights.iter().sum()
    }

    /// Launch for short windows whose scores fit in shared memory, and the number of column parts;
    /// `None` for longer windows.
    fn short(&self) -> Option<(LaunchConfig, usize)> {
        let (groups, quads) = (self.length.div_ceil(ROWS), self.width.div_ceil(4));
        let shared = |parts| {
            let sums = (parts * self.taps() + self.heights.len()) * self.length * self.filters;
            groups * ROWS * 4 * quads + sums
        };
        let parts = [2, 1]
            .into_iter()
            .find(|&parts| parts <= quads && shared(parts) <= SHARED)?;
        // Work items in rounds of about equal size.
        let items = (parts * groups * self.taps() * self.filters).max(1);
        let threads = items.div_ceil(items.div_ceil(MOST)).next_multiple_of(32);
        Some((
            blocks(self.lengths.len(), threads as u32, shared(parts)),
            parts,
        ))
    }
}

impl CudaOp<3> for CaserConv {
    type SavedCuda = Saved;

    fn forward_cuda(
        &self,
        gpu: &Gpu,
        [x, horizontal, vertical]: [View<'_>; 3],
        y: View<'_>,
    ) -> Result<Saved> {
        let batch = self.lengths.len();
        let mut heights = Vec::with_capacity(3 * self.heights.len());
        for (height, rows, bias) in self.groups() {
            heights.extend([height as u32, rows.start as u32, bias as u32]);
        }
        let best = gpu.alloc_u32(batch * self.heights.len() * self.filters)?;
        let kept = Saved {
            lengths: gpu.copy_in(&self.lengths)?,
            heights: gpu.copy_in(&heights)?,
            best,
        };
        let args = [
            y.into(),
            (&kept.best).into(),
            x.into(),
            horizontal.into(),
            vertical.into(),
        ];
        let rest = [(&kept.heights).into(), (&kept.lengths).into()];
        let args = [args.as_slice(), &rest, &self.sizes()].concat();
        if let Some((shape, parts)) = self.short() {
            let args = [args.as_slice(), &sizes([self.taps(), parts])].concat();
            gpu.launch(CASER_CONV, "caser_conv_short", shape, &args)?;
        } else {
            let chunk = self.length.min(CHUNK);
            let shape = blocks(batch, THREADS, (chunk + 1) * self.filters);
            gpu.launch(
                CASER_CONV,
                "caser_conv",
                shape,
                &[args.as_slice(), &[(chunk as u32).into()]].concat(),
            )?;
        }
        Ok(kept)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x, horizontal, vertical]: [View<'_>; 3],
        kept: &Saved,
        y: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let batch = self.lengths.len();
        let (dx, gated) = (gpu.alloc(x.len)?, gpu.alloc(y.len)?);
        let by_window = gpu.alloc(batch * vertical.len)?;
        let out = [(&dx).into(), (&gated).into(), (&by_window).into()];
        let given = [
            y.into(),
            grad.into(),
            (&kept.best).into(),
            x.into(),
            horizontal.into(),
            vertical.into(),
        ];
        let rest = [(&kept.heights).into(), (&kept.lengths).into()];
        let args = [out.as_slice(), &given, &rest, &self.sizes()].concat();
        gpu.launch(
            CASER_CONV_BACKWARD,
            "caser_conv_backward",
            blocks(batch, THREADS, 0),
            &args,
        )?;

        let (dhorizontal, dvertical) = (gpu.alloc(horizontal.len)?, gpu.alloc(vertical.len)?);
        let grid_dim = (
            self.filters as u32,
            self.taps() as u32,
            self.width.div_ceil(32) as u32,
        );
        let shape = LaunchConfig {
            grid_dim,
            block_dim: (32, 16, 1),
            shared_mem_bytes: 0,
        };
        let args = [
            (&dhorizontal).into(),
            (&gated).into(),
            (&kept.best).into(),
            x.into(),
        ];
        let rest = [
            (&kept.heights).into(),
            (&kept.lengths).into(),
            (batch as u32).into(),
        ];
        gpu.launch(
            CASER_CONV_BACKWARD,
            "caser_conv_filter_grad",
            shape,
            &[args.as_slice(), &rest, &self.sizes()].concat(),
        )?;
        column_sums(gpu, view(&by_window), vertical.len, view(&dvertical))?;
        Ok(vec![dx, dhorizontal, dvertical])
    }
}
