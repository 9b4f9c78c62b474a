//! NextItNet's residual block (Yuan et al., 2019), forward and back, as one operation.
//!
//! conv(d) - layer norm - ReLU - conv(2 d) - layer norm - ReLU, plus the input: three taps, looking back only. The rows that
//! the taps meet are laid side by side, which makes a convolution one product with the taps below each other; its gradients
//! are two more. Windows are cut into fixed blocks that run in parallel, and inside a block nothing leaves the cache. Only
//! valid rows are there: what lies before a window counts as zero, and no window sees another.

#[cfg(feature = "cuda")]
mod gpu;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::norm::{affine, affine_back, normalise, normalise_back};
use crate::op::{Fused, Op};
use crate::slices::{add, cut, each, sum_all, transpose};
use crate::spans::Spans;
use crate::tile::{Strided, multiply_add};

/// Taps of a convolution.
const TAPS: usize = 3;
/// Windows of a block. Fixed, so that sums over rows are split alike on any number of threads.
const BLOCK: usize = 16;

/// `[rows, d]` from the rows `x` `[rows, d]` of some windows. The first convolution has `dilation`, the second twice that;
/// `eps` is added to the variances.
///
/// `kernel` is `[2 (3 d + 3), d]`: the three taps of the first convolution, `[d in, d out]` each, oldest first; its bias; scale
/// and shift of its layer norm; then the same of the second. Where [`runs_on`](crate::runs_on) says.
pub fn residual(x: &Tensor, kernel: &Tensor, spans: &Spans, dilation: usize, eps: f64) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    if width == 0 || rows != spans.rows() || kernel.dims() != [2 * (TAPS * width + 3), width] {
        bail!("residual block: x {:?}, kernel {:?}, {} rows do not fit", x.shape(), kernel.shape(), spans.rows());
    }
    let op = Op::new(Residual { spans: spans.clone(), dilation, eps, width }, (rows, width));
    op.of([x, kernel])
}

struct Residual {
    spans: Spans,
    dilation: usize,
    eps: f64,
    width: usize,
}

impl Residual {
    /// The blocks of windows, with their rows of x.
    fn blocks<'a, T: Real>(&'a self, x: &'a [T], kernel: &'a [T]) -> impl Iterator<Item = Block<'a, T>> {
        let half = kernel.len() / 2;
        self.spans.blocks(BLOCK).map(move |starts| Block {
            starts,
            width: self.width,
            dilation: self.dilation,
            eps: T::of(self.eps),
            halves: [Half::new(&kernel[..half], self.width), Half::new(&kernel[half..], self.width)],
            x: &x[starts[0] * self.width..starts[starts.len() - 1] * self.width],
        })
    }

    /// About the number of multiply-adds on the way there.
    fn work(&self) -> usize {
        2 * TAPS * self.spans.rows() * self.width * self.width
    }
}

impl Fused<2> for Residual {
    const NAME: &'static str = "residual block";
    /// For each block, what both convolutions put out.
    type Tape<T: Real> = Vec<[Vec<T>; 2]>;

    fn forward<T: Real>(&self, [x, kernel]: [&[T]; 2]) -> (Vec<T>, Self::Tape<T>) {
        let mut y = x.to_vec();
        let parts = cut(&mut y, self.spans.blocks(BLOCK).map(|s| (s[s.len() - 1] - s[0]) * self.width));
        let arch = Arch::new();
        let tape =
            each(self.work(), self.blocks(x, kernel).zip(parts), |(block, y)| arch.dispatch(Forward { block, y }));
        (y, tape)
    }

    fn backward<T: Real>(&self, args: [&[T]; 2], tape: &Self::Tape<T>, _: &[T], grad: &[T]) -> [Vec<T>; 2] {
        let [x, kernel] = args;
        let mut dx = grad.to_vec();
        let parts = cut(&mut dx, self.spans.blocks(BLOCK).map(|s| (s[s.len() - 1] - s[0]) * self.width));
        let taps = self.width * self.width;
        let half = kernel.len() / 2;
        let across = [&kernel[..TAPS * taps], &kernel[half..][..TAPS * taps]]
            .map(|half| half.chunks(taps).flat_map(|tap| transpose(tap, self.width)).collect::<Vec<T>>());
        let arch = Arch::new();
        let sums = each(2 * self.work(), self.blocks(x, kernel).zip(parts).zip(tape), |((block, dx), tape)| {
            arch.dispatch(Backward { block, across: &across, tape, dx })
        });
        [dx, sum_all(kernel.len(), sums)]
    }
}

/// A convolution and its layer norm.
#[derive(Clone, Copy)]
struct Half<'a, T> {
    taps: &'a [T],
    bias: &'a [T],
    scale: &'a [T],
    shift: &'a [T],
}

impl<'a, T> Half<'a, T> {
    fn new(kernel: &'a [T], width: usize) -> Self {
        let (taps, rest) = kernel.split_at(TAPS * width * width);
        Self { taps, bias: &rest[..width], scale: &rest[width..2 * width], shift: &rest[2 * width..] }
    }

    /// What the ReLU puts out, from what the convolution puts out.
    #[inline(always)]
    fn activate<S: Simd>(&self, simd: S, eps: T, convolved: &[T], out: &mut [T])
    where
        T: Real,
    {
        let width = self.bias.len();
        for (x, y) in convolved.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            normalise(simd, x, eps, y);
            affine(y, self.scale, self.shift);
            y.iter_mut().for_each(|y| *y = if *y > T::zero() { *y } else { T::zero() });
        }
    }
}

/// Some windows in a row.
struct Block<'a, T> {
    /// The first row of each among the rows of all, and the end.
    starts: &'a [usize],
    width: usize,
    dilation: usize,
    eps: T,
    halves: [Half<'a, T>; 2],
    x: &'a [T],
}

/// Where a convolution's taps look.
#[derive(Clone, Copy)]
enum Look {
    Back,
    Ahead,
}

impl<T: Real> Block<'_, T> {
    /// For each row the rows that its taps meet, side by side: `[rows, 3 d]`.
    #[inline(always)]
    fn unfold(&self, x: &[T], dilation: usize, look: Look, taps: &mut [T]) {
        let width = self.width;
        let mut rows = taps.chunks_exact_mut(width);
        for window in self.starts.windows(2) {
            let (start, length) = (window[0] - self.starts[0], window[1] - window[0]);
            for t in 0..length {
                for (distance, to) in (0..TAPS).rev().zip(&mut rows) {
                    let distance = distance * dilation;
                    let met = match look {
                        Look::Back => t.checked_sub(distance),
                        Look::Ahead => Some(t + distance).filter(|&t| t < length),
                    };
                    match met {
                        Some(t) => to.copy_from_slice(&x[(start + t) * width..][..width]),
                        None => to.fill(T::zero()),
                    }
                }
            }
        }
    }

    /// What a half's convolution puts out; `taps` is scratch.
    #[inline(always)]
    fn convolve<S: Simd>(&self, simd: S, half: &Half<'_, T>, dilation: usize, x: &[T], taps: &mut [T]) -> Vec<T> {
        let width = self.width;
        self.unfold(x, dilation, Look::Back, taps);
        let mut out = half.bias.repeat(x.len() / width);
        let a = Strided { data: taps, row: TAPS * width, column: 1 };
        multiply_add(simd, [x.len() / width, width, TAPS * width], a, half.taps, width, &mut out, width);
        out
    }

    /// A half's way back. `grad` is that of what its ReLU puts out, and is spent; the gradient of the half's parameters goes to
    /// `sums`, that of its input `x` is added to `dx`.
    #[inline(always)]
    fn back<S: Simd>(
        &self,
        simd: S,
        half: &Half<'_, T>,
        scratch: &mut Scratch<'_, T>,
        step: Step<'_, T>,
        dx: &mut [T],
    ) {
        let width = self.width;
        let Step { dilation, x, convolved, across, grad, sums } = step;
        let (dtaps, dothers) = sums.split_at_mut(half.taps.len());
        let (dbias, dnorm) = dothers.split_at_mut(width);
        for (convolved, grad) in convolved.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let rooted = normalise(simd, convolved, self.eps, scratch.normal);
            for (((g, &x), &scale), &shift) in grad.iter_mut().zip(&*scratch.normal).zip(half.scale).zip(half.shift) {
                *g = if x * scale + shift > T::zero() { *g } else { T::zero() };
            }
            affine_back(grad, scratch.normal, half.scale, dnorm);
            normalise_back(simd, scratch.normal, rooted, grad);
            add(dbias, grad);
        }
        let rows = x.len() / width;
        self.unfold(x, dilation, Look::Back, scratch.taps);
        let a = Strided { data: scratch.taps, row: 1, column: TAPS * width };
        multiply_add(simd, [TAPS * width, width, rows], a, grad, width, dtaps, width);
        self.unfold(grad, dilation, Look::Ahead, scratch.taps);
        let a = Strided { data: scratch.taps, row: TAPS * width, column: 1 };
        multiply_add(simd, [rows, width, TAPS * width], a, across, width, dx, width);
    }
}

/// What the way back of a half writes over.
struct Scratch<'a, T> {
    taps: &'a mut [T],
    normal: &'a mut [T],
}

/// What the way back of a half reads and fills.
struct Step<'a, T> {
    dilation: usize,
    x: &'a [T],
    convolved: &'a [T],
    /// The taps, each transposed.
    across: &'a [T],
    grad: &'a mut [T],
    sums: &'a mut [T],
}

/// `y` begins as x.
struct Forward<'a, T> {
    block: Block<'a, T>,
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = [Vec<T>; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { block, y } = self;
        let [one, two] = &block.halves;
        let mut taps = vec![T::zero(); TAPS * y.len()];
        let mut active = vec![T::zero(); y.len()];
        let first = block.convolve(simd, one, block.dilation, block.x, &mut taps);
        one.activate(simd, block.eps, &first, &mut active);
        let second = block.convolve(simd, two, 2 * block.dilation, &active, &mut taps);
        two.activate(simd, block.eps, &second, &mut active);
        add(y, &active);
        [first, second]
    }
}

/// `dx` holds the result's gradient and receives that of x. Returns the block's share of the kernel's gradient.
struct Backward<'a, T> {
    block: Block<'a, T>,
    across: &'a [Vec<T>; 2],
    tape: &'a [Vec<T>; 2],
    dx: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Self { block, across, tape, dx } = self;
        let [one, two] = &block.halves;
        let half = one.taps.len() + 3 * block.width;
        let mut sums = vec![T::zero(); 2 * half];
        let (first, second) = sums.split_at_mut(half);
        let (mut taps, mut normal) = (vec![T::zero(); TAPS * dx.len()], vec![T::zero(); block.width]);
        let scratch = &mut Scratch { taps: &mut taps, normal: &mut normal };
        let mut active = vec![T::zero(); dx.len()];
        one.activate(simd, block.eps, &tape[0], &mut active);
        let (mut grad, mut dactive) = (dx.to_vec(), vec![T::zero(); dx.len()]);
        let (dilation, x) = (2 * block.dilation, active.as_slice());
        let step = Step { dilation, x, convolved: &tape[1], across: &across[1], grad: &mut grad, sums: second };
        block.back(simd, two, scratch, step, &mut dactive);
        let (dilation, x) = (block.dilation, block.x);
        let step = Step { dilation, x, convolved: &tape[0], across: &across[0], grad: &mut dactive, sums: first };
        block.back(simd, one, scratch, step, dx);
        sums
    }
}
