//! Rows that are sums of weighted rows of tables, dropped out: the tokens of a prompt, items with their positions.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor, bail};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::ops::dropout::{DropoutMask, scale};
use crate::simd::slices::add_scaled;

/// A row of a table, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedRow {
    /// The table's row.
    pub row: u32,
    /// How much of it.
    pub weight: f64,
}

/// What each row of a blend has of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum RowWeights {
    /// The table's row of the same number.
    Identity,
    /// These, or nothing.
    Gathered(Vec<Option<WeightedRow>>),
}

/// A table `[m, width]`, or `[width]` of one row, and what a blend has of it.
#[derive(Clone, Debug)]
pub struct WeightedTable<'a> {
    /// The table.
    pub table: &'a Tensor,
    /// What each row has of it.
    pub rows: RowWeights,
}

impl WeightedTable<'_> {
    fn width(&self) -> usize {
        self.table.dims().last().copied().unwrap_or(0)
    }

    /// The table's rows.
    fn height(&self) -> usize {
        self.table.elem_count() / self.width().max(1)
    }

    /// The blend's rows.
    fn rows(&self) -> usize {
        match &self.rows {
            RowWeights::Identity => self.height(),
            RowWeights::Gathered(shares) => shares.len(),
        }
    }
}

/// `[n, width]`: each row the sum of what it has of two or three tables, in their order, times its factors of the mask. Where
/// [`runs_on`](crate::runs_on) says.
///
/// # Errors
/// If there are fewer tables or more, or sizes do not fit.
pub fn embedding_sum(parts: Vec<WeightedTable<'_>>, mask: Option<DropoutMask>) -> Result<Tensor> {
    let Some(first) = parts.first() else {
        bail!("a blend of nothing")
    };
    let (n, width) = (first.rows(), first.width());
    let beyond = |part: &WeightedTable<'_>| match &part.rows {
        RowWeights::Identity => false,
        RowWeights::Gathered(shares) => shares
            .iter()
            .flatten()
            .any(|share| share.row as usize >= part.height()),
    };
    if parts
        .iter()
        .any(|part| part.rows() != n || part.width() != width || beyond(part))
    {
        bail!("blend: the tables' shares are not {n} rows of width {width}, or lie beyond them");
    }
    if mask
        .as_ref()
        .is_some_and(|mask| mask.elements() != n * width)
    {
        bail!("blend: a mask of another size than {n} x {width}");
    }
    let (tables, shares): (Vec<&Tensor>, Vec<RowWeights>) = parts
        .into_iter()
        .map(|part| (part.table, part.rows))
        .unzip();
    let blend = EmbeddingSum {
        shares,
        mask,
        n,
        width,
    };
    match tables[..] {
        [a, b] => Op::<_, 2>::new(blend, (n, width)).of([a, b]),
        [a, b, c] => Op::<_, 3>::new(blend, (n, width)).of([a, b, c]),
        _ => bail!(
            "a blend of {} tables; two or three are possible",
            tables.len()
        ),
    }
}

struct EmbeddingSum {
    /// Of each table.
    shares: Vec<RowWeights>,
    mask: Option<DropoutMask>,
    n: usize,
    width: usize,
}

impl RowWeights {
    /// Calls `f` for each row that has a share: the row, the table's row and the weight.
    fn each(&self, n: usize, mut f: impl FnMut(usize, usize, f64)) {
        match self {
            RowWeights::Identity => (0..n).for_each(|row| f(row, row, 1.0)),
            RowWeights::Gathered(shares) => {
                let there = shares
                    .iter()
                    .enumerate()
                    .filter_map(|(row, share)| Some((row, (*share)?)));
                there.for_each(|(row, share)| f(row, share.row as usize, share.weight));
            }
        }
    }
}

impl<const N: usize> FusedOp<N> for EmbeddingSum {
    const NAME: &'static str = "embedding_sum";
    /// The mask's factors.
    type Saved<T: Real> = Option<Vec<f32>>;

    fn forward<T: Real>(&self, tables: [&[T]; N]) -> (Vec<T>, Option<Vec<f32>>) {
        let (width, mut y) = (self.width, vec![T::zero(); self.n * self.width]);
        for (table, shares) in tables.iter().zip(&self.shares) {
            shares.each(self.n, |row, of, weight| {
                add_scaled(
                    &mut y[row * width..][..width],
                    T::of(weight),
                    &table[of * width..][..width],
                );
            });
        }
        let factors = self.mask.as_ref().map(DropoutMask::factors);
        if let Some(factors) = &factors {
            scale(&mut y, factors);
        }
        (y, factors)
    }

    fn backward<T: Real>(
        &self,
        tables: [&[T]; N],
        tape: &Option<Vec<f32>>,
        _: &[T],
        grad: &[T],
    ) -> [Vec<T>; N] {
        let (width, mut grad) = (self.width, grad.to_vec());
        if let Some(factors) = tape {
            scale(&mut grad, factors);
        }
        std::array::from_fn(|i| {
            let mut dtable = vec![T::zero(); tables[i].len()];
            self.shares[i].each(self.n, |row, of, weight| {
                add_scaled(
                    &mut dtable[of * width..][..width],
                    T::of(weight),
                    &grad[row * width..][..width],
                );
            });
            dtable
        })
    }
}
