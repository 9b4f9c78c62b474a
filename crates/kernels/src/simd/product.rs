//! Register-blocked kernel of the matrix product, generic over instruction set and operand type.

use pulp::{Simd, WithSimd};

use crate::Real;
use crate::simd::element::Element;

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

/// Arguments of a product.
pub struct Product<'a, E: Element> {
    pub(super) shape: [usize; 2],
    pub(super) runs: &'a [Run],
    pub(super) start: Option<&'a [E::Sum]>,
    pub(super) a: Strided<'a, E>,
    pub(super) b: &'a [E],
    pub(super) b_row: usize,
    pub(super) c: &'a mut [E::Sum],
    pub(super) c_row: usize,
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
                    // Wrapping, since the pointers leave their slices after the last column.
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
            let mut sum = match self.start {
                Some(start) => E::Sum::splat(self.simd, start[i]),
                None => E::Sum::load_part(self.simd, out),
            };
            for run in self.runs {
                for k in 0..run.k {
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
