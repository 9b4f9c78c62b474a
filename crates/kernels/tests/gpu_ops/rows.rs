//! Rows taken, scatter_rows, added and blended, and masks.

use candle_core::{DType, Tensor};
use prl_kernels::ops::dropout::{DropoutMask, dropout};
use prl_kernels::ops::embedding_sum::{RowWeights, WeightedRow, WeightedTable, embedding_sum};
use prl_kernels::ops::index_select::{add, index_select, scatter_rows};

use super::{flat, same, values};

#[test]
fn index_select_scatter_rows_and_add_match_cpu() {
    for width in [1, 7, 64, 100] {
        let x = [values(&[5, width], 1)];
        same("take", &x, |a| index_select(a[0], &[3, 0, 4]));
        same("put", &x, |a| scatter_rows(a[0], &[6, 0, 4, 1, 2], 9));
        same("add", &[x[0].clone(), values(&[5, width], 2)], |a| {
            add(a[0], a[1])
        });
    }
}

#[test]
fn embedding_sum_matches_cpu() {
    fn own(table: &Tensor) -> WeightedTable<'_> {
        WeightedTable {
            table,
            rows: RowWeights::Identity,
        }
    }
    /// So many rows that have some of a table's first `of`, and some that have nothing.
    fn part(table: &Tensor, n: usize, of: usize) -> WeightedTable<'_> {
        let share = |i: usize| WeightedRow {
            row: (i * 7 % of) as u32,
            weight: (i as f64).cos(),
        };
        WeightedTable {
            table,
            rows: RowWeights::Gathered((0..n).map(|i| (i % 5 > 0).then(|| share(i))).collect()),
        }
    }
    // More rows that have one row of a table than a block shares out at once; tables with rows that
    // nothing has.
    for (n, width) in [(1, 1), (5, 7), (700, 64), (90, 100)] {
        let tables = [
            values(&[n, width], 1),
            values(&[4, width], 2),
            values(&[width], 3),
        ];
        let mask = DropoutMask::new(prl_seed::stream(1, "mask", 0), n * width, 0.4);
        for mask in [None, Some(mask.clone()), Some(mask.skip(37))] {
            same("two", &tables[..2], |a| {
                embedding_sum(vec![own(a[0]), part(a[1], n, 3)], mask.clone())
            });
            same("three", &tables, |a| {
                embedding_sum(
                    vec![part(a[0], n, n), part(a[1], n, 3), part(a[2], n, 1)],
                    mask.clone(),
                )
            });
        }
    }
}

#[test]
fn add_by_row_matches_cpu() {
    let gpu = prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`");
    // More rows of one id than a block has threads for; more ids than are grouped on the GPU.
    for (n, width) in [(1, 3), (400, 64), (17_000, 1)] {
        let ids: Vec<u32> = (0..n).map(|i| i * 7 % 5).collect();
        let weights: Vec<f32> = (0..n).map(|i| (i as f32).cos()).collect();
        let x = values(&[n as usize, width], 1);
        let rows = x.to_vec2::<f64>().unwrap();
        let on_gpu = x.to_dtype(DType::F32).unwrap().to_device(&gpu).unwrap();
        for weights in [None, Some(&weights[..])] {
            let mut sums = vec![0.0; 6 * width];
            for ((i, &id), row) in ids.iter().enumerate().zip(&rows) {
                let weight = weights.map_or(1.0, |weights| f64::from(weights[i]));
                sums[id as usize * width..][..width]
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, x)| *sum += weight * x);
            }
            let found = flat(
                &prl_kernels::ops::embedding::cuda::add_by_row(6, &ids, weights, &on_gpu).unwrap(),
            );
            for (a, b) in sums.iter().zip(found) {
                assert!((a - b).abs() < 1e-3, "{n} rows of {width}: {a} and {b}");
            }
        }
    }
}

#[test]
fn dropout_masks_equal_those_of_the_cpu() {
    // A block of the generator is 32 elements, and a block of threads 2,048.
    for (n, before) in [(1, 0), (100, 31), (2048, 0), (5000, 2100)] {
        let mask = DropoutMask::new(prl_seed::stream(1, "mask", n as u64), n, 0.4).skip(before);
        same("dropout", &[values(&[n], 1)], |a| {
            dropout(a[0], mask.clone())
        });
    }
}
