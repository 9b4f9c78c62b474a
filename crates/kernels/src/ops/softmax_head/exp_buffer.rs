//! Buffer of the exponentials between the two sweeps of the softmax head.

use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use crate::CHUNKS;
use crate::simd::gemm::PANEL;
use crate::simd::operand::GemmOperand;

/// Items per tile: 16 groups of the product kernel's 6 rows.
pub(super) const TILE: usize = 96;
/// Scores of a tile for a panel of hidden vectors.
pub(super) const BLOCK: usize = TILE * PANEL;
/// Capacity in bytes: 80,000 items for a batch of 256, 160,000 in bfloat16. Small in unit tests, so
/// that they exceed it.
const ROOM: usize = if cfg!(test) { 1 << 20 } else { 80 << 20 };

/// A cache line: non-temporal stores need aligned vectors.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Unused buffers. Reuse avoids mapping their pages again in every step.
static SPARE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// Exponentials of the first blocks of each chunk of items; one block per tile and panel, in this
/// order.
pub(super) struct ExpBuffer<F> {
    lines: Vec<Line>,
    /// Elements per chunk: whole blocks.
    chunk: usize,
    factors: PhantomData<F>,
}

impl<F: GemmOperand> ExpBuffer<F> {
    /// A buffer for chunks of `rows` items and `panels` panels, up to the capacity.
    pub(super) fn new(rows: usize, panels: usize) -> Self {
        let block = BLOCK / F::PACK;
        let room = ROOM / (CHUNKS * block * size_of::<F>());
        let chunk = block * room.min(rows.div_ceil(TILE) * panels).max(1);
        let needed = CHUNKS * chunk * size_of::<F>() / size_of::<Line>();
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A spare buffer that is too small is freed.
        let lines = spare
            .filter(|lines| lines.len() >= needed)
            .unwrap_or_else(|| vec![Line::zeroed(); needed]);
        Self {
            lines,
            chunk,
            factors: PhantomData,
        }
    }

    /// Mutable range of each chunk.
    pub(super) fn chunks_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [F]> {
        let data: &mut [F] = &mut bytemuck::cast_slice_mut(&mut self.lines)[..CHUNKS * self.chunk];
        data.par_chunks_exact_mut(self.chunk)
    }

    /// Stored exponentials of chunk `i`.
    pub(super) fn chunk(&self, i: usize) -> &[F] {
        &bytemuck::cast_slice(&self.lines)[i * self.chunk..][..self.chunk]
    }
}

impl<F> Drop for ExpBuffer<F> {
    fn drop(&mut self) {
        SPARE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(std::mem::take(&mut self.lines));
    }
}
