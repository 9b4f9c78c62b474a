//! Tiling of products over thread blocks.

/// Threads of a tile's block.
pub(crate) const THREADS: u32 = 256;
/// Rows and columns of a product's tile (`gemm.cuh`).
const ROWS: usize = 16;
pub(crate) const COLUMNS: usize = 64;
/// Side of a weight gradient's tile, and rows loaded at a time (`gradient.cuh`).
const SIDE: usize = 64;
const TURN: usize = 32;
/// Blocks that fill a GPU: the multiprocessors of an H100.
const BUSY: usize = 132;

/// Number of tiles of a product: vertically, horizontally.
pub(crate) fn of_product(rows: usize, columns: usize) -> [usize; 2] {
    [rows.div_ceil(ROWS), columns.div_ceil(COLUMNS)]
}

/// Split of the rows whose products are summed to a weight gradient. It depends on the sizes alone,
/// so the sums are reproducible.
pub(crate) struct Parts {
    pub(crate) count: usize,
    /// Rows per part; the last may have fewer.
    pub(crate) rows: usize,
    /// Tiles per part.
    pub(crate) tiles: usize,
}

impl Parts {
    /// Of `n` rows, for the gradients of `matrices` matrices `[inputs, outputs]` at a time.
    pub(crate) fn new(n: usize, matrices: usize, inputs: usize, outputs: usize) -> Self {
        let tiles = matrices * inputs.div_ceil(SIDE) * outputs.div_ceil(SIDE);
        let rows = n
            .div_ceil((BUSY / tiles).max(1))
            .next_multiple_of(TURN)
            .max(TURN);
        Self {
            count: n.div_ceil(rows).max(1),
            rows,
            tiles,
        }
    }
}
