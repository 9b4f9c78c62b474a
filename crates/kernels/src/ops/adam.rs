//! Dense Adam (Kingma and Ba, 2015) in one pass over parameters, moments and gradient.
//!
//! Dense: the moments of every parameter decay at every step. Embedding rows that are not in the
//! batch still move by their momentum, as in the frameworks of the published results. For tables
//! whose size no step may depend on, [`update_touched`] is Adam on the touched rows alone.

#[cfg(feature = "cuda")]
pub mod cuda;
mod touched;

pub use touched::{RowGradients, update_touched};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::Real;

/// Hyperparameters of Adam; no clipping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay (AdamW), which the caller applies after the update.
    pub weight_decay: f64,
}

impl Adam {
    /// Default betas and eps of the protocol with the given learning rate.
    pub fn new(lr: f64) -> Self {
        Self {
            lr,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }

    /// Factors of step `t`, counted from 1.
    pub fn factors<T: Real>(&self, t: u64) -> AdamFactors<T> {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        AdamFactors {
            beta1: T::of(self.beta1),
            beta2: T::of(self.beta2),
            rate: T::of(self.lr / (1.0 - self.beta1.powi(t))),
            root: T::of(1.0 / (1.0 - self.beta2.powi(t)).sqrt()),
            eps: T::of(self.eps),
        }
    }
}

/// Factors of one step, bias corrections included.
#[derive(Clone, Copy, Debug)]
pub struct AdamFactors<T> {
    beta1: T,
    beta2: T,
    rate: T,
    root: T,
    eps: T,
}

/// Parameters with their moments.
pub struct AdamSlices<'a, T> {
    /// Parameters.
    pub param: &'a mut [T],
    /// First moments.
    pub first: &'a mut [T],
    /// Second moments.
    pub second: &'a mut [T],
}

impl<'a, T: Real> AdamSlices<'a, T> {
    /// Chunks of `size` parameters.
    fn par_chunks(self, size: usize) -> impl IndexedParallelIterator<Item = Self> {
        let first = self.first.par_chunks_mut(size);
        let moments = first.zip(self.second.par_chunks_mut(size));
        let params = self.param.par_chunks_mut(size);
        params
            .zip(moments)
            .map(|(param, (first, second))| AdamSlices {
                param,
                first,
                second,
            })
    }
}

impl<T: Real> AdamFactors<T> {
    /// The factors in another type.
    pub(crate) fn in_type<U: Real>(self) -> AdamFactors<U> {
        let cast = |x: T| U::of(x.double());
        AdamFactors {
            beta1: cast(self.beta1),
            beta2: cast(self.beta2),
            rate: cast(self.rate),
            root: cast(self.root),
            eps: cast(self.eps),
        }
    }

    /// Updates parameters by their gradient; `None` is a zero gradient (the moments decay).
    #[inline(always)]
    pub fn update<S: Simd>(&self, simd: S, slots: AdamSlices<'_, T>, grad: Option<&[T]>) {
        let n = slots.param.len();
        let lanes = T::lanes::<S>();
        for i in (0..n).step_by(lanes) {
            let end = (i + lanes).min(n);
            let (p, m, v) = (
                &mut slots.param[i..end],
                &mut slots.first[i..end],
                &mut slots.second[i..end],
            );
            let load = |s: &[T]| {
                if s.len() == lanes {
                    bytemuck::pod_read_unaligned(bytemuck::cast_slice(s))
                } else {
                    T::load_part(simd, s)
                }
            };
            let g = match grad {
                Some(grad) => load(&grad[i..end]),
                None => T::splat(simd, T::zero()),
            };
            let (new_p, new_m, new_v) = self.lane(simd, [load(p), load(m), load(v), g]);
            for (to, x) in [(p, new_p), (m, new_m), (v, new_v)] {
                if to.len() == lanes {
                    bytemuck::cast_slice_mut(to).copy_from_slice(bytemuck::bytes_of(&x));
                } else {
                    T::store_part(simd, to, x);
                }
            }
        }
    }

    #[inline(always)]
    fn lane<S: Simd>(
        &self,
        simd: S,
        [p, m, v, g]: [T::Vector<S>; 4],
    ) -> (T::Vector<S>, T::Vector<S>, T::Vector<S>) {
        let c = |x: T| T::splat(simd, x);
        let m = T::vmul_add(
            simd,
            c(self.beta1),
            m,
            T::vmul(simd, c(T::one() - self.beta1), g),
        );
        let gg = T::vmul(simd, g, g);
        let v = T::vmul_add(
            simd,
            c(self.beta2),
            v,
            T::vmul(simd, c(T::one() - self.beta2), gg),
        );
        let scale = T::vmul_add(simd, T::vsqrt(simd, v), c(self.root), c(self.eps));
        let p = T::vsub(
            simd,
            p,
            T::vdiv(simd, T::vmul(simd, c(self.rate), m), scale),
        );
        (p, m, v)
    }
}

struct Whole<'a, T>(AdamFactors<T>, AdamSlices<'a, T>, &'a [T]);
impl<T: Real> WithSimd for Whole<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.update(simd, self.1, Some(self.2));
    }
}

/// One dense step over a whole parameter, in parallel.
pub fn update<T: Real>(step: AdamFactors<T>, slots: AdamSlices<'_, T>, grad: &[T]) {
    const CHUNK: usize = 16 * 1024;
    let arch = Arch::new();
    slots
        .par_chunks(CHUNK)
        .zip(grad.par_chunks(CHUNK))
        .for_each(|(slots, grad)| arch.dispatch(Whole(step, slots, grad)));
}

struct Rows<'a, T> {
    step: AdamFactors<T>,
    slots: AdamSlices<'a, T>,
    first_row: usize,
    width: usize,
    ids: &'a [u32],
    grads: &'a [T],
}
impl<T: Real> WithSimd for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            step,
            slots,
            first_row,
            width,
            ids,
            grads,
        } = self;
        let rows = slots
            .param
            .chunks_mut(width)
            .zip(slots.first.chunks_mut(width))
            .zip(slots.second.chunks_mut(width));
        let mut next = ids.partition_point(|&id| (id as usize) < first_row);
        for (row, ((param, first), second)) in (first_row..).zip(rows) {
            let mut grad = None;
            if ids.get(next).is_some_and(|&id| id as usize == row) {
                grad = Some(&grads[next * width..][..width]);
                next += 1;
            }
            step.update(
                simd,
                AdamSlices {
                    param,
                    first,
                    second,
                },
                grad,
            );
        }
    }
}

/// One dense step over a table of rows of `width`, of which only the rows `ids` (ascending,
/// distinct) have a gradient: row `ids[i]` has `grads[i * width..][..width]`, every other row a
/// gradient of zero.
pub fn update_rows<T: Real>(
    step: AdamFactors<T>,
    slots: AdamSlices<'_, T>,
    width: usize,
    ids: &[u32],
    grads: &[T],
) {
    const ROWS: usize = 256;
    let arch = Arch::new();
    slots
        .par_chunks(ROWS * width)
        .enumerate()
        .for_each(|(i, slots)| {
            arch.dispatch(Rows {
                step,
                slots,
                first_row: i * ROWS,
                width,
                ids,
                grads,
            });
        });
}
