//! How products are shared out among blocks of threads, a tile each.

/// Threads that make a tile.
pub(crate) const THREADS: u32 = 256;
/// The rows and columns of a tile of a product (`product.cuh`).
const ROWS: usize = 16;
pub(crate) const COLUMNS: usize = 64;
/// The side of a tile of a gradient, and the rows that a block takes at a time (`gradient.cuh`).
const SIDE: usize = 64;
const TURN: usize = 32;
/// About so many blocks keep a GPU busy.
const BUSY: usize = 132;

/// The tiles of a product of so many rows and columns: down, and across.
pub(crate) fn of_product(rows: usize, columns: usize) -> [usize; 2] {
    [rows.div_ceil(ROWS), columns.div_ceil(COLUMNS)]
}

/// The parts of rows whose sums become gradients. They depend on sizes alone, and with them the sums.
pub(crate) struct Parts {
    pub(crate) count: usize,
    /// The rows of each, but for those that the last may lack.
    pub(crate) rows: usize,
    /// The tiles of each.
    pub(crate) tiles: usize,
}

impl Parts {
    /// Of `n` rows, for gradients of so many matrices `[inputs, outputs]` at a time.
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
