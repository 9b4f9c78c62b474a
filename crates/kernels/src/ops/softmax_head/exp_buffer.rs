//! Where the exponentials of a softmax wait between its two sweeps.

use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::{BLOCK, TILE};
use crate::CHUNKS;
use crate::simd::operand::GemmOperand;

/// Bytes of room: all of 80 thousand items under a batch of 256, of 160 thousand in bfloat16. Few under unit tests, so that they cross its end.
const ROOM: usize = if cfg!(test) { 1 << 20 } else { 80 << 20 };

/// A cache line, so that vectors lie on their own boundaries.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Buffers not in use. A step takes one and gives it back, so that its pages are mapped once.
static SPARE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// The exponentials of the first blocks of each chunk of items, a block for each panel of each tile, in this order.
pub(super) struct ExpBuffer<F> {
    lines: Vec<Line>,
    /// Elements of a chunk: whole blocks.
    chunk: usize,
    factors: PhantomData<F>,
}

impl<F: GemmOperand> ExpBuffer<F> {
    /// Room for chunks of `rows` items under some panels of hidden vectors, as far as it goes.
    pub(super) fn new(rows: usize, panels: usize) -> Self {
        let block = BLOCK / F::PACK;
        let room = ROOM / (CHUNKS * block * size_of::<F>());
        let chunk = block * room.min(rows.div_ceil(TILE) * panels).max(1);
        let needed = CHUNKS * chunk * size_of::<F>() / size_of::<Line>();
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let lines = spare
            .filter(|lines| lines.len() >= needed)
            .unwrap_or_else(|| vec![Line::zeroed(); needed]);
        Self {
            lines,
            chunk,
            factors: PhantomData,
        }
    }

    /// The room of each chunk.
    pub(super) fn chunks_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [F]> {
        let data: &mut [F] = &mut bytemuck::cast_slice_mut(&mut self.lines)[..CHUNKS * self.chunk];
        data.par_chunks_exact_mut(self.chunk)
    }

    /// What was kept of chunk `i`.
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
