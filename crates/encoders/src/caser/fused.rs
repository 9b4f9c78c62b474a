//! All filters of Caser as one kernel.

use candle_core::{Result, Tensor};
use prl_kernels::ops::caser_conv::caser_conv;

use super::Caser;
use crate::PaddedBatch;

/// The states `[B, heights filters + d]`. The kernel reads the horizontal filters one height after
/// another, `[height d, filters]` each, then their biases; and takes the maximum before bias and
/// ReLU, which are monotone.
pub(super) fn encode(model: &Caser, batch: &PaddedBatch<'_>) -> Result<Tensor> {
    caser_conv(
        batch.xs,
        model.packed_h.packed()?,
        model.packed_v.packed()?,
        batch.lengths,
        &model.config.heights,
    )
}
