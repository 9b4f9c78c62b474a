//! Rows taken, put and added: the small change between the large operations.

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
    Op::new(Take(Rows { rows: rows.to_vec(), n, width }), (rows.len(), width)).of([x])
}

/// The other way round: row i of `x` becomes row `rows[i]` of `n`, the others are zero. The rows are distinct. Where
/// [`runs_on`](crate::runs_on) says.
pub fn put(x: &Tensor, rows: &[u32], n: usize) -> Result<Tensor> {
    let (from, width) = x.dims2()?;
    check(rows, n)?;
    if rows.len() != from {
        bail!("put: {from} rows to {} places", rows.len());
    }
    Op::new(Put(Rows { rows: rows.to_vec(), n, width }), (n, width)).of([x])
}

fn check(rows: &[u32], n: usize) -> Result<()> {
    match rows.iter().find(|&&row| row as usize >= n) {
        Some(row) => bail!("row {row} of {n}"),
        None => Ok(()),
    }
}

/// Rows of a matrix of n.
pub(crate) struct Rows {
    pub(crate) rows: Vec<u32>,
    pub(crate) n: usize,
    pub(crate) width: usize,
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

/// `x` `[n, width]` with shares of the rows of `table` `[m, width]`, or `[width]` of one, added, in their order. Where
/// [`runs_on`](crate::runs_on) says.
pub fn add_shares(x: &Tensor, table: &Tensor, shares: &[Share]) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let m = table.elem_count() / width.max(1);
    if table.dims().last() != Some(&width) || shares.iter().any(|s| s.to as usize >= n || s.of as usize >= m) {
        bail!("add shares: x {:?} and table {:?} do not fit, or a share lies beyond them", x.shape(), table.shape());
    }
    Op::new(AddShares { shares: shares.to_vec(), width }, (n, width)).of([x, table])
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
    const PASSED: [bool; 2] = [true, false];
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, [x, table]: [&[T]; 2]) -> (Vec<T>, ()) {
        let mut y = x.to_vec();
        self.each(|to, of, w| add_scaled(&mut y[to..][..self.width], w, &table[of..][..self.width]));
        (y, ())
    }

    fn backward<T: Real>(&self, [_, table]: [&[T]; 2], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 2] {
        let mut dtable = vec![T::zero(); table.len()];
        self.each(|to, of, w| add_scaled(&mut dtable[of..][..self.width], w, &grad[to..][..self.width]));
        [Vec::new(), dtable]
    }
}

/// `x + y` of one shape. Where [`runs_on`](crate::runs_on) says.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if x.shape() != y.shape() {
        bail!("add: {:?} and {:?}", x.shape(), y.shape());
    }
    Op::new(Add, x.shape()).of([x, y])
}

struct Add;

impl Fused<2> for Add {
    const NAME: &'static str = "add";
    const PASSED: [bool; 2] = [true, true];
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, [x, y]: [&[T]; 2]) -> (Vec<T>, ()) {
        (x.iter().zip(y).map(|(&x, &y)| x + y).collect(), ())
    }

    fn backward<T: Real>(&self, _: [&[T]; 2], _: &(), _: &[T], _: &[T]) -> [Vec<T>; 2] {
        [Vec::new(), Vec::new()]
    }
}
