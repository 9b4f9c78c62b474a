//! Lazy Adam: an update of the touched rows of a table, whose cost does not grow with the table.
//!
//! A row is touched in step `t` if it has a gradient `g` then, and `k` is the number of steps since
//! it was touched last. With the factors of dense Adam (bias corrections by `t` included):
//!
//! ```text
//! m <- beta1^k m + (1 - beta1) g          v <- beta2^k v + (1 - beta2) g^2
//! p <- (p - rate_t m / (root_t sqrt(v) + eps)) (1 - lr_t decay)
//! ```
//!
//! The moments of a touched row are those of dense Adam, whose gradient was zero in the `k - 1`
//! steps between. What is left out is the movement by the momentum in those steps, and the weight
//! decay of untouched rows: a row rests between its touches. PyTorch's `SparseAdam` differs in that
//! moments do not decay between touches.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Adam, AdamFactors, AdamSlices};
use crate::Real;

/// Gradient of some rows of a table.
#[derive(Clone, Copy)]
pub struct RowGradients<'a, T> {
    /// Rows, ascending and distinct.
    pub ids: &'a [u32],
    /// `[ids, width]`.
    pub grads: &'a [T],
    /// Elements in a row.
    pub width: usize,
}

/// Takes step `t` of lazy Adam on the touched rows; `last` holds the step of each row's last
/// touch, 0 for none.
///
/// # Panics
/// If an id is out of range, or the ids do not ascend.
pub fn update_touched<T: Real>(
    adam: &Adam,
    t: u64,
    (slots, last): (AdamSlices<'_, T>, &mut [u32]),
    rows: RowGradients<'_, T>,
) {
    const ROWS: usize = 128;
    let width = rows.width;
    let arch = Arch::new();
    let mut parts = Vec::with_capacity(rows.ids.len().div_ceil(ROWS));
    let (mut slots, mut last, mut first_row) = (slots, last, 0);
    // Each part owns the rows from its first id to its last one.
    let grads = rows.grads.chunks(ROWS * width);
    for (ids, grads) in rows.ids.chunks(ROWS).zip(grads) {
        let start = ids[0] as usize - first_row;
        let len = (ids[ids.len() - 1] - ids[0]) as usize + 1;
        let (part, rest) = slots.skip(start * width).split(len * width);
        let (steps, later) = last[start..].split_at_mut(len);
        parts.push(Part {
            adam,
            t,
            slots: part,
            last: steps,
            rows: RowGradients { ids, grads, width },
        });
        (slots, last, first_row) = (rest, later, first_row + start + len);
    }
    parts.into_par_iter().for_each(|part| arch.dispatch(part));
}

impl<'a, T> AdamSlices<'a, T> {
    /// All parameters from `at` on.
    fn skip(self, at: usize) -> Self {
        self.split(at).1
    }

    /// The first `at` parameters, and the others.
    fn split(self, at: usize) -> (Self, Self) {
        let (param, params) = self.param.split_at_mut(at);
        let (first, firsts) = self.first.split_at_mut(at);
        let (second, seconds) = self.second.split_at_mut(at);
        let part = AdamSlices {
            param,
            first,
            second,
        };
        let rest = AdamSlices {
            param: params,
            first: firsts,
            second: seconds,
        };
        (part, rest)
    }
}

/// Some touched rows, and the part of the table from the first of them to the last.
struct Part<'a, T> {
    adam: &'a Adam,
    t: u64,
    slots: AdamSlices<'a, T>,
    last: &'a mut [u32],
    rows: RowGradients<'a, T>,
}

impl<T: Real> WithSimd for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            adam,
            t,
            slots,
            last,
            rows,
        } = self;
        let width = rows.width;
        let factors: AdamFactors<T> = adam.factors(t);
        let kept = T::of(1.0 - adam.lr * adam.weight_decay);
        for (&id, grad) in rows.ids.iter().zip(rows.grads.chunks_exact(width)) {
            let row = (id - rows.ids[0]) as usize;
            let elements = row * width..(row + 1) * width;
            let param = &mut slots.param[elements.clone()];
            let first = &mut slots.first[elements.clone()];
            let second = &mut slots.second[elements];
            let skipped = (t - 1).saturating_sub(u64::from(last[row]));
            if skipped > 0 {
                scale(first, adam.beta1, skipped);
                scale(second, adam.beta2, skipped);
            }
            last[row] = u32::try_from(t).unwrap_or(u32::MAX);
            factors.update(
                simd,
                AdamSlices {
                    param: &mut *param,
                    first,
                    second,
                },
                Some(grad),
            );
            if adam.weight_decay != 0.0 {
                for x in param {
                    *x *= kept;
                }
            }
        }
    }
}

/// Multiplies a row of moments by `beta^steps`.
fn scale<T: Real>(row: &mut [T], beta: f64, steps: u64) {
    let steps = i32::try_from(steps).unwrap_or(i32::MAX);
    let factor = T::of(beta.powi(steps));
    for x in row {
        *x *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::{RowGradients, update_touched};
    use crate::ops::adam::{Adam, AdamSlices, update};

    const ROWS: usize = 700;
    const WIDTH: usize = 5;

    /// Parameters, first and second moments.
    type Table = [Vec<f64>; 3];

    fn table() -> Table {
        let mut param = Vec::with_capacity(ROWS * WIDTH);
        for i in 0..ROWS * WIDTH {
            param.push((0.3 * i as f64).sin());
        }
        [param, vec![0.0; ROWS * WIDTH], vec![0.0; ROWS * WIDTH]]
    }

    fn slots([param, first, second]: &mut Table) -> AdamSlices<'_, f64> {
        AdamSlices {
            param,
            first,
            second,
        }
    }

    /// Rows with a gradient in step `t`: all in the first step, then every `t`th.
    fn touched(t: u64) -> Vec<u32> {
        (0..ROWS as u32).step_by(t as usize).collect()
    }

    fn grads(t: u64, ids: &[u32]) -> Vec<f64> {
        let mut grads = Vec::with_capacity(ids.len() * WIDTH);
        for &id in ids {
            for k in 0..WIDTH {
                grads.push((0.7 * f64::from(id) + t as f64 + k as f64).cos());
            }
        }
        grads
    }

    #[test]
    fn touched_rows_have_the_moments_of_dense_adam_and_others_rest() {
        let adam = Adam::new(0.01);
        let (mut lazy, mut dense, mut last) = (table(), table(), vec![0; ROWS]);
        for t in 1..=12 {
            let ids = touched(t);
            let grads = grads(t, &ids);
            let before = lazy.clone();
            let rows = RowGradients {
                ids: &ids,
                grads: &grads,
                width: WIDTH,
            };
            update_touched(&adam, t, (slots(&mut lazy), &mut last), rows);
            let mut whole = vec![0.0; ROWS * WIDTH];
            for (&id, grad) in ids.iter().zip(grads.chunks(WIDTH)) {
                whole[id as usize * WIDTH..][..WIDTH].copy_from_slice(grad);
            }
            update(adam.factors(t), slots(&mut dense), &whole);
            for (row, &touch) in last.iter().enumerate() {
                let elements = row * WIDTH..(row + 1) * WIDTH;
                if !row.is_multiple_of(t as usize) {
                    for (after, before) in lazy.iter().zip(&before) {
                        assert_eq!(after[elements.clone()], before[elements.clone()]);
                    }
                    continue;
                }
                assert_eq!(u64::from(touch), t);
                for i in elements {
                    assert!((lazy[1][i] - dense[1][i]).abs() < 1e-14);
                    assert!((lazy[2][i] - dense[2][i]).abs() < 1e-14);
                }
            }
        }
        // Row 0 is touched in every step, where lazy Adam is dense Adam.
        for i in 0..WIDTH {
            assert!((lazy[0][i] - dense[0][i]).abs() < 1e-14);
        }
    }

    #[test]
    fn weight_decay_shrinks_touched_rows_alone() {
        let adam = Adam {
            weight_decay: 0.5,
            ..Adam::new(0.01)
        };
        let (mut decayed, mut plain) = (table(), table());
        let ids = [3, 699];
        let grads = grads(1, &ids);
        let rows = RowGradients {
            ids: &ids,
            grads: &grads,
            width: WIDTH,
        };
        update_touched(&adam, 1, (slots(&mut decayed), &mut [0; ROWS]), rows);
        let adam = Adam::new(0.01);
        update_touched(&adam, 1, (slots(&mut plain), &mut [0; ROWS]), rows);
        for (i, (a, b)) in decayed[0].iter().zip(&plain[0]).enumerate() {
            let is_touched = [3, 699].contains(&(i / WIDTH));
            let factor = if is_touched { 1.0 - 0.01 * 0.5 } else { 1.0 };
            assert_eq!(*a, b * factor);
        }
    }
}
