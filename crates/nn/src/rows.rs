//! Rows of matrices, taken, put and added where they are needed.

use candle_core::{Device, Result, Tensor};

/// Row `rows[i]` of `x` `[n, width]` as row i. The rows are distinct.
pub fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    x.index_select(&ids(rows, x.device())?, 0)
}

/// The other way round: row i of `x` becomes row `rows[i]` of `n`, the others are zero. The rows are distinct.
pub fn put(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
    Tensor::zeros((n, x.dim(1)?), x.dtype(), x.device())?.index_add(&ids(rows, x.device())?, x, 0)
}

/// What to add to a row: `weight` times row `of` of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The row that is added to.
    pub to: u32,
    /// The table's row.
    pub of: u32,
    /// How much of it.
    pub weight: f64,
}

/// `x` `[n, width]` with shares of a table's `[m, width]` rows added: positions, steps, a scaled embedding.
pub fn add_shares(x: &Tensor, table: &Tensor, shares: &[Share]) -> Result<Tensor> {
    let (n, m) = (x.dim(0)?, table.dim(0)?);
    let mut matrix = vec![0.0; n * m];
    for s in shares {
        matrix[s.to as usize * m + s.of as usize] += s.weight;
    }
    let matrix = Tensor::from_vec(matrix, (n, m), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?;
    x + matrix.matmul(table)?
}

fn ids(rows: &[u32], device: &Device) -> Result<Tensor> {
    Tensor::from_slice(rows, rows.len(), device)
}
