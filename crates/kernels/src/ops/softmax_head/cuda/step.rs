//! Backward pass fused with the Adam update: each block owns a range of items and updates their
//! weights.

use candle_core::{Result, Tensor, bail};

use super::{CudaOutputLayer, Losses, stride};
use crate::cuda::{Arg, FiniteCheck, Gpu, SOFTMAX_HEAD_STEP, blocks, sizes, with};
use crate::ops::adam::AdamFactors;
use crate::ops::adam::cuda::factors;

/// Items per tile.
const TILE: usize = 32;
/// Weight columns per block.
const COLUMNS: usize = 64;
/// Kernels by the largest number of batch rows of a block, and by precision.
const KERNELS: [(usize, [&str; 3]); 3] = [
    (
        32,
        ["head_step_32", "head_step_32_tf32", "head_step_32_bf16"],
    ),
    (
        64,
        ["head_step_64", "head_step_64_tf32", "head_step_64_bf16"],
    ),
    (
        256,
        ["head_step_256", "head_step_256_tf32", "head_step_256_bf16"],
    ),
];

/// First and second moments of a parameter.
pub type Moments<'a> = [&'a Tensor; 2];

/// Shared floats of a block with `rows` batch rows.
const fn shared(rows: usize) -> usize {
    let parts = if rows < 64 { 1 } else { rows / 64 };
    rows * (5 * TILE + 6) + 2 * TILE * COLUMNS + 2 * TILE + parts * TILE * COLUMNS
}

impl CudaOutputLayer<'_> {
    /// Applies an Adam update of weight and bias for the sum of the losses, and returns the
    /// gradient of the hidden vectors. Changes nothing if the finite check has failed.
    ///
    /// # Errors
    /// If sizes do not match, or the GPU fails.
    pub fn step(
        &self,
        step: AdamFactors<f32>,
        weight: Moments<'_>,
        bias: Moments<'_>,
        hidden: &Tensor,
        losses: Losses,
        check: &FiniteCheck,
    ) -> Result<Tensor> {
        let (gpu, (batch, width), items) =
            (Gpu::of(hidden)?, hidden.dims2()?, self.bias.elem_count());
        if weight.iter().any(|m| m.dims() != self.weight.dims())
            || bias.iter().any(|m| m.elem_count() != items)
        {
            bail!(
                "softmax_head: weight {:?} and moments {:?} and {:?} do not match",
                self.weight.shape(),
                weight[0].shape(),
                bias[0].shape()
            );
        }
        let room = gpu.shared()?;
        let mut there = KERNELS.iter().filter(|(rows, _)| shared(*rows) <= room);
        let Some(&(rows, kernels)) = there
            .clone()
            .find(|(rows, _)| *rows >= batch)
            .or(there.next_back())
        else {
            bail!("softmax_head: {room} floats of shared memory per block are too few on this GPU")
        };
        let kernel = self.precision.kernel(kernels);
        let slabs = width.div_ceil(COLUMNS);
        // Fewer rows per block allow more resident blocks, with the same number of threads. The
        // number of chunks fixes the order in which their parts of the hidden gradient are added.
        let (tiles, at_once) = (items.div_ceil(TILE), gpu.processors()? * 256 / rows);
        let each = tiles.div_ceil((at_once / slabs).max(1)).max(1);
        let chunks = tiles.div_ceil(each);
        let parts = gpu.alloc(chunks * slabs * rows * COLUMNS)?;
        // Partial sums, passed on to the next rows of the batch.
        let weight_sum = gpu.alloc(if batch > rows { items * width } else { 0 })?;
        let (bias_sum, to) = (gpu.alloc(items)?, gpu.alloc(batch * width)?);
        let sums = [&weight_sum, &bias_sum, &parts].map(Arg::from);
        let factors = factors(&gpu, step)?;
        let factors = [(&factors).into(), check.word().into()];
        let all = [
            hidden,
            self.weight,
            weight[0],
            weight[1],
            self.bias,
            bias[0],
            bias[1],
        ];
        with(
            all,
            |[hidden, w, w_first, w_second, b, b_first, b_second]| {
                let Losses {
                    scores,
                    targets,
                    scales,
                    logs,
                    ..
                } = &losses;
                let given: [Arg; 5] = [
                    scores.into(),
                    hidden.into(),
                    targets.into(),
                    scales.into(),
                    logs.into(),
                ];
                let layer = [b, w, w_first, w_second].map(Arg::from);
                for start in (0..batch).step_by(rows) {
                    let step_sizes = sizes([start, batch, items, stride(items), width, each]);
                    let mut shape = blocks(chunks, 2 * rows as u32, shared(rows));
                    shape.grid_dim.1 = slabs as u32;
                    let args = [given.as_slice(), &layer, &sums, &step_sizes, &factors].concat();
                    gpu.launch(SOFTMAX_HEAD_STEP, kernel, shape, &args)?;
                    // The bias is updated last, since all blocks read it.
                    let n = if start + rows < batch { 0 } else { items };
                    let end_sizes = sizes([start, rows, width, chunks]);
                    let bias = [
                        b.into(),
                        b_first.into(),
                        b_second.into(),
                        (&bias_sum).into(),
                        (n as u32).into(),
                    ];
                    let mut shape = blocks(rows.min(batch - start), 4 * COLUMNS as u32, 0);
                    shape.grid_dim.1 = slabs as u32;
                    let args = [
                        &[(&parts).into(), (&to).into()],
                        end_sizes.as_slice(),
                        &bias,
                        &factors,
                    ]
                    .concat();
                    gpu.launch(SOFTMAX_HEAD_STEP, "head_step_end", shape, &args)?;
                }
                Ok(())
            },
        )?;
        to.tensor((batch, width))
    }
}
