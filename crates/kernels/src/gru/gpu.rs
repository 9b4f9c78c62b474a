//! On a GPU: what meets the input is a product over all positions, the rest one launch, a block a window.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, LaunchConfig};
use candle_core::{Result, bail};

use super::{Gru, Sizes};
use crate::gpu::op::OnGpu;
use crate::gpu::{GRU, Gpu, Numbers, View, blocks, rows, threads, view};
use crate::pick::gpu::{column_sums, transpose};

/// Numbers that a block can share on every GPU.
const SHARED: usize = 48 * 1024 / size_of::<f32>();

/// What the way back needs.
pub(crate) struct Kept {
    lengths: CudaSlice<u32>,
    /// `[B, L, 3 d]`
    gates: Numbers,
    /// The states before each position, and times their reset gate: `[B, L, d]`.
    before: Numbers,
    reset: Numbers,
}

impl Gru {
    fn shape(&self, arrays: usize) -> Result<LaunchConfig> {
        let width = self.sizes.width;
        if arrays * width > SHARED {
            bail!("gru: a width of {width} is more than a block of a GPU has room for: {} at most", SHARED / 4);
        }
        Ok(blocks(self.lengths.len(), threads(width), arrays * width))
    }
}

impl OnGpu<2> for Gru {
    type Kept = Kept;

    fn there(&self, gpu: &Gpu, [x, kernel]: [View<'_>; 2]) -> Result<(Numbers, Kept)> {
        let Sizes { length, input, width } = self.sizes;
        let (n, all) = (self.lengths.len() * length, 3 * width);
        let inputs = gpu.room(n * all)?;
        gpu.product([n, all, input], rows(x, input), rows(kernel, all), rows(view(&inputs), all))?;
        let (gates, before, reset) = (gpu.zeros(n * all)?, gpu.zeros(n * width)?, gpu.zeros(n * width)?);
        let kept = Kept { lengths: gpu.copy_in(&self.lengths)?, gates, before, reset };
        let state = gpu.room(self.lengths.len() * width)?;
        let (by_state, bias) = (kernel.from(input * all), kernel.from((input + width) * all));
        let out = [(&state).into(), (&kept.gates).into(), (&kept.before).into(), (&kept.reset).into()];
        let given = [(&inputs).into(), by_state.into(), bias.into(), (&kept.lengths).into()];
        let sizes = [(length as u32).into(), (width as u32).into()];
        // Of the way back, which takes more.
        self.shape(4)?;
        gpu.launch(GRU, "gru", self.shape(2)?, &[out.as_slice(), &given, &sizes].concat())?;
        Ok((state, kept))
    }

    fn back(
        &self,
        gpu: &Gpu,
        [x, kernel]: [View<'_>; 2],
        kept: &Kept,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<Numbers>> {
        let Sizes { length, input, width } = self.sizes;
        let (n, all) = (self.lengths.len() * length, 3 * width);
        let across = transpose(gpu, kernel.from(input * all).first(width * all), 1, width)?;
        let dgates = gpu.zeros(n * all)?;
        let given = [(&dgates).into(), grad.into(), (&kept.gates).into(), (&kept.before).into()];
        let rest = [(&across).into(), (&kept.lengths).into(), (length as u32).into(), (width as u32).into()];
        gpu.launch(GRU, "gru_back", self.shape(4)?, &[given.as_slice(), &rest].concat())?;

        let (dx, dkernel) = (gpu.room(x.len)?, gpu.room(kernel.len)?);
        let by_row = rows(view(&dgates), all);
        let candidate = rows(view(&dgates).from(2 * width), all);
        gpu.product([n, input, all], by_row, rows(kernel, all).turned(), rows(view(&dx), input))?;
        gpu.product([input, all, n], rows(x, input).turned(), by_row, rows(view(&dkernel), all))?;
        let below = view(&dkernel).from(input * all);
        let (before, reset) = (rows(view(&kept.before), width).turned(), rows(view(&kept.reset), width).turned());
        gpu.product([width, 2 * width, n], before, by_row, rows(below, all))?;
        gpu.product([width, width, n], reset, candidate, rows(below.from(2 * width), all))?;
        column_sums(gpu, view(&dgates), all, below.from(width * all))?;
        Ok(vec![dx, dkernel])
    }
}
