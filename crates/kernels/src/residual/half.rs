//! A convolution of the block, with its layer norm and ReLU.

use pulp::Simd;

use super::TAPS;
use crate::Real;
use crate::norm::{affine, affine_back, normalise, normalise_back};
use crate::slices::add;
use crate::tile::{Strided, multiply_add};

/// Which rows of some windows are made of which.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The first row of each window among the rows that are there, and the end.
    pub(super) given: &'a [usize],
    /// The same among the rows that are made.
    pub(super) made: &'a [usize],
    pub(super) every: usize,
    pub(super) dilation: usize,
}

impl Rows<'_> {
    /// Of each row that is made the one at its place, and the number of its window's rows before that.
    #[inline(always)]
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let (given, every) = (self.given, self.every);
        given.windows(2).zip(self.made.windows(2)).flat_map(move |(of, to)| {
            let (start, length, made) = (of[0] - given[0], of[1] - of[0], to[1] - to[0]);
            (0..made).rev().map(move |after| length - 1 - after * every).map(move |t| (start + t, t))
        })
    }

    /// Of each row that is made the one at its place.
    #[inline(always)]
    pub(super) fn own(&self) -> impl Iterator<Item = usize> {
        self.places().map(|(row, _)| row)
    }

    /// Of each row that is made and each tap the row that the tap meets, unless that lies before the window.
    #[inline(always)]
    fn met(&self) -> impl Iterator<Item = Option<usize>> {
        let dilation = self.dilation;
        self.places().flat_map(move |(row, before)| {
            (0..TAPS).rev().map(move |tap| tap * dilation).map(move |back| (back <= before).then(|| row - back))
        })
    }
}

/// What the way back of a half writes over.
pub(super) struct Scratch<T> {
    taps: Vec<T>,
    normal: Vec<T>,
}

impl<T: Real> Scratch<T> {
    /// Room for so many numbers that are made at most.
    pub(super) fn new(made: usize, width: usize) -> Self {
        Self { taps: vec![T::zero(); TAPS * made], normal: vec![T::zero(); width] }
    }
}

/// A convolution, its layer norm and its ReLU, on some windows.
pub(super) struct Half<'a, T> {
    taps: &'a [T],
    bias: &'a [T],
    scale: &'a [T],
    shift: &'a [T],
    eps: T,
    rows: Rows<'a>,
}

impl<'a, T: Real> Half<'a, T> {
    pub(super) fn new(kernel: &'a [T], width: usize, eps: T, rows: Rows<'a>) -> Self {
        let (taps, rest) = kernel.split_at(TAPS * width * width);
        Self { taps, bias: &rest[..width], scale: &rest[width..2 * width], shift: &rest[2 * width..], eps, rows }
    }

    pub(super) fn width(&self) -> usize {
        self.bias.len()
    }

    /// The number of numbers that are made.
    pub(super) fn made(&self) -> usize {
        let made = self.rows.made;
        (made[made.len() - 1] - made[0]) * self.width()
    }

    /// For each row that is made the rows that its taps meet, side by side: `[rows, 3 d]`.
    #[inline(always)]
    fn unfold(&self, x: &[T], taps: &mut [T]) {
        let width = self.width();
        for (met, to) in self.rows.met().zip(taps.chunks_exact_mut(width)) {
            match met {
                Some(row) => to.copy_from_slice(&x[row * width..][..width]),
                None => to.fill(T::zero()),
            }
        }
    }

    /// The way back: what the taps met is added to where it lies.
    #[inline(always)]
    fn fold(&self, taps: &[T], dx: &mut [T]) {
        let width = self.width();
        for (met, from) in self.rows.met().zip(taps.chunks_exact(width)) {
            if let Some(row) = met {
                add(&mut dx[row * width..][..width], from);
            }
        }
    }

    /// What the convolution puts out; `taps` is scratch.
    #[inline(always)]
    pub(super) fn convolve<S: Simd>(&self, simd: S, x: &[T], taps: &mut [T]) -> Vec<T> {
        let (width, rows) = (self.width(), self.made() / self.width());
        self.unfold(x, taps);
        let mut out = self.bias.repeat(rows);
        let a = Strided { data: taps, row: TAPS * width, column: 1 };
        multiply_add(simd, [rows, width, TAPS * width], a, self.taps, width, &mut out, width);
        out
    }

    /// What the ReLU puts out, from what the convolution puts out.
    #[inline(always)]
    pub(super) fn activate<S: Simd>(&self, simd: S, convolved: &[T], out: &mut [T]) {
        let width = self.width();
        for (x, y) in convolved.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            normalise(simd, x, self.eps, y);
            affine(y, self.scale, self.shift);
            y.iter_mut().for_each(|y| *y = if *y > T::zero() { *y } else { T::zero() });
        }
    }

    /// The gradient of what the ReLU puts out becomes that of what the convolution does; the gradients of bias, scale and shift
    /// are added to `sums`.
    #[inline(always)]
    fn activate_back<S: Simd>(&self, simd: S, convolved: &[T], normal: &mut [T], grad: &mut [T], sums: &mut [T]) {
        let width = self.width();
        let (dbias, dnorm) = sums.split_at_mut(width);
        for (convolved, grad) in convolved.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let rooted = normalise(simd, convolved, self.eps, normal);
            for (((g, &x), &scale), &shift) in grad.iter_mut().zip(&*normal).zip(self.scale).zip(self.shift) {
                *g = if x * scale + shift > T::zero() { *g } else { T::zero() };
            }
            affine_back(grad, normal, self.scale, dnorm);
            normalise_back(simd, normal, rooted, grad);
            add(dbias, grad);
        }
    }

    /// The way back, from the half's input x, what its convolution put out and its taps `across`, `[d out, 3 d in]`. `grad` is
    /// that of what its ReLU puts out, and is spent; the gradient of the half's parameters is added to `sums`, that of x to
    /// `dx`.
    #[inline(always)]
    pub(super) fn back<S: Simd>(
        &self,
        simd: S,
        scratch: &mut Scratch<T>,
        [x, convolved, across]: [&[T]; 3],
        grad: &mut [T],
        sums: &mut [T],
        dx: &mut [T],
    ) {
        let (width, rows) = (self.width(), grad.len() / self.width());
        let (dtaps, dothers) = sums.split_at_mut(self.taps.len());
        self.activate_back(simd, convolved, &mut scratch.normal, grad, dothers);
        let taps = &mut scratch.taps[..TAPS * grad.len()];
        self.unfold(x, taps);
        let a = Strided { data: taps, row: 1, column: TAPS * width };
        multiply_add(simd, [TAPS * width, width, rows], a, grad, width, dtaps, width);
        taps.fill(T::zero());
        let a = Strided { data: grad, row: width, column: 1 };
        multiply_add(simd, [rows, TAPS * width, width], a, across, TAPS * width, taps, TAPS * width);
        self.fold(taps, dx);
    }
}
