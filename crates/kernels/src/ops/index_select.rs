//! Row gather, row scatter and element-wise add, each with a gradient.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use candle_core::{Result, Tensor, bail};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};

/// Gathers rows of `x` `[.., width]`: row i of the result is row `rows[i]`, counted over all
/// leading dimensions. The indices are distinct. Runs where [`runs_on`](crate::runs_on) is true.
pub fn index_select(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    let n = x.elem_count() / width.max(1);
    check(rows, n)?;
    Op::new(
        IndexSelect(Rows {
            rows: rows.to_vec(),
            n,
            width,
        }),
        (rows.len(), width),
    )
    .of([x])
}

/// Scatters rows to `[n, width]`: row i of `x` becomes row `rows[i]`, the others are zero. The
/// indices are distinct. Runs where [`runs_on`](crate::runs_on) is true.
pub fn scatter_rows(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
    let (from, width) = x.dims2()?;
    check(rows, n)?;
    if rows.len() != from {
        bail!("scatter_rows: {from} rows, but {} indices", rows.len());
    }
    Op::new(
        ScatterRows(Rows {
            rows: rows.to_vec(),
            n,
            width,
        }),
        (n, width),
    )
    .of([x])
}

fn check(rows: &[u32], n: usize) -> Result<()> {
    match rows.iter().find(|&&row| row as usize >= n) {
        Some(row) => bail!("index_select: row {row} is out of range; there are {n} rows"),
        None => Ok(()),
    }
}

/// Row indices into a matrix of `n` rows.
struct Rows {
    rows: Vec<u32>,
    n: usize,
    width: usize,
}

impl Rows {
    fn gather_cpu<T: Real>(&self, x: &[T]) -> Vec<T> {
        crate::ops::embedding::gather(x, self.width, &self.rows)
    }

    fn scatter_cpu<T: Real>(&self, x: &[T]) -> Vec<T> {
        let mut out = vec![T::zero(); self.n * self.width];
        for (&row, x) in self.rows.iter().zip(x.chunks_exact(self.width.max(1))) {
            out[row as usize * self.width..][..self.width].copy_from_slice(x);
        }
        out
    }
}

struct IndexSelect(Rows);

impl FusedOp<1> for IndexSelect {
    const NAME: &'static str = "index_select";
    type Saved<T: Real> = ();

    fn forward<T: Real>(&self, [x]: [&[T]; 1]) -> (Vec<T>, ()) {
        (self.0.gather_cpu(x), ())
    }

    fn backward<T: Real>(&self, _: [&[T]; 1], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 1] {
        [self.0.scatter_cpu(grad)]
    }
}

struct ScatterRows(Rows);

impl FusedOp<1> for ScatterRows {
    const NAME: &'static str = "scatter_rows";
    type Saved<T: Real> = ();

    fn forward<T: Real>(&self, [x]: [&[T]; 1]) -> (Vec<T>, ()) {
        (self.0.scatter_cpu(x), ())
    }

    fn backward<T: Real>(&self, _: [&[T]; 1], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 1] {
        [self.0.gather_cpu(grad)]
    }
}

/// `x + y` of one shape. Runs where [`runs_on`](crate::runs_on) is true.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if x.shape() != y.shape() {
        bail!("add: shapes {:?} and {:?} differ", x.shape(), y.shape());
    }
    Op::new(Add, x.shape()).of([x, y])
}

struct Add;

impl FusedOp<2> for Add {
    const NAME: &'static str = "add";
    const PASS_THROUGH_GRAD: [bool; 2] = [true, true];
    type Saved<T: Real> = ();

    fn forward<T: Real>(&self, [x, y]: [&[T]; 2]) -> (Vec<T>, ()) {
        (x.iter().zip(y).map(|(&x, &y)| x + y).collect(), ())
    }

    fn backward<T: Real>(&self, _: [&[T]; 2], _: &(), _: &[T], _: &[T]) -> [Vec<T>; 2] {
        [Vec::new(), Vec::new()]
    }
}
