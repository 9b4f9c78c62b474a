//! The row operations of prl-kernels against candle's, and their gradients.

use candle_core::Tensor;
use prl_kernels::ops::dropout::{DropoutMask, dropout};
use prl_kernels::ops::embedding_sum::{RowWeights, WeightedRow, WeightedTable, embedding_sum};
use prl_kernels::ops::index_select::{add, index_select, scatter_rows};
use prl_testkit::{assert_gradients, assert_same, values};

/// The operations by candle's, on any device.
mod reference {
    use candle_core::bail;

    use candle_core::{D, Device, Result, Tensor};
    use prl_kernels::ops::dropout::DropoutMask;
    use prl_kernels::ops::embedding_sum::{RowWeights, WeightedTable};

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
            bail!("no parts")
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

/// Five rows of two tables: row i of the first, weighted rows of the second.
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

/// Five rows of three tables, some without a row of a table.
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

/// A table and the weighted rows of it; row 9 stands for none.
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
fn fused_row_operations_match_candle() {
    let (x, table) = (values(&[5, 7], "x"), values(&[3, 7], "table"));
    let rows = [3, 0, 4];
    let cube = values(&[2, 3, 7], "cube");
    assert_same(
        &[&x],
        |a| index_select(a[0], &rows),
        |a| reference::take(a[0], &rows),
    );
    assert_same(
        &[&cube],
        |a| index_select(a[0], &rows),
        |a| reference::take(a[0], &rows),
    );
    assert_same(
        &[&table],
        |a| scatter_rows(a[0], &rows, 6),
        |a| reference::put(a[0], &rows, 6),
    );
    for mask in [None, Some(mask(35))] {
        let mask = || mask.clone();
        assert_same(
            &[&x, &table],
            |a| embedding_sum(two(a), mask()),
            |a| reference::blend(&two(a), mask().as_ref()),
        );
        let row = values(&[7], "row");
        assert_same(
            &[&table, &row, &x],
            |a| embedding_sum(three(a), mask()),
            |a| reference::blend(&three(a), mask().as_ref()),
        );
    }
    assert_same(
        &[&x],
        |a| dropout(a[0], mask(35)),
        |a| reference::dropout(a[0], &mask(35)),
    );
    assert_same(
        &[&x, &values(&[5, 7], "y")],
        |a| add(a[0], a[1]),
        |a| a[0] + a[1],
    );
}

#[test]
fn gradients_agree_with_finite_assert_gradients() {
    let (x, table) = (values(&[5, 3], "x"), values(&[4, 3], "table"));
    assert_gradients(&[&x], |a| index_select(a[0], &[3, 0, 4]));
    assert_gradients(&[&x], |a| scatter_rows(a[0], &[6, 0, 4, 1, 2], 7));
    assert_gradients(&[&x, &table], |a| embedding_sum(two(a), Some(mask(15))));
    assert_gradients(&[&table, &values(&[3], "row"), &x], |a| {
        embedding_sum(three(a), Some(mask(15)))
    });
    assert_gradients(&[&x], |a| dropout(a[0], mask(15)));
    assert_gradients(&[&x, &x], |a| add(a[0], a[1]));
}

#[test]
fn rows_out_of_range_are_an_error() {
    let x = values(&[5, 7], "x");
    assert!(index_select(&x, &[5]).is_err());
    assert!(scatter_rows(&x, &[0, 1, 2, 3, 9], 9).is_err());
    assert!(scatter_rows(&x, &[0, 1], 9).is_err());
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
    assert!(embedding_sum(vec![part(vec![share(4)]), part(vec![share(5)])], None).is_err());
    assert!(embedding_sum(vec![part(vec![share(4)]), part(vec![share(4), None])], None).is_err());
    assert!(
        embedding_sum(
            vec![part(vec![share(4)]), part(vec![share(4)])],
            Some(mask(8))
        )
        .is_err()
    );
    assert!(embedding_sum(vec![part(vec![share(4)])], None).is_err());
}
