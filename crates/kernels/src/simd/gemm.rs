//! Matrix product `C += A B` for tiles that stay in cache.
//!
//! Elements of `A` are read with any strides and broadcast; rows of `B` and `C` are read as
//! vectors. Thus none of the three products of a softmax head needs a transpose: scores = weight x
//! packed hidden, weight gradient = probabilities x hidden, hidden gradient = probabilities
//! (transposed by strides) x weight. bfloat16 operands are packed in pairs beforehand
//! ([`GemmOperand`]).

use bytemuck::Pod;
use pulp::{Scalar, Simd, WithSimd};

use crate::Real;
use crate::simd::operand::GemmOperand;

/// Hidden vectors per panel of the scoring kernel.
pub const PANEL: usize = 64;

/// Operand type of a product, of the size of its accumulator.
pub trait Element: Pod + Send + Sync {
    /// Accumulator type.
    type Sum: Real;

    /// The products of `a` and `b`, added to `sum`.
    fn accumulate<S: Simd>(
        simd: S,
        a: <Self::Sum as Real>::Vector<S>,
        b: <Self::Sum as Real>::Vector<S>,
        sum: <Self::Sum as Real>::Vector<S>,
    ) -> <Self::Sum as Real>::Vector<S>;
}

impl<T: Real> Element for T {
    type Sum = T;

    #[inline(always)]
    fn accumulate<S: Simd>(
        simd: S,
        a: T::Vector<S>,
        b: T::Vector<S>,
        sum: T::Vector<S>,
    ) -> T::Vector<S> {
        T::vmul_add(simd, a, b, sum)
    }
}

/// Matrix view with any strides: element (i, k) is `data[i * row + k * column]`.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Distance from one row to the next.
    pub row: usize,
    /// Distance from one column to the next.
    pub column: usize,
}

/// Consecutive columns of `A` and the rows of `B` that they multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of the first column in A.
    pub a: usize,
    /// Offset of the first row in B.
    pub b: usize,
    /// Number of columns.
    pub k: usize,
}

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

/// Arguments of a product.
pub struct Product<'a, E: Element> {
    shape: [usize; 2],
    runs: &'a [Run],
    start: Option<&'a [E::Sum]>,
    a: Strided<'a, E>,
    b: &'a [E],
    b_row: usize,
    c: &'a mut [E::Sum],
    c_row: usize,
}

impl<'a, E: Element> Product<'a, E> {
    /// Reinterprets the operands as another type of the same size.
    pub(crate) fn cast<F: Element<Sum = E::Sum>>(self) -> Product<'a, F> {
        let Self {
            shape,
            runs,
            start,
            a: Strided { data, row, column },
            b,
            b_row,
            c,
            c_row,
        } = self;
        let a = Strided {
            data: bytemuck::cast_slice(data),
            row,
            column,
        };
        Product {
            shape,
            runs,
            start,
            a,
            b: bytemuck::cast_slice(b),
            b_row,
            c,
            c_row,
        }
    }
}

impl<E: Element> WithSimd for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const {
            assert!(
                size_of::<E>() == size_of::<E::Sum>(),
                "elements are as wide as sums"
            )
        };
        let Self {
            shape: [m, n],
            runs,
            start,
            a,
            b,
            b_row,
            c,
            c_row,
        } = self;
        if m == 0 || n == 0 || runs.iter().all(|run| run.k == 0) {
            return;
        }
        for run in runs.iter().filter(|run| run.k > 0) {
            assert!(
                run.a + (m - 1) * a.row + (run.k - 1) * a.column < a.data.len(),
                "A is too short"
            );
            assert!(run.b + (run.k - 1) * b_row + n <= b.len(), "B is too short");
        }
        assert!(
            (m - 1) * c_row + n <= c.len() && (n <= c_row || m == 1),
            "C is too short"
        );
        let lanes = E::Sum::lanes::<S>();
        // Six rows by four vectors fill the 32 registers of AVX-512 and NEON, by two the 16 of
        // AVX2.
        let wide = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
        let mut j = 0;
        while j < n {
            let vectors = ((n - j) / lanes).min(wide);
            let block = Block {
                simd,
                m,
                runs,
                start,
                a,
                b: &b[j..],
                b_row,
                c_row,
            };
            match vectors {
                4 => block.rows::<4>(&mut c[j..]),
                3 => block.rows::<3>(&mut c[j..]),
                2 => block.rows::<2>(&mut c[j..]),
                1 => block.rows::<1>(&mut c[j..]),
                _ => {
                    block.tail(n - j, &mut c[j..]);
                    return;
                }
            }
            j += vectors * lanes;
        }
    }
}

/// A block of columns of the product.
#[derive(Clone, Copy)]
struct Block<'a, E: Element, S> {
    simd: S,
    m: usize,
    runs: &'a [Run],
    start: Option<&'a [E::Sum]>,
    a: Strided<'a, E>,
    b: &'a [E],
    b_row: usize,
    c_row: usize,
}

impl<E: Element, S: Simd> Block<'_, E, S> {
    #[inline(always)]
    fn rows<const V: usize>(self, c: &mut [E::Sum]) {
        let mut i = 0;
        while i < self.m {
            // SAFETY: the product checked that `m` rows of A and C exist, and of each run the
            // columns of A and the rows of B, rows of B and C with at least V vectors in each; and
            // `i` plus the rows taken never exceeds `m`.
            unsafe {
                match self.m - i {
                    6.. => i += self.registers::<6, V>(i, c),
                    4.. => i += self.registers::<4, V>(i, c),
                    2.. => i += self.registers::<2, V>(i, c),
                    _ => i += self.registers::<1, V>(i, c),
                }
            }
        }
    }

    /// R rows by V vectors, accumulated in registers over all runs. Returns R.
    ///
    /// # Safety
    /// Rows `i..i + R` of A and C exist, and every run, with V whole vectors in each row of B and
    /// C.
    #[inline(always)]
    unsafe fn registers<const R: usize, const V: usize>(self, i: usize, c: &mut [E::Sum]) -> usize {
        let lanes = E::Sum::lanes::<S>();
        // SAFETY: the caller's contract keeps every pointer below inside its slice.
        unsafe {
            let out = c.as_mut_ptr().add(i * self.c_row);
            let mut sum: [[<E::Sum as Real>::Vector<S>; V]; R] =
                std::array::from_fn(|r| match self.start {
                    Some(start) => [E::Sum::splat(self.simd, start[i + r]); V],
                    None => std::array::from_fn(|v| {
                        out.add(r * self.c_row + v * lanes)
                            .cast::<<E::Sum as Real>::Vector<S>>()
                            .read_unaligned()
                    }),
                });
            for run in self.runs {
                let mut a = self.a.data.as_ptr().wrapping_add(run.a + i * self.a.row);
                let mut b = self.b.as_ptr().wrapping_add(run.b);
                for _ in 0..run.k {
                    let row: [<E::Sum as Real>::Vector<S>; V] = std::array::from_fn(|v| {
                        b.add(v * lanes)
                            .cast::<<E::Sum as Real>::Vector<S>>()
                            .read_unaligned()
                    });
                    for (r, sum) in sum.iter_mut().enumerate() {
                        let x = broadcast::<E, S>(self.simd, *a.add(r * self.a.row));
                        for v in 0..V {
                            sum[v] = E::accumulate(self.simd, x, row[v], sum[v]);
                        }
                    }
                    a = a.wrapping_add(self.a.column);
                    b = b.wrapping_add(self.b_row);
                }
            }
            for (r, sum) in sum.iter().enumerate() {
                for (v, x) in sum.iter().enumerate() {
                    out.add(r * self.c_row + v * lanes)
                        .cast::<<E::Sum as Real>::Vector<S>>()
                        .write_unaligned(*x);
                }
            }
        }
        R
    }

    /// Remaining columns, fewer than a vector.
    #[inline(always)]
    fn tail(self, n: usize, c: &mut [E::Sum]) {
        for i in 0..self.m {
            let out = &mut c[i * self.c_row..][..n];
            let mut sum = self.start.map_or_else(
                || E::Sum::load_part(self.simd, out),
                |start| E::Sum::splat(self.simd, start[i]),
            );
            for (run, k) in self
                .runs
                .iter()
                .flat_map(|run| (0..run.k).map(move |k| (run, k)))
            {
                let x = broadcast::<E, S>(
                    self.simd,
                    self.a.data[run.a + i * self.a.row + k * self.a.column],
                );
                let row = E::Sum::load_part(
                    self.simd,
                    bytemuck::cast_slice(&self.b[run.b + k * self.b_row..][..n]),
                );
                sum = E::accumulate(self.simd, x, row, sum);
            }
            E::Sum::store_part(self.simd, out, sum);
        }
    }
}

/// Broadcasts an element to all lanes.
#[inline(always)]
fn broadcast<E: Element, S: Simd>(simd: S, x: E) -> <E::Sum as Real>::Vector<S> {
    E::Sum::splat(simd, bytemuck::cast(x))
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
                row.iter()
                    .enumerate()
                    .for_each(|(k, &x)| panel[k * PANEL + b] = x);
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
