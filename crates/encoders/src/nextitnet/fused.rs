//! Residual blocks as kernels over packed rows, restricted to the receptive field of the state.

use candle_core::{Result, Tensor};
use prl_kernels::ops::nextitnet_block::{CausalConv, nextitnet_block};
use prl_kernels::packed::SeqOffsets;

use super::{EPS, NextItNet};
use crate::PaddedBatch;

/// The states `[B, d]`. The rows of all sessions follow one another without padding, and each block
/// computes only the positions that the last position of a session depends on.
pub(super) fn encode(model: &NextItNet, batch: &PaddedBatch<'_>) -> Result<Tensor> {
    let mut offsets = batch.offsets()?;
    let mut rows = batch.packed_rows(&offsets)?;
    for (block, &convolutions) in model.blocks.iter().zip(&model.schedule) {
        (rows, offsets) =
            nextitnet_block(&rows, block.packed.packed()?, &offsets, convolutions, EPS)?;
    }
    Ok(rows)
}

/// The states after every row of the sequences, `[rows, d]`.
pub(super) fn sequence_states(
    model: &NextItNet,
    xs: &Tensor,
    offsets: &SeqOffsets,
) -> Result<Tensor> {
    let mut rows = xs.clone();
    for block in &model.blocks {
        let dilations = [block.conv1.dilation, block.conv2.dilation];
        let every = dilations.map(CausalConv::dense);
        (rows, _) = nextitnet_block(&rows, block.packed.packed()?, offsets, every, EPS)?;
    }
    Ok(rows)
}
