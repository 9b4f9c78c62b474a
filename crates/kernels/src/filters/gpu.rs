//! On a GPU: a block a window there, and for the windows' gradient; a block a filter's tap for the filters'.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, LaunchConfig};

use super::Filters;
use crate::gpu::op::OnGpu;
use crate::gpu::{Arg, FILTERS, Gpu, Numbers, THREADS, View, blocks, threads, view};
use crate::pick::gpu::{column_sums, gate};

/// Positions whose scores a block holds at a time.
const CHUNK: usize = 32;

/// What the way back needs.
pub(crate) struct Kept {
    lengths: CudaSlice<u32>,
    /// Of each height: the height, the row where its filters begin, the row of its biases.
    heights: CudaSlice<u32>,
    /// The best position of each horizontal filter.
    best: CudaSlice<u32>,
}

impl Filters {
    /// Length, width, heights, filters of each height.
    fn sizes(&self) -> [Arg; 4] {
        [self.length, self.width, self.heights.len(), self.filters].map(|n| (n as u32).into())
    }
}

impl OnGpu<3> for Filters {
    type Kept = Kept;

    fn there(&self, gpu: &Gpu, [x, horizontal, vertical]: [View<'_>; 3]) -> Result<(Numbers, Kept)> {
        let batch = self.lengths.len();
        let heights: Vec<u32> =
            self.groups().flat_map(|(height, rows, bias)| [height, rows.start, bias].map(|n| n as u32)).collect();
        let best = gpu.words(batch * self.heights.len() * self.filters)?;
        let kept = Kept { lengths: gpu.copy_in(&self.lengths)?, heights: gpu.copy_in(&heights)?, best };
        let y = gpu.room(batch * self.outputs())?;
        let args = [(&y).into(), (&kept.best).into(), x.into(), horizontal.into(), vertical.into()];
        let rest = [(&kept.heights).into(), (&kept.lengths).into()];
        let chunk = self.length.min(CHUNK);
        let shape = blocks(batch, THREADS, (chunk + 1) * self.filters);
        let args = [args.as_slice(), &rest, &self.sizes(), &[(chunk as u32).into()]].concat();
        gpu.launch(FILTERS, "filters", shape, &args)?;
        Ok((y, kept))
    }

    fn back(
        &self,
        gpu: &Gpu,
        [x, horizontal, vertical]: [View<'_>; 3],
        kept: &Kept,
        y: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<Numbers>> {
        let batch = self.lengths.len();
        let gated = gate(gpu, y, grad)?;
        let dx = gpu.zeros(x.len)?;
        let args = [(&dx).into(), (&gated).into(), (&kept.best).into(), horizontal.into(), vertical.into()];
        let rest = [(&kept.heights).into(), (&kept.lengths).into()];
        let shape = blocks(batch, threads(self.width), 0);
        gpu.launch(FILTERS, "filters_back", shape, &[args.as_slice(), &rest, &self.sizes()].concat())?;

        let (dhorizontal, dvertical) = (gpu.room(horizontal.len)?, gpu.room(vertical.len)?);
        let taps = self.heights.iter().sum::<usize>();
        let grid_dim = (self.filters as u32, taps as u32, 1);
        let shape = LaunchConfig { grid_dim, block_dim: (32, 8, 1), shared_mem_bytes: 0 };
        let args = [(&dhorizontal).into(), (&gated).into(), (&kept.best).into(), x.into()];
        let rest = [(&kept.heights).into(), (&kept.lengths).into(), (batch as u32).into()];
        gpu.launch(FILTERS, "filters_horizontal", shape, &[args.as_slice(), &rest, &self.sizes()].concat())?;
        // The biases follow the filters, in the order of the results.
        let biases = self.heights.len() * self.filters;
        let sums = view(&dhorizontal).from(taps * self.width * self.filters).first(biases);
        column_sums(gpu, view(&gated), self.outputs(), sums)?;

        let args = [(&dvertical).into(), (&gated).into(), x.into(), (&kept.lengths).into()];
        let sizes = [batch, self.length, self.width, self.outputs()].map(|n| (n as u32).into());
        let shape = blocks(self.length + 1, THREADS, 0);
        gpu.launch(FILTERS, "filters_vertical", shape, &[args.as_slice(), &sizes].concat())?;
        Ok(vec![dx, dhorizontal, dvertical])
    }
}
