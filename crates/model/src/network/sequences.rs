//! Forward pass over whole sessions: every item is embedded and encoded once, and each example
//! reads the state at its last item.

use std::ops::Range;

use candle_core::Tensor;
use prl_core::{EncodedState, Prompts};
use prl_dataset::Sequences;
use prl_encoders::PaddedBatch;
use prl_kernels::autograd::record;
use prl_kernels::ops::index_select::index_select;
use prl_kernels::packed::SeqOffsets;
use prl_nn::fused::dropout;
use prl_nn::{Backend, ForwardCtx};

use super::{Forward, Network};
use crate::error::{Error, Result};

impl Network {
    /// Forward pass for training; the hidden vectors are those of the examples of `sequences`, in
    /// their order. The dropout of the embedded items is drawn once for each row.
    ///
    /// # Errors
    /// [`Error::Config`] for an encoder that is not causal, and on a GPU.
    pub(crate) fn forward_sequences<'a>(
        &self,
        sequences: &'a Sequences,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Forward<'a>> {
        if self.embedding.table.backend() != Backend::CpuFused {
            return Err(Error::Config(
                "whole sessions train on a CPU only; use --device cpu, or --sampling pass".into(),
            ));
        }
        let leaf = self.embedding.rows(&sequences.items, 1)?;
        let (hidden, tape) = record(|| {
            let hidden = self.hidden_of_sequences(&leaf, sequences, prompts, pass)?;
            self.head_input(hidden)
        })?;
        Ok(Forward {
            items: &sequences.items,
            leaf,
            hidden,
            tape,
        })
    }

    fn hidden_of_sequences(
        &self,
        leaf: &Tensor,
        sequences: &Sequences,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let xs = dropout(&leaf.squeeze(1)?, self.options.item_dropout, pass)?;
        let xs = self.with_kinds(&xs, &sequences.kinds)?;
        let state = self.states_of_sequences(&xs, sequences, pass)?;
        let last = || index_select(&xs, &sequences.states);
        let state = self.state_residual.forward(&state, last)?;
        let Some(block) = &self.block else {
            return Ok(state);
        };
        let hidden = block.hidden(&EncodedState::Last(&state), prompts, pass)?;
        Ok(self.prompt_residual.forward(&hidden, || Ok(state))?)
    }

    /// The encoder's states `[B, width]` of items `[rows, dim]`.
    fn states_of_sequences(
        &self,
        xs: &Tensor,
        sequences: &Sequences,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let (windows, length) = (sequences.windows, sequences.window_len);
        let offsets = SeqOffsets::new(sequences.lengths.iter().map(|&n| n as usize));
        let (packed, all) = (offsets.rows(), xs.dim(0)?);
        let mut states = Vec::new();
        if packed > 0 {
            let rows = match windows {
                0 => xs.clone(),
                _ => row_range(xs, 0..packed)?,
            };
            let Some(every) = self.encoder.sequence_states(&rows, &offsets, pass)? else {
                return Err(Error::Config(
                    "this encoder has no states of whole sessions; use --sampling pass".into(),
                ));
            };
            let read = sequences.states.len() - windows;
            states.push(index_select(&every, &sequences.states[..read])?);
        }
        if windows > 0 {
            let xs = row_range(xs, packed..all)?.reshape((windows, length, ()))?;
            let batch = PaddedBatch {
                xs: &xs,
                lengths: &vec![length as u32; windows],
            };
            states.push(self.encoder.encode(&batch, pass)?);
        }
        Ok(Tensor::cat(&states, 0)?)
    }
}

/// These rows of `xs`. (candle's `narrow` adds zeros of the whole matrix in its backward pass.)
fn row_range(xs: &Tensor, rows: Range<usize>) -> candle_core::Result<Tensor> {
    let rows: Vec<u32> = (rows.start as u32..rows.end as u32).collect();
    index_select(xs, &rows)
}
