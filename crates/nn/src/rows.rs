//! Rows of matrices, taken, put and added where they are needed: fused, or candle's operations where no kernel runs.

use candle_core::{D, Device, Result, Tensor};
use prl_kernels::mask::{self, Mask};
use prl_kernels::{pick, runs_on};

pub use prl_kernels::pick::Share;

/// Row `rows[i]` of `x` `[.., width]` as row i, its rows counted over all leading dimensions. The rows are distinct.
pub fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    if runs_on(x) { pick::take(x, rows) } else { composed::take(x, rows) }
}

/// The other way round: row i of `x` becomes row `rows[i]` of `n`, the others are zero. The rows are distinct.
pub fn put(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
    if runs_on(x) { pick::put(x, rows, n) } else { composed::put(x, rows, n) }
}

/// `x` `[n, width]` with shares of a table's rows `[m, width]`, or of `[width]`, added: positions, steps, a scaled embedding.
pub fn add_shares(x: &Tensor, table: &Tensor, shares: &[Share]) -> Result<Tensor> {
    if runs_on(x) { pick::add_shares(x, table, shares) } else { composed::add_shares(x, table, shares) }
}

/// `x + y` of one shape.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if runs_on(x) { pick::add(x, y) } else { x + y }
}

/// Each element times its factor.
pub(crate) fn dropout(x: &Tensor, mask: Mask) -> Result<Tensor> {
    if runs_on(x) { mask::dropout(x, mask) } else { composed::dropout(x, &mask) }
}

/// The same from candle's operations, on any device.
pub(crate) mod composed {
    use super::{D, Device, Mask, Result, Share, Tensor};

    pub(crate) fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        x.reshape(((), width))?.index_select(&ids(rows, x.device())?, 0)
    }

    pub(crate) fn put(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
        Tensor::zeros((n, x.dim(1)?), x.dtype(), x.device())?.index_add(&ids(rows, x.device())?, x, 0)
    }

    pub(crate) fn add_shares(x: &Tensor, table: &Tensor, shares: &[Share]) -> Result<Tensor> {
        let table = table.reshape(((), x.dim(1)?))?;
        let (n, m) = (x.dim(0)?, table.dim(0)?);
        let mut matrix = vec![0.0; n * m];
        for s in shares {
            matrix[s.to as usize * m + s.of as usize] += s.weight;
        }
        let matrix = Tensor::from_vec(matrix, (n, m), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?;
        x + matrix.matmul(&table)?
    }

    pub(crate) fn dropout(x: &Tensor, mask: &Mask) -> Result<Tensor> {
        x * Tensor::from_vec(mask.factors(), x.shape(), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?
    }

    fn ids(rows: &[u32], device: &Device) -> Result<Tensor> {
        Tensor::from_slice(rows, rows.len(), device)
    }
}

#[cfg(test)]
mod tests {
    use super::{Mask, Share, add, add_shares, composed, dropout, put, take};
    use crate::check::{differences, one, values};

    fn mask(n: usize) -> Mask {
        Mask::new(prl_seed::stream(1, "mask", 0), n, 0.4)
    }

    #[test]
    fn the_fused_and_the_composed_ways_are_one() {
        let (x, table) = (values(&[5, 7], "x"), values(&[3, 7], "table"));
        let rows = [3, 0, 4];
        let cube = values(&[2, 3, 7], "cube");
        one(&[&x], |a| take(a[0], &rows), |a| composed::take(a[0], &rows));
        one(&[&cube], |a| take(a[0], &rows), |a| composed::take(a[0], &rows));
        one(&[&table], |a| put(a[0], &rows, 6), |a| composed::put(a[0], &rows, 6));
        let share = |to, of, weight| Share { to, of, weight };
        let shares = [share(4, 2, 0.5), share(0, 2, -1.0), share(4, 0, 2.0), share(4, 2, 1.0)];
        one(&[&x, &table], |a| add_shares(a[0], a[1], &shares), |a| composed::add_shares(a[0], a[1], &shares));
        one(&[&x], |a| dropout(a[0], mask(35)), |a| composed::dropout(a[0], &mask(35)));
        one(&[&x, &values(&[5, 7], "y")], |a| add(a[0], a[1]), |a| a[0] + a[1]);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (x, table) = (values(&[5, 3], "x"), values(&[4, 3], "table"));
        let shares = [(4, 2, 0.5), (0, 2, -1.0), (4, 0, 2.0)].map(|(to, of, weight)| Share { to, of, weight });
        differences(&[&x], |a| take(a[0], &[3, 0, 4]));
        differences(&[&x], |a| put(a[0], &[6, 0, 4, 1, 2], 7));
        differences(&[&x, &table], |a| add_shares(a[0], a[1], &shares));
        differences(&[&x], |a| dropout(a[0], mask(15)));
        differences(&[&x, &x], |a| add(a[0], a[1]));
    }

    #[test]
    fn rows_beyond_the_matrix_are_an_error() {
        let x = values(&[5, 7], "x");
        assert!(take(&x, &[5]).is_err());
        assert!(put(&x, &[0, 1, 2, 3, 9], 9).is_err());
        assert!(put(&x, &[0, 1], 9).is_err());
        assert!(add_shares(&x, &x, &[Share { to: 5, of: 0, weight: 1.0 }]).is_err());
    }
}
