//! The scores by a product of our own, which knows each row's softmax when it is done.

use candle_core::{Result, Tensor};

use super::{CudaOutputLayer, stride};
use crate::cuda::{Arg, DeviceF32, Gpu, SOFTMAX_HEAD_SCORES, blocks, with};

/// Rows of the batch in a block.
const ROWS: usize = 256;
/// Items of its tile.
const ITEMS: usize = 128;
/// Columns that come at a time.
const COLUMNS: usize = 64;
const THREADS: u32 = 512;

/// Scores of a batch, and the softmax of each row over the items of each block.
pub(super) struct Scored {
    pub(super) scores: DeviceF32,
    pub(super) ends: DeviceF32,
    /// Blocks.
    pub(super) n: usize,
}

impl CudaOutputLayer<'_> {
    /// The scores of hidden vectors without the bias, in rows of [`stride`] numbers; `None` if the vectors are too wide for what
    /// a block may share.
    pub(super) fn scored(&self, gpu: &Gpu, hidden: &Tensor) -> Result<Option<Scored>> {
        let ((batch, width), items) = (self.sizes(hidden)?, self.bias.elem_count());
        let shared =
            ROWS * width.next_multiple_of(COLUMNS) + 2 * ITEMS * COLUMNS + 2 * ITEMS + 4 * ROWS;
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
                let sizes =
                    [batch, items, width, stride(items), each].map(|size| Arg::Word(size as u32));
                let found = [(&scores).into(), (&ends).into()];
                gpu.launch(
                    SOFTMAX_HEAD_SCORES,
                    "head_scores",
                    shape,
                    &[given.as_slice(), &found, &sizes].concat(),
                )
            },
        )?;
        Ok(Some(Scored { scores, ends, n }))
    }
}
