//! Matrix product `C += A B` for tiles that stay in cache.
//!
//! Elements of `A` are read with any strides and broadcast; rows of `B` and `C` are read as
//! vectors. Thus none of the three products of a softmax head needs a transpose: scores = weight x
//! packed hidden, weight gradient = probabilities x hidden, hidden gradient = probabilities
//! (transposed by strides) x weight. bfloat16 operands are packed in pairs beforehand
//! ([`GemmOperand`]).

use pulp::{Scalar, Simd};

use crate::Real;
use crate::simd::operand::GemmOperand;
use crate::simd::product::Product;
pub use crate::simd::product::{Run, Strided};

/// Hidden vectors per panel of the scoring kernel.
pub const PANEL: usize = 64;

/// `C[m, n] += A[m, k] B[k, n]`, `B` and `C` row-major with `b_row` and `c_row` elements from row
/// to row. Each element is one chain of accumulations in order of `k`, so its value depends only on
/// its row of `A` and column of `B`.
///
/// Not inlined: the register blocks are compiled once per type and instruction set.
///
/// # Panics
/// If a slice is too short for the shape.
pub fn multiply_add<F: GemmOperand, S: Simd>(
    simd: S,
    shape: [usize; 3],
    a: Strided<'_, F>,
    b: &[F],
    b_row: usize,
    c: &mut [F::Sum],
    c_row: usize,
) {
    let [m, n, k] = shape;
    multiply_runs(
        simd,
        [m, n],
        &[Run { a: 0, b: 0, k }],
        a,
        b,
        b_row,
        c,
        c_row,
    );
}

/// `C[m, n] += A B` restricted to some runs of the inner dimension.
///
/// # Panics
/// If a slice is too short for the shape or a run.
#[allow(clippy::too_many_arguments)]
pub fn multiply_runs<F: GemmOperand, S: Simd>(
    simd: S,
    shape: [usize; 2],
    runs: &[Run],
    a: Strided<'_, F>,
    b: &[F],
    b_row: usize,
    c: &mut [F::Sum],
    c_row: usize,
) {
    F::run(
        simd,
        Product {
            shape,
            runs,
            start: None,
            a,
            b,
            b_row,
            c,
            c_row,
        },
    );
}

/// `C[i, :] = start[i] + (A B)[i, :]`: [`multiply_add`] that starts from one value per row instead
/// of `C`; `k` must not be zero.
///
/// # Panics
/// If a slice is too short for the shape.
#[allow(clippy::too_many_arguments)]
pub fn multiply_onto<F: GemmOperand, S: Simd>(
    simd: S,
    shape: [usize; 3],
    start: &[F::Sum],
    a: Strided<'_, F>,
    b: &[F],
    b_row: usize,
    c: &mut [F::Sum],
    c_row: usize,
) {
    let [m, n, k] = shape;
    let runs = &[Run { a: 0, b: 0, k }];
    F::run(
        simd,
        Product {
            shape: [m, n],
            runs,
            start: Some(&start[..m]),
            a,
            b,
            b_row,
            c,
            c_row,
        },
    );
}

/// Hidden vectors `[batch, width]` transposed for scoring: panels of `[width, PANEL]` in the layout
/// of [`GemmOperand::pack_columns`], zero past the end of the batch.
pub struct Packed<F> {
    data: Vec<F>,
    batch: usize,
    width: usize,
}

impl<F: GemmOperand> Packed<F> {
    /// Packs a row-major `[batch, width]`.
    pub fn new(hidden: &[F::Sum], width: usize) -> Self {
        let batch = hidden.len() / width;
        let zero = <F::Sum as num_traits::Zero>::zero();
        let mut panel = vec![zero; width * PANEL];
        let depth = width.div_ceil(F::PACK);
        let mut data = Vec::with_capacity(batch.div_ceil(PANEL) * depth * PANEL);
        let mut room = Vec::new();
        for rows in hidden.chunks(PANEL * width) {
            panel.fill(zero);
            for (b, row) in rows.chunks_exact(width).enumerate() {
                for (k, &x) in row.iter().enumerate() {
                    panel[k * PANEL + b] = x;
                }
            }
            data.extend_from_slice(F::pack_columns(Scalar, &panel, PANEL, &mut room));
        }
        Self { data, batch, width }
    }

    /// The number of hidden vectors.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// First hidden vector and number of hidden vectors of each panel.
    pub fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<F> {
        let batch = self.batch;
        (0..batch)
            .step_by(PANEL)
            .map(move |start| (start, (batch - start).min(PANEL)))
    }

    /// Scores of some items under the panel that starts at hidden vector `start`: `out[i, c] =
    /// bias[i] + weight[i] . hidden[c]`, rows of PANEL, with weights from
    /// [`GemmOperand::pack_rows`]. Columns beyond the batch hold the bias or are left alone.
    #[inline(always)]
    pub fn score<S: Simd>(
        &self,
        simd: S,
        start: usize,
        weight: &[F],
        bias: &[F::Sum],
        out: &mut [F::Sum],
    ) {
        let columns = (self.batch - start)
            .min(PANEL)
            .next_multiple_of(F::Sum::lanes::<S>())
            .min(PANEL);
        let width = self.width.div_ceil(F::PACK);
        let panel = &self.data[start / PANEL * width * PANEL..][..width * PANEL];
        let a = Strided {
            data: weight,
            row: width,
            column: 1,
        };
        multiply_onto(
            simd,
            [bias.len(), columns, width],
            bias,
            a,
            panel,
            PANEL,
            out,
            PANEL,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Strided, multiply_add};
    use proptest::prelude::*;
    use pulp::{Arch, Scalar, Simd, WithSimd};

    struct Product<'a>([usize; 3], bool, &'a [f64], &'a [f64], &'a mut [f64]);
    impl WithSimd for Product<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let [m, n, k] = self.0;
            let (row, column) = if self.1 { (1, m) } else { (k, 1) };
            multiply_add(
                simd,
                [m, n, k],
                Strided {
                    data: self.2,
                    row,
                    column,
                },
                self.3,
                n,
                self.4,
                n,
            );
        }
    }

    proptest! {
        #[test]
        fn multiply_add_matches_plain_loops(m in 1..20usize, n in 1..70usize, k in 1..20usize, across: bool) {
            let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.7).sin()).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.3).cos()).collect();
            let start: Vec<f64> = (0..m * n).map(|i| i as f64).collect();
            let (mut fast, mut scalar) = (start.clone(), start.clone());
            Arch::new().dispatch(Product([m, n, k], across, &a, &b, &mut fast));
            Product([m, n, k], across, &a, &b, &mut scalar).with_simd(Scalar);
            for i in 0..m {
                for j in 0..n {
                    let at = |i: usize, l: usize| if across { a[l * m + i] } else { a[i * k + l] };
                    let plain = start[i * n + j] + (0..k).map(|l| at(i, l) * b[l * n + j]).sum::<f64>();
                    prop_assert!((fast[i * n + j] - plain).abs() < 1e-10);
                    prop_assert!((scalar[i * n + j] - plain).abs() < 1e-10);
                }
            }
        }
    }
}
