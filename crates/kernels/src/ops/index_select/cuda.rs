//! CUDA launches of row gather, row scatter and add.

use candle_core::Result;

use super::{Add, IndexSelect, Rows, ScatterRows};
use crate::autograd::cuda::CudaOp;
use crate::cuda::row_ops::{gather_rows, scatter_rows};
use crate::cuda::{DeviceBuffer, DeviceF32, Gpu, ROWS, View, each, view};

/// Row indices on the GPU.
type Indices = DeviceBuffer<u32>;

impl Rows {
    /// Gathers the rows into `out`.
    fn gather(&self, gpu: &Gpu, x: View<'_>, rows: &Indices, out: View<'_>) -> Result<()> {
        gather_rows(gpu, x, view(rows), self.width, out)
    }

    /// Zeroes `out` and scatters the rows of x.
    fn scatter(&self, gpu: &Gpu, x: View<'_>, rows: &Indices, out: View<'_>) -> Result<()> {
        scatter_rows(gpu, x, view(rows), self.width, out)
    }
}

impl CudaOp<1> for IndexSelect {
    type SavedCuda = Indices;

    fn forward_cuda(&self, gpu: &Gpu, [x]: [View<'_>; 1], y: View<'_>) -> Result<Indices> {
        let rows = gpu.copy_in(&self.0.rows)?;
        self.0.gather(gpu, x, &rows, y)?;
        Ok(rows)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x]: [View<'_>; 1],
        rows: &Indices,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let dx = gpu.alloc(x.len)?;
        self.0.scatter(gpu, grad, rows, view(&dx))?;
        Ok(vec![dx])
    }
}

impl CudaOp<1> for ScatterRows {
    type SavedCuda = Indices;

    fn forward_cuda(&self, gpu: &Gpu, [x]: [View<'_>; 1], y: View<'_>) -> Result<Indices> {
        let rows = gpu.copy_in(&self.0.rows)?;
        self.0.scatter(gpu, x, &rows, y)?;
        Ok(rows)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x]: [View<'_>; 1],
        rows: &Indices,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let dx = gpu.alloc(x.len)?;
        self.0.gather(gpu, grad, rows, view(&dx))?;
        Ok(vec![dx])
    }
}

impl CudaOp<2> for Add {
    type SavedCuda = ();

    fn forward_cuda(&self, gpu: &Gpu, [a, b]: [View<'_>; 2], y: View<'_>) -> Result<()> {
        gpu.launch(
            ROWS,
            "add",
            each(a.len),
            &[y.into(), a.into(), b.into(), (a.len as u32).into()],
        )
    }

    fn backward_cuda(
        &self,
        _: &Gpu,
        _: [View<'_>; 2],
        (): &(),
        _: View<'_>,
        _: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        Ok(Vec::new())
    }
}
