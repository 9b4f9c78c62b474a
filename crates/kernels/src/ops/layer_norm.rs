//! Layer norm (Ba et al., 2016) over the last dimension.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::simd::slices::{each, load, store, sum, sum_all, sum_and_dot};

/// Rows of a block. Fixed, so that sums over rows are split alike on any number of threads.
const BLOCK: usize = 128;
/// Approximate cost of an element in multiply-adds.
const COST: usize = 8;

/// Normalises `x` `[.., width]` over the last dimension, then multiplies by `scale` and adds
/// `shift` (`[width]`); `eps` is added to the variance. Runs where [`runs_on`](crate::runs_on) is
/// true.
pub fn layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    if scale.dims() != [width] || shift.dims() != [width] || width == 0 {
        bail!(
            "layer norm: x {:?}, scale {:?} and shift {:?} do not match",
            x.shape(),
            scale.shape(),
            shift.shape()
        );
    }
    let op = Op::new(LayerNorm { eps }, x.shape());
    op.of([x, scale, shift])
}

/// Writes the row minus its mean to `centred`. Returns 1 / standard deviation.
#[inline(always)]
pub(crate) fn centre<T: Real, S: Simd>(simd: S, x: &[T], eps: T, centred: &mut [T]) -> T {
    let (n, lanes) = (T::of(x.len() as f64), T::lanes::<S>());
    // Two passes: a variance from the sums of x and x^2 would cancel where the mean is large.
    let mean = sum(simd, x) / n;
    let (means, mut squares) = (T::splat(simd, mean), T::splat(simd, T::zero()));
    let (mut from, mut to) = (x.chunks_exact(lanes), centred.chunks_exact_mut(lanes));
    for (x, y) in (&mut from).zip(&mut to) {
        let less = T::vsub(simd, load::<T, S>(x), means);
        store::<T, S>(y, less);
        squares = T::vmul_add(simd, less, less, squares);
    }
    let rest = to.into_remainder();
    if !rest.is_empty() {
        for (y, &x) in rest.iter_mut().zip(from.remainder()) {
            *y = x - mean;
        }
        let less = T::load_part(simd, rest);
        squares = T::vmul_add(simd, less, less, squares);
    }
    (T::vsum(simd, squares) / n + eps).sqrt().recip()
}

/// Writes the normalised row to `normal`. Returns 1 / standard deviation.
#[inline(always)]
pub(crate) fn normalise<T: Real, S: Simd>(simd: S, x: &[T], eps: T, normal: &mut [T]) -> T {
    let rooted = centre(simd, x, eps, normal);
    for y in normal {
        *y *= rooted;
    }
    rooted
}

/// Scales a centred row: `y = then(y rooted scale + shift)`.
#[inline(always)]
pub(crate) fn affine<T: Real>(
    y: &mut [T],
    rooted: T,
    scale: &[T],
    shift: &[T],
    then: impl Fn(T) -> T,
) {
    for ((y, &scale), &shift) in y.iter_mut().zip(scale).zip(shift) {
        *y = then(*y * rooted * scale + shift);
    }
}

/// Backward pass of a row: turns `grad` from the gradient of the output into that of the input, and
/// adds the gradients of scale and shift to `sums`.
#[inline(always)]
pub(crate) fn back<T: Real, S: Simd>(
    simd: S,
    normal: &[T],
    rooted: T,
    scale: &[T],
    grad: &mut [T],
    sums: &mut [T],
) {
    let (dscale, dshift) = sums.split_at_mut(scale.len());
    for (dshift, &g) in dshift.iter_mut().zip(&*grad) {
        *dshift += g;
    }
    for (((g, &x), &scale), dscale) in grad.iter_mut().zip(normal).zip(scale).zip(dscale) {
        *dscale += *g * x;
        *g *= scale;
    }
    let n = T::of(grad.len() as f64);
    let (total, along) = sum_and_dot(simd, grad, normal);
    let (mean, along) = (total / n, along / n);
    for (g, &x) in grad.iter_mut().zip(normal) {
        *g = (*g - mean - x * along) * rooted;
    }
}

#[derive(Clone, Copy)]
struct LayerNorm {
    eps: f64,
}

impl FusedOp<3> for LayerNorm {
    const NAME: &'static str = "layer norm";
    type Saved<T: Real> = ();

    fn forward<T: Real>(&self, [x, scale, shift]: [&[T]; 3]) -> (Vec<T>, ()) {
        let mut y = vec![T::zero(); x.len()];
        let size = BLOCK * scale.len();
        let arch = Arch::new();
        each(
            COST * x.len(),
            y.chunks_mut(size).zip(x.chunks(size)),
            |(y, x)| {
                arch.dispatch(Forward {
                    eps: T::of(self.eps),
                    x,
                    scale,
                    shift,
                    y,
                });
            },
        );
        (y, ())
    }

    fn backward<T: Real>(
        &self,
        [x, scale, _]: [&[T]; 3],
        _: &(),
        _: &[T],
        grad: &[T],
    ) -> [Vec<T>; 3] {
        let mut dx = grad.to_vec();
        let size = BLOCK * scale.len();
        let arch = Arch::new();
        let parts = each(
            2 * COST * x.len(),
            dx.chunks_mut(size).zip(x.chunks(size)),
            |(dx, x)| {
                arch.dispatch(Backward {
                    eps: T::of(self.eps),
                    x,
                    scale,
                    dx,
                })
            },
        );
        let mut dscale = sum_all(2 * scale.len(), parts);
        let dshift = dscale.split_off(scale.len());
        [dx, dscale, dshift]
    }
}

struct Forward<'a, T> {
    eps: T,
    x: &'a [T],
    scale: &'a [T],
    shift: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.scale.len();
        for (y, x) in self
            .y
            .chunks_exact_mut(width)
            .zip(self.x.chunks_exact(width))
        {
            let rooted = centre(simd, x, self.eps, y);
            affine(y, rooted, self.scale, self.shift, |y| y);
        }
    }
}

/// Backward pass of a block: `dx` holds the result's gradient and receives that of x. Returns the
/// block's share of the gradients of scale and shift.
struct Backward<'a, T> {
    eps: T,
    x: &'a [T],
    scale: &'a [T],
    dx: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let width = self.scale.len();
        let mut sums = vec![T::zero(); 2 * width];
        let mut normal = vec![T::zero(); width];
        for (dx, x) in self
            .dx
            .chunks_exact_mut(width)
            .zip(self.x.chunks_exact(width))
        {
            let rooted = normalise(simd, x, self.eps, &mut normal);
            back(simd, &normal, rooted, self.scale, dx, &mut sums);
        }
        sums
    }
}
