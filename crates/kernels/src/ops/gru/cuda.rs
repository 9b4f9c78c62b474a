//! CUDA launches of the GRU: one cuBLAS product for the inputs of all positions, then one launch
//! with a thread block per window.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{Result, bail};

use super::{Gru, Sizes};
use crate::autograd::cuda::CudaOp;
use crate::cuda::row_ops::{column_sums, transpose};
use crate::cuda::{
    DeviceBuffer, DeviceF32, GRU, GRU_NARROW, Gpu, Module, SHARED, View, blocks, rows, threads,
    view,
};

/// Largest hidden size whose recurrent weights fit in registers, and threads per unit.
const NARROW: usize = 128;
const LANES: usize = 4;

/// Values saved for the backward pass.
pub(crate) struct Saved {
    lengths: DeviceBuffer<u32>,
    /// `[B, L, 3 d]`
    gates: DeviceF32,
    /// States before each position, and multiplied by the reset gate: `[B, L, d]`.
    before: DeviceF32,
    reset: DeviceF32,
}

impl Gru {
    /// Forward and backward kernels, with the shared floats per unit.
    fn kernels(&self) -> (Module, [(&'static str, usize); 2]) {
        match self.sizes.width {
            0..=64 => (GRU_NARROW, [("gru_64", 0), ("gru_backward_64", 0)]),
            65..=NARROW => (GRU_NARROW, [("gru_128", 0), ("gru_backward_128", 0)]),
            _ => (GRU, [("gru", 2), ("gru_backward", 4)]),
        }
    }

    /// One thread block per window.
    fn shape(&self, shared: usize) -> Result<LaunchConfig> {
        let (width, windows) = (self.sizes.width, self.lengths.len());
        if width <= NARROW {
            return Ok(blocks(
                windows,
                (LANES * width).next_multiple_of(32) as u32,
                0,
            ));
        }
        if shared * width > SHARED {
            bail!(
                "gru: hidden size {width} exceeds the shared memory of a GPU block; at most {} is supported",
                SHARED / 4
            );
        }
        Ok(blocks(windows, threads(width), shared * width))
    }
}

impl CudaOp<2> for Gru {
    type SavedCuda = Saved;

    fn forward_cuda(
        &self,
        gpu: &Gpu,
        [x, kernel]: [View<'_>; 2],
        state: View<'_>,
    ) -> Result<Saved> {
        let Sizes {
            length,
            input,
            width,
        } = self.sizes;
        let (n, all) = (self.lengths.len() * length, 3 * width);
        let inputs = gpu.alloc(n * all)?;
        gpu.product(
            [n, all, input],
            rows(x, input),
            rows(kernel, all),
            rows(view(&inputs), all),
        )?;
        let (gates, before, reset) = (
            gpu.alloc(n * all)?,
            gpu.alloc(n * width)?,
            gpu.alloc(n * width)?,
        );
        let kept = Saved {
            lengths: gpu.copy_in(&self.lengths)?,
            gates,
            before,
            reset,
        };
        let (by_state, bias) = (kernel.from(input * all), kernel.from((input + width) * all));
        let out = [
            state.into(),
            (&kept.gates).into(),
            (&kept.before).into(),
            (&kept.reset).into(),
        ];
        let given = [
            (&inputs).into(),
            by_state.into(),
            bias.into(),
            (&kept.lengths).into(),
        ];
        let sizes = [(length as u32).into(), (width as u32).into()];
        let (module, [(kernel, shared), (_, on_the_way_back)]) = self.kernels();
        // The backward kernel needs more shared memory: fail before the forward pass.
        self.shape(on_the_way_back)?;
        gpu.launch(
            module,
            kernel,
            self.shape(shared)?,
            &[out.as_slice(), &given, &sizes].concat(),
        )?;
        Ok(kept)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x, kernel]: [View<'_>; 2],
        kept: &Saved,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let Sizes {
            length,
            input,
            width,
        } = self.sizes;
        let (n, all) = (self.lengths.len() * length, 3 * width);
        let (module, [_, (name, shared)]) = self.kernels();
        let by_state = kernel.from(input * all).first(width * all);
        let across = if width > NARROW {
            Some(transpose(gpu, by_state, 1, width)?)
        } else {
            None
        };
        let weights = across.as_ref().map_or(by_state, view);
        let (dgates, sums) = (gpu.alloc(n * all)?, gpu.alloc(self.lengths.len() * all)?);
        let out = [(&dgates).into(), (&sums).into()];
        let given = [
            grad.into(),
            (&kept.gates).into(),
            (&kept.before).into(),
            weights.into(),
            (&kept.lengths).into(),
        ];
        let sizes = [(length as u32).into(), (width as u32).into()];
        gpu.launch(
            module,
            name,
            self.shape(shared)?,
            &[out.as_slice(), &given, &sizes].concat(),
        )?;

        let (dx, dkernel) = (gpu.alloc(x.len)?, gpu.alloc(kernel.len)?);
        let by_row = rows(view(&dgates), all);
        let candidate = rows(view(&dgates).from(2 * width), all);
        gpu.product(
            [n, input, all],
            by_row,
            rows(kernel, all).turned(),
            rows(view(&dx), input),
        )?;
        gpu.product(
            [input, all, n],
            rows(x, input).turned(),
            by_row,
            rows(view(&dkernel), all),
        )?;
        let below = view(&dkernel).from(input * all);
        let (before, reset) = (
            rows(view(&kept.before), width).turned(),
            rows(view(&kept.reset), width).turned(),
        );
        gpu.product([width, 2 * width, n], before, by_row, rows(below, all))?;
        gpu.product(
            [width, width, n],
            reset,
            candidate,
            rows(below.from(2 * width), all),
        )?;
        column_sums(gpu, view(&sums), all, below.from(width * all))?;
        Ok(vec![dx, dkernel])
    }
}
