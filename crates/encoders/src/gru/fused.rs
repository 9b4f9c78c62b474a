//! The GRU as one kernel over all steps.

use candle_core::{Result, Tensor};
use prl_kernels::ops::gru::{gru, gru_states};
use prl_kernels::packed::SeqOffsets;

use super::Gru;
use crate::PaddedBatch;

/// The states `[B, h]`; the kernel reads the parameters packed as `[d + h + 1, 3 h]`.
pub(super) fn encode(model: &Gru, batch: &PaddedBatch<'_>) -> Result<Tensor> {
    gru(batch.xs, model.packed.packed()?, batch.lengths)
}

/// The states after every row of the sequences, `[rows, h]`.
pub(super) fn sequence_states(model: &Gru, xs: &Tensor, offsets: &SeqOffsets) -> Result<Tensor> {
    gru_states(xs, model.packed.packed()?, offsets)
}
