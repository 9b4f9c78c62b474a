//! Rows taken, put and added; elements scaled: the small change between the large operations.

#[cfg(feature = "cuda")]
pub(crate) mod gpu;

use candle_core::{Result, Tensor, bail};

use crate::Real;
use crate::op::{Fused, Op};
use crate::slices::add_scaled;

/// Row `rows[i]` of `x` `[.., width]` as row i, its rows counted over all leading dimensions. The rows are distinct. Where
/// [`runs_on`](crate::runs_on) says.
pub fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    let n = x.elem_count() / width.max(1);
    check(rows, n)?;
    x.contiguous()?.apply_op1(Op::new(Take(Rows { rows: rows.to_vec(), n, width }), (rows.len(), width)))
}

/// The other way round: row i of `x` becomes row `rows[i]` of `n`, the others are zero. The rows are distinct. Where
/// [`runs_on`](crate::runs_on) says.
pub fn put(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
    let (from, width) = x.dims2()?;
    check(rows, n)?;
    if rows.len() != from {
        bail!("put: {from} rows to {} places", rows.len());
    }
    x.contiguous()?.apply_op1(Op::new(Put(Rows { rows: rows.to_vec(), n, width }), (n, width)))
}

fn check(rows: &[u32], n: usize) -> Result<()> {
    match rows.iter().find(|&&row| row as usize >= n) {
        Some(row) => bail!("row {row} of {n}"),
        None => Ok(()),
    }
}

struct Rows {
    rows: Vec<u32>,
    n: usize,
    width: usize,
}

impl Rows {
    fn take<T: Real>(&self, x: &[T]) -> Vec<T> {
        crate::rows::gather(x, self.width, &self.rows)
    }

    fn put<T: Real>(&self, x: &[T]) -> Vec<T> {
        let mut out = vec![T::zero(); self.n * self.width];
        for (&row, x) in self.rows.iter().zip(x.chunks_exact(self.width.max(1))) {
            out[row as usize * self.width..][..self.width].copy_from_slice(x);
        }
        out
    }
}

struct Take(Rows);

impl Fused<1> for Take {
    const NAME: &'static str = "take";
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, [x]: [&[T]; 1]) -> (Vec<T>, ()) {
        (self.0.take(x), ())
    }

    fn backward<T: Real>(&self, _: [&[T]; 1], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 1] {
        [self.0.put(grad)]
    }
}

struct Put(Rows);

impl Fused<1> for Put {
    const NAME: &'static str = "put";
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, [x]: [&[T]; 1]) -> (Vec<T>, ()) {
        (self.0.put(x), ())
    }

    fn backward<T: Real>(&self, _: [&[T]; 1], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 1] {
        [self.0.take(grad)]
    }
}

/// What is added to a row: `weight` times row `of` of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The row that is added to.
    pub to: u32,
    /// The table's row.
    pub of: u32,
    /// How much of it.
    pub weight: f64,
}

/// `x` `[n, width]` with shares of the rows of `table` `[m, width]` added, in their order. Where [`runs_on`](crate::runs_on) says.
pub fn add_shares(x: &Tensor, table: &Tensor, shares: &[Share]) -> Result<Tensor> {
    let ((n, width), (m, other)) = (x.dims2()?, table.dims2()?);
    if width != other || shares.iter().any(|s| s.to as usize >= n || s.of as usize >= m) {
        bail!("add shares: x {:?} and table {:?} do not fit, or a share lies beyond them", x.shape(), table.shape());
    }
    let op = AddShares { shares: shares.to_vec(), width };
    x.contiguous()?.apply_op2(&table.contiguous()?, Op::new(op, (n, width)))
}

struct AddShares {
    shares: Vec<Share>,
    width: usize,
}

impl AddShares {
    fn each<T: Real>(&self, mut f: impl FnMut(usize, usize, T)) {
        for s in &self.shares {
            f(s.to as usize * self.width, s.of as usize * self.width, T::of(s.weight));
        }
    }
}

impl Fused<2> for AddShares {
    const NAME: &'static str = "add shares";
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, [x, table]: [&[T]; 2]) -> (Vec<T>, ()) {
        let mut y = x.to_vec();
        self.each(|to, of, w| add_scaled(&mut y[to..][..self.width], w, &table[of..][..self.width]));
        (y, ())
    }

    fn backward<T: Real>(&self, [_, table]: [&[T]; 2], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 2] {
        let mut dtable = vec![T::zero(); table.len()];
        self.each(|to, of, w| add_scaled(&mut dtable[of..][..self.width], w, &grad[to..][..self.width]));
        [grad.to_vec(), dtable]
    }
}

/// Each element of `x` times its factor: a dropout. Where [`runs_on`](crate::runs_on) says.
pub fn scale(x: &Tensor, factors: Vec<f32>) -> Result<Tensor> {
    if factors.len() != x.elem_count() {
        bail!("scale: {} elements and {} factors", x.elem_count(), factors.len());
    }
    x.contiguous()?.apply_op1(Op::new(Scale(factors), x.shape()))
}

struct Scale(Vec<f32>);

impl Scale {
    fn apply<T: Real>(&self, x: &[T]) -> Vec<T> {
        x.iter().zip(&self.0).map(|(&x, &f)| x * T::of(f64::from(f))).collect()
    }
}

impl Fused<1> for Scale {
    const NAME: &'static str = "scale";
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, [x]: [&[T]; 1]) -> (Vec<T>, ()) {
        (self.apply(x), ())
    }

    fn backward<T: Real>(&self, _: [&[T]; 1], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 1] {
        [self.apply(grad)]
    }
}
