//! Causal convolution with layer norm and ReLU: half of a residual block.

use std::ops::Range;

use pulp::Simd;

use crate::Real;
use crate::ops::layer_norm::{affine, back, centre, normalise};
use crate::simd::gemm::{Run, Strided, multiply_add, multiply_runs};
use crate::simd::slices::add;

/// Kernel size of a convolution.
pub(super) const TAPS: usize = 3;

/// Mapping from input rows to output rows of some windows.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// First input row of each window, and the end.
    given: &'a [usize],
    /// First output row of each window, and the end.
    made: &'a [usize],
    every: usize,
}

impl<'a> Rows<'a> {
    /// Outputs at every `every`-th input row, counted back from the last row of a window.
    pub(super) fn new(given: &'a [usize], made: &'a [usize], every: usize) -> Self {
        Self { given, made, every }
    }

    /// Per window, the input rows `distance` before the output rows, as a run of rows of `width`
    /// elements. Windows without such rows are left out.
    #[inline(always)]
    pub(super) fn runs(&self, distance: usize, width: usize) -> impl Iterator<Item = Run> {
        let Self { given, made, every } = *self;
        given
            .windows(2)
            .zip(made.windows(2))
            .filter(|(_, to)| to[0] < to[1])
            .filter_map(move |(of, to)| {
                let count = to[1] - to[0];
                let first = of[1] - of[0] - 1 - (count - 1) * every;
                // The first rows have no row at this distance.
                let left_out = distance.saturating_sub(first).div_ceil(every);
                let k = count.checked_sub(left_out).filter(|&k| k > 0)?;
                let from = of[0] - given[0] + first + left_out * every - distance;
                Some(Run {
                    a: from * width,
                    b: (to[0] - made[0] + left_out) * width,
                    k,
                })
            })
    }

    /// Element offsets of each output row: of its own input row in the inputs, and in the outputs.
    pub(super) fn offsets(&self, width: usize) -> Vec<(usize, usize)> {
        let mut offsets = Vec::new();
        for Run { a, b, k } in self.runs(0, width) {
            for i in 0..k {
                offsets.push((a + i * self.every * width, b + i * width));
            }
        }
        offsets
    }
}

/// A convolution, layer norm and ReLU on some windows.
pub(super) struct ConvLayer<'a, T> {
    taps: &'a [T],
    bias: &'a [T],
    scale: &'a [T],
    shift: &'a [T],
    eps: T,
    rows: Rows<'a>,
    dilation: usize,
}

impl<'a, T: Real> ConvLayer<'a, T> {
    pub(super) fn new(
        kernel: &'a [T],
        width: usize,
        eps: f64,
        rows: Rows<'a>,
        dilation: usize,
    ) -> Self {
        let (taps, rest) = kernel.split_at(TAPS * width * width);
        Self {
            taps,
            bias: &rest[..width],
            scale: &rest[width..2 * width],
            shift: &rest[2 * width..],
            eps: T::of(eps),
            rows,
            dilation,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.bias.len()
    }

    /// Number of output elements.
    pub(super) fn made(&self) -> usize {
        let made = self.rows.made;
        (made[made.len() - 1] - made[0]) * self.width()
    }

    /// The taps, oldest first: element range in the kernel, and the runs of rows that the tap
    /// multiplies.
    #[inline(always)]
    fn met(&self) -> impl Iterator<Item = (Range<usize>, impl Iterator<Item = Run>)> {
        let (width, size) = (self.width(), self.width() * self.width());
        (0..TAPS).map(move |tap| {
            let distance = (TAPS - 1 - tap) * self.dilation;
            (
                tap * size..(tap + 1) * size,
                self.rows.runs(distance, width),
            )
        })
    }

    /// The convolution's output.
    #[inline(always)]
    pub(super) fn convolve<S: Simd>(&self, simd: S, x: &[T]) -> Vec<T> {
        let width = self.width();
        let mut out = self.bias.repeat(self.made() / width);
        for (tap, runs) in self.met() {
            let tap = &self.taps[tap];
            for Run { a, b, k } in runs {
                let a = Strided {
                    data: &x[a..],
                    row: self.rows.every * width,
                    column: 1,
                };
                multiply_add(simd, [k, width, width], a, tap, width, &mut out[b..], width);
            }
        }
        out
    }

    /// Layer norm and ReLU of the convolution's output.
    #[inline(always)]
    pub(super) fn activate<S: Simd>(&self, simd: S, convolved: &[T], out: &mut [T]) {
        let width = self.width();
        for (x, y) in convolved
            .chunks_exact(width)
            .zip(out.chunks_exact_mut(width))
        {
            let rooted = centre(simd, x, self.eps, y);
            affine(y, rooted, self.scale, self.shift, |y| {
                if y > T::zero() { y } else { T::zero() }
            });
        }
    }

    /// Turns the gradient of the ReLU's output into that of the convolution's output; adds the
    /// gradients of bias, scale and shift to `sums`.
    #[inline(always)]
    fn activate_back<S: Simd>(&self, simd: S, convolved: &[T], grad: &mut [T], sums: &mut [T]) {
        let width = self.width();
        let mut normal = vec![T::zero(); width];
        let (dbias, dnorm) = sums.split_at_mut(width);
        for (convolved, grad) in convolved
            .chunks_exact(width)
            .zip(grad.chunks_exact_mut(width))
        {
            let rooted = normalise(simd, convolved, self.eps, &mut normal);
            for (((g, &x), &scale), &shift) in
                grad.iter_mut().zip(&normal).zip(self.scale).zip(self.shift)
            {
                *g = if x * scale + shift > T::zero() {
                    *g
                } else {
                    T::zero()
                };
            }
            back(simd, &normal, rooted, self.scale, grad, dnorm);
            add(dbias, grad);
        }
    }

    /// Backward pass of the half, from its input x, its convolution's output and its taps `across`,
    /// each transposed. `grad` holds the gradient of the ReLU's output and is overwritten; the
    /// gradient of the parameters is added to `sums`, that of x to `dx`.
    #[inline(always)]
    pub(super) fn back<S: Simd>(
        &self,
        simd: S,
        [x, convolved, across]: [&[T]; 3],
        grad: &mut [T],
        sums: &mut [T],
        dx: &mut [T],
    ) {
        let (width, apart) = (self.width(), self.rows.every * self.width());
        let (dtaps, dothers) = sums.split_at_mut(self.taps.len());
        self.activate_back(simd, convolved, grad, dothers);
        let mut all = Vec::with_capacity(self.rows.made.len());
        for (tap, runs) in self.met() {
            all.clear();
            all.extend(runs);
            let a = Strided {
                data: x,
                row: 1,
                column: apart,
            };
            multiply_runs(
                simd,
                [width, width],
                &all,
                a,
                grad,
                width,
                &mut dtaps[tap.clone()],
                width,
            );
            let across = &across[tap];
            for &Run { a: at, b, k } in &all {
                let a = Strided {
                    data: &grad[b..],
                    row: width,
                    column: 1,
                };
                multiply_add(
                    simd,
                    [k, width, width],
                    a,
                    across,
                    width,
                    &mut dx[at..],
                    apart,
                );
            }
        }
    }
}
