//! Rows of matrices, taken, put and added where they are needed: fused, or candle's operations where no kernel runs.

use candle_core::{D, Device, Result, Tensor};
use prl_kernels::ops::dropout::{self, DropoutMask};
use prl_kernels::ops::embedding_sum;
use prl_kernels::ops::index_select;
use prl_kernels::runs_on;

pub use prl_kernels::ops::embedding_sum::{RowWeights, WeightedRow, WeightedTable};

/// Row `rows[i]` of `x` `[.., width]` as row i, its rows counted over all leading dimensions. The rows are distinct.
pub fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    if runs_on(x) {
        index_select::index_select(x, rows)
    } else {
        composed::take(x, rows)
    }
}

/// The other way round: row i of `x` becomes row `rows[i]` of `n`, the others are zero. The rows are distinct.
pub fn put(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
    if runs_on(x) {
        index_select::scatter_rows(x, rows, n)
    } else {
        composed::put(x, rows, n)
    }
}

/// `[n, width]`: each row the sum of what it has of two or three tables, times its factors of a mask: items with their
/// positions, the tokens of a prompt.
pub fn blend(parts: Vec<WeightedTable<'_>>, mask: Option<DropoutMask>) -> Result<Tensor> {
    if parts.iter().all(|part| runs_on(part.table)) {
        embedding_sum::embedding_sum(parts, mask)
    } else {
        composed::blend(&parts, mask.as_ref())
    }
}

/// `x + y` of one shape.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if runs_on(x) {
        index_select::add(x, y)
    } else {
        x + y
    }
}

/// Each element times its factor.
pub(crate) fn dropout(x: &Tensor, mask: DropoutMask) -> Result<Tensor> {
    if runs_on(x) {
        dropout::dropout(x, mask)
    } else {
        composed::dropout(x, &mask)
    }
}

/// The same from candle's operations, on any device.
pub(crate) mod composed {
    use candle_core::bail;

    use super::{D, Device, DropoutMask, Result, RowWeights, Tensor, WeightedTable};

    pub(crate) fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        x.reshape(((), width))?
            .index_select(&ids(rows, x.device())?, 0)
    }

    pub(crate) fn put(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
        Tensor::zeros((n, x.dim(1)?), x.dtype(), x.device())?.index_add(
            &ids(rows, x.device())?,
            x,
            0,
        )
    }

    pub(crate) fn blend(parts: &[WeightedTable<'_>], mask: Option<&DropoutMask>) -> Result<Tensor> {
        let of = |WeightedTable {
                      table,
                      rows: shares,
                  }: &WeightedTable<'_>| {
            let table = table.reshape(((), table.dim(D::Minus1)?))?;
            let RowWeights::Gathered(shares) = shares else {
                return Ok(table);
            };
            let (n, m) = (shares.len(), table.dim(0)?);
            let mut matrix = vec![0.0; n * m];
            for (row, share) in shares
                .iter()
                .enumerate()
                .filter_map(|(row, share)| Some((row, (*share)?)))
            {
                matrix[row * m + share.row as usize] = share.weight;
            }
            let matrix = Tensor::from_vec(matrix, (n, m), &Device::Cpu)?.to_dtype(table.dtype())?;
            matrix.to_device(table.device())?.matmul(&table)
        };
        let sum = parts.iter().map(of).reduce(|sum, part| sum? + part?);
        let Some(sum) = sum.transpose()? else {
            bail!("a blend of nothing")
        };
        match mask {
            Some(mask) => dropout(&sum, mask),
            None => Ok(sum),
        }
    }

    pub(crate) fn dropout(x: &Tensor, mask: &DropoutMask) -> Result<Tensor> {
        x * Tensor::from_vec(mask.factors(), x.shape(), &Device::Cpu)?
            .to_dtype(x.dtype())?
            .to_device(x.device())?
    }

    fn ids(rows: &[u32], device: &Device) -> Result<Tensor> {
        Tensor::from_slice(rows, rows.len(), device)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        DropoutMask, RowWeights, Tensor, WeightedRow, WeightedTable, add, blend, composed, dropout,
        put, take,
    };
    use crate::check::{differences, one, values};

    /// Five rows of two tables: their own of the first, and some of the second.
    fn two<'a>(tables: &[&'a Tensor]) -> Vec<WeightedTable<'a>> {
        let shares = [(2, 0.5), (9, 0.0), (2, -1.0), (0, 2.0), (2, 1.0)];
        vec![
            WeightedTable {
                table: tables[0],
                rows: RowWeights::Identity,
            },
            part(tables[1], &shares),
        ]
    }

    /// Five rows of three tables, a row that has nothing among them.
    fn three<'a>(tables: &[&'a Tensor]) -> Vec<WeightedTable<'a>> {
        let shares = [
            [(0, 1.0), (9, 0.0), (2, 1.0), (9, 0.0), (1, 0.5)],
            [(9, 0.0), (9, 0.0), (0, 1.5), (0, -0.3), (0, 2.0)],
            [(4, 1.0), (9, 0.0), (9, 0.0), (0, 1.0), (4, 0.2)],
        ];
        tables
            .iter()
            .zip(&shares)
            .map(|(table, shares)| part(table, shares))
            .collect()
    }

    /// A table and the shares of it; row 9 is none.
    fn part<'a>(table: &'a Tensor, shares: &[(u32, f64)]) -> WeightedTable<'a> {
        let shares = shares
            .iter()
            .map(|&(of, weight)| (of != 9).then_some(WeightedRow { row: of, weight }));
        WeightedTable {
            table,
            rows: RowWeights::Gathered(shares.collect()),
        }
    }

    fn mask(n: usize) -> DropoutMask {
        DropoutMask::new(prl_seed::stream(1, "mask", 0), n, 0.4)
    }

    #[test]
    fn the_fused_and_the_composed_ways_are_one() {
        let (x, table) = (values(&[5, 7], "x"), values(&[3, 7], "table"));
        let rows = [3, 0, 4];
        let cube = values(&[2, 3, 7], "cube");
        one(
            &[&x],
            |a| take(a[0], &rows),
            |a| composed::take(a[0], &rows),
        );
        one(
            &[&cube],
            |a| take(a[0], &rows),
            |a| composed::take(a[0], &rows),
        );
        one(
            &[&table],
            |a| put(a[0], &rows, 6),
            |a| composed::put(a[0], &rows, 6),
        );
        for mask in [None, Some(mask(35))] {
            let mask = || mask.clone();
            one(
                &[&x, &table],
                |a| blend(two(a), mask()),
                |a| composed::blend(&two(a), mask().as_ref()),
            );
            let row = values(&[7], "row");
            one(
                &[&table, &row, &x],
                |a| blend(three(a), mask()),
                |a| composed::blend(&three(a), mask().as_ref()),
            );
        }
        one(
            &[&x],
            |a| dropout(a[0], mask(35)),
            |a| composed::dropout(a[0], &mask(35)),
        );
        one(
            &[&x, &values(&[5, 7], "y")],
            |a| add(a[0], a[1]),
            |a| a[0] + a[1],
        );
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (x, table) = (values(&[5, 3], "x"), values(&[4, 3], "table"));
        differences(&[&x], |a| take(a[0], &[3, 0, 4]));
        differences(&[&x], |a| put(a[0], &[6, 0, 4, 1, 2], 7));
        differences(&[&x, &table], |a| blend(two(a), Some(mask(15))));
        differences(&[&table, &values(&[3], "row"), &x], |a| {
            blend(three(a), Some(mask(15)))
        });
        differences(&[&x], |a| dropout(a[0], mask(15)));
        differences(&[&x, &x], |a| add(a[0], a[1]));
    }

    #[test]
    fn rows_beyond_the_matrix_are_an_error() {
        let x = values(&[5, 7], "x");
        assert!(take(&x, &[5]).is_err());
        assert!(put(&x, &[0, 1, 2, 3, 9], 9).is_err());
        assert!(put(&x, &[0, 1], 9).is_err());
        let part = |shares| WeightedTable {
            table: &x,
            rows: RowWeights::Gathered(shares),
        };
        let share = |of| {
            Some(WeightedRow {
                row: of,
                weight: 1.0,
            })
        };
        assert!(blend(vec![part(vec![share(4)]), part(vec![share(5)])], None).is_err());
        assert!(blend(vec![part(vec![share(4)]), part(vec![share(4), None])], None).is_err());
        assert!(
            blend(
                vec![part(vec![share(4)]), part(vec![share(4)])],
                Some(mask(8))
            )
            .is_err()
        );
        assert!(blend(vec![part(vec![share(4)])], None).is_err());
    }
}
