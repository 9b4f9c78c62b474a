//! Scores by a custom product that also computes the softmax statistics of each row.

use candle_core::{Result, Tensor};

use super::{CudaOutputLayer, stride};
use crate::cuda::{Arg, DeviceF32, Gpu, SOFTMAX_HEAD_SCORES, blocks, sizes, with};

/// Batch rows per block.
pub(crate) const ROWS: usize = 256;
/// Items per tile.
pub(crate) const ITEMS: usize = 128;
/// Columns loaded at a time.
const COLUMNS: usize = 64;
pub(crate) const THREADS: u32 = 512;
const KERNELS: [&str; 3] = ["head_scores", "head_scores_tf32", "head_scores_bf16"];

/// Shared floats of a block for hidden vectors of a width.
pub(crate) fn shared(width: usize) -> usize {
    ROWS * width.next_multiple_of(COLUMNS) + 2 * ITEMS * COLUMNS + 2 * ITEMS + 4 * ROWS
}

/// Scores of a batch, and (max, sum of exponentials) of each row per block of items.
pub(super) struct Scored {
    pub(super) scores: DeviceF32,
    pub(super) ends: DeviceF32,
    /// Number of blocks.
    pub(super) n: usize,
}

impl CudaOutputLayer<'_> {
    /// Scores without bias, in rows of [`stride`] floats; `None` if the hidden size exceeds the
    /// shared memory of a block.
    pub(super) fn scored(&self, gpu: &Gpu, hidden: &Tensor) -> Result<Option<Scored>> {
        let ((batch, width), items) = (self.sizes(hidden)?, self.bias.elem_count());
        let shared = shared(width);
        if shared > gpu.shared()? {
            return Ok(None);
        }
        let slabs = batch.div_ceil(ROWS);
        let each = items
            .div_ceil((gpu.processors()? / slabs.max(1)).max(1))
            .next_multiple_of(4);
        let n = items.div_ceil(each);
        let (scores, ends) = (gpu.alloc(batch * stride(items))?, gpu.alloc(2 * batch * n)?);
        let mut shape = blocks(n, THREADS, shared);
        shape.grid_dim.1 = slabs as u32;
        with(
            [hidden, self.weight, self.bias],
            |[hidden, weight, bias]| {
                let given = [hidden, weight, bias].map(Arg::from);
                let sizes = sizes([batch, items, width, stride(items), each]);
                let found = [(&scores).into(), (&ends).into()];
                let kernel = self.precision.kernel(KERNELS);
                gpu.launch(
                    SOFTMAX_HEAD_SCORES,
                    kernel,
                    shape,
                    &[given.as_slice(), &found, &sizes].concat(),
                )
            },
        )?;
        Ok(Some(Scored { scores, ends, n }))
    }
}
