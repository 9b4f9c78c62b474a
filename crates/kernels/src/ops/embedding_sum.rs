//! Weighted sum of embedding rows of several tables, with dropout (PyTorch's
//! `EmbeddingBag(mode="sum")` with `per_sample_weights`): the tokens of a prompt, items plus
//! positions.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor, bail};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::ops::dropout::{DropoutMask, scale};
use crate::simd::slices::add_scaled;

/// A weighted row of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedRow {
    /// Row index.
    pub row: u32,
    /// Weight.
    pub weight: f64,
}

/// Rows of a table that each output row adds.
#[derive(Clone, Debug, PartialEq)]
pub enum RowWeights {
    /// The row with the output row's index, with weight 1.
    Identity,
    /// The given row, or none.
    Gathered(Vec<Option<WeightedRow>>),
}

/// A table `[m, width]`, or `[width]` for a single row, and the rows taken from it.
#[derive(Clone, Debug)]
pub struct WeightedTable<'a> {
    /// The table.
    pub table: &'a Tensor,
    /// Rows that each output row adds.
    pub rows: RowWeights,
}

impl WeightedTable<'_> {
    fn width(&self) -> usize {
        self.table.dims().last().copied().unwrap_or(0)
    }

    /// Number of the table's rows.
    fn height(&self) -> usize {
        self.table.elem_count() / self.width().max(1)
    }

    /// Number of output rows.
    fn rows(&self) -> usize {
        match &self.rows {
            RowWeights::Identity => self.height(),
            RowWeights::Gathered(shares) => shares.len(),
        }
    }

    /// Whether all rows exist.
    fn is_in_range(&self) -> bool {
        match &self.rows {
            RowWeights::Identity => true,
            RowWeights::Gathered(shares) => shares
                .iter()
                .flatten()
                .all(|share| (share.row as usize) < self.height()),
        }
    }
}

/// Sums `[n, width]` over two or three tables, in their order, multiplied by the dropout factors.
/// Runs where [`runs_on`](crate::runs_on) is true.
///
/// # Errors
/// If there are not two or three tables, or sizes do not match.
pub fn embedding_sum(parts: Vec<WeightedTable<'_>>, mask: Option<DropoutMask>) -> Result<Tensor> {
    let Some(first) = parts.first() else {
        bail!("embedding_sum: no tables; expected two or three")
    };
    let (n, width) = (first.rows(), first.width());
    for part in &parts {
        if part.rows() != n || part.width() != width || !part.is_in_range() {
            bail!(
                "embedding_sum: every table must give {n} rows of width {width}, with indices in range"
            );
        }
    }
    if mask
        .as_ref()
        .is_some_and(|mask| mask.elements() != n * width)
    {
        bail!("embedding_sum: the dropout mask must have {n} x {width} elements");
    }
    let (mut tables, mut shares) = (Vec::new(), Vec::new());
    for part in parts {
        tables.push(part.table);
        shares.push(part.rows);
    }
    let sum = EmbeddingSum {
        shares,
        mask,
        n,
        width,
    };
    match tables[..] {
        [a, b] => Op::<_, 2>::new(sum, (n, width)).of([a, b]),
        [a, b, c] => Op::<_, 3>::new(sum, (n, width)).of([a, b, c]),
        _ => bail!(
            "embedding_sum: {} tables; expected two or three",
            tables.len()
        ),
    }
}

struct EmbeddingSum {
    /// Per table.
    shares: Vec<RowWeights>,
    mask: Option<DropoutMask>,
    n: usize,
    width: usize,
}

impl RowWeights {
    /// Calls `f` with output row, table row and weight, for each row that is present.
    fn each(&self, n: usize, mut f: impl FnMut(usize, usize, f64)) {
        match self {
            RowWeights::Identity => {
                for row in 0..n {
                    f(row, row, 1.0);
                }
            }
            RowWeights::Gathered(shares) => {
                for (row, share) in shares.iter().enumerate() {
                    if let Some(WeightedRow { row: of, weight }) = *share {
                        f(row, of as usize, weight);
                    }
                }
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
