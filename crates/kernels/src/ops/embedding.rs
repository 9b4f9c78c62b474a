//! Embedding lookup, and its gradient summed by row.

#[cfg(feature = "cuda")]
pub mod cuda;

use rayon::prelude::*;

use crate::Real;

/// Rows of `table` (`[rows, width]`) by index, `[ids, width]`.
///
/// # Panics
/// If an index is out of range.
pub fn gather<T: Real>(table: &[T], width: usize, ids: &[u32]) -> Vec<T> {
    let mut out = Vec::with_capacity(ids.len() * width);
    for &id in ids {
        out.extend_from_slice(&table[id as usize * width..][..width]);
    }
    out
}

/// Sums the gradients of equal rows: distinct ids, ascending, and one row of gradient for each.
/// Equal rows are added in input order, for any number of threads.
pub fn sum_by_row<T: Real>(ids: &[u32], grads: &[T], width: usize) -> (Vec<u32>, Vec<T>) {
    let mut order: Vec<(u32, u32)> = ids.iter().zip(0..).map(|(&id, at)| (id, at)).collect();
    order.par_sort_unstable();
    let groups: Vec<&[(u32, u32)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
    let mut out = vec![T::zero(); groups.len() * width];
    out.par_chunks_mut(width)
        .zip(&groups)
        .for_each(|(sum, group)| {
            for &(_, at) in *group {
                for (s, &g) in sum.iter_mut().zip(&grads[at as usize * width..][..width]) {
                    *s += g;
                }
            }
        });
    (groups.iter().map(|g| g[0].0).collect(), out)
}

#[cfg(test)]
mod tests {
    use super::{gather, sum_by_row};

    #[test]
    fn gather_then_sum_by_row_adds_equal_rows() {
        let table = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0];
        let ids = [2, 0, 2];
        assert_eq!(gather(&table, 2, &ids), [20.0, 21.0, 0.0, 1.0, 20.0, 21.0]);
        let (rows, grads) = sum_by_row(&ids, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
        assert_eq!(
            (rows.as_slice(), grads.as_slice()),
            ([0, 2].as_slice(), [3.0, 4.0, 6.0, 8.0].as_slice())
        );
    }
}
