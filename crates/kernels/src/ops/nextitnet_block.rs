//! Residual block of NextItNet (Yuan et al., 2019, Fig. 3b) as one fused operation.
//!
//! `y = x + relu(norm(conv(relu(norm(conv(x))))))` with causal convolutions of kernel size 3. Each
//! tap multiplies a contiguous range of every window's packed rows in place, without an unfold.
//! Windows are split into fixed blocks that run in parallel; a block's intermediate results stay in
//! cache. Windows do not influence each other, and rows outside the receptive field of later layers
//! can be skipped ([`CausalConv::stride`]).

mod conv;
#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use self::conv::{ConvLayer, Rows, TAPS};
use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::packed::SeqOffsets;
use crate::simd::slices::{add, cut, each, sum_all, transpose};

/// Windows per block. Fixed, so that sums over rows are split alike for any number of threads.
const BLOCK: usize = 16;

/// Dilation of a causal convolution and the rows that it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CausalConv {
    /// Distance in rows between neighbouring taps.
    pub dilation: usize,
    /// Computes every `stride`-th input row, counted back from the last row of a window; at least
    /// 1.
    pub stride: usize,
    /// Largest number of output rows per window.
    pub max_rows: usize,
}

impl CausalConv {
    /// A convolution that computes all rows.
    pub fn dense(dilation: usize) -> Self {
        Self {
            dilation,
            stride: 1,
            max_rows: usize::MAX,
        }
    }
}

/// Output `[rows out, d]` and its offsets, from packed rows `x` `[rows, d]` with offsets `spans`;
/// `eps` is added to the variances. Each output row has its own input row added.
///
/// `kernel` is `[2 (3 d + 3), d]`: for the first convolution the three taps `[d in, d out]` (oldest
/// first), the bias, and scale and shift of the layer norm; then the same for the second. Runs
/// where [`runs_on`](crate::runs_on) is true.
///
/// # Errors
/// If shapes do not match, or a stride is zero.
pub fn nextitnet_block(
    x: &Tensor,
    kernel: &Tensor,
    spans: &SeqOffsets,
    convolutions: [CausalConv; 2],
    eps: f64,
) -> Result<(Tensor, SeqOffsets)> {
    let (rows, width) = x.dims2()?;
    if width == 0 || rows != spans.rows() || kernel.dims() != [2 * (TAPS * width + 3), width] {
        bail!(
            "nextitnet_block: x {:?}, kernel {:?} and {} packed rows do not match",
            x.shape(),
            kernel.shape(),
            spans.rows()
        );
    }
    if convolutions.iter().any(|c| c.stride == 0) {
        bail!("nextitnet_block: a stride is 0; expected at least 1 (1 computes all rows)");
    }
    // A stride beyond the number of rows leaves the last row of a window.
    let convolutions = convolutions.map(|c| CausalConv {
        stride: c.stride.min(rows.max(1)),
        ..c
    });
    let [one, two] = convolutions;
    let between = spans.keep_strided(one.stride, one.max_rows);
    let made = between.keep_strided(two.stride, two.max_rows);
    let op = NextItNetBlock {
        spans: [spans.clone(), between, made.clone()],
        convolutions,
        eps,
        width,
    };
    Ok((Op::new(op, (made.rows(), width)).of([x, kernel])?, made))
}

struct NextItNetBlock {
    /// Input rows of the first and second convolution, and output rows of the second.
    spans: [SeqOffsets; 3],
    convolutions: [CausalConv; 2],
    eps: f64,
    width: usize,
}

impl NextItNetBlock {
    /// Stride from the block's input rows to its output rows.
    fn over_both(&self) -> usize {
        self.convolutions[0].stride * self.convolutions[1].stride
    }

    /// Blocks of windows with their input rows.
    fn blocks<'a, T: Real>(&'a self, x: &'a [T], kernel: &'a [T]) -> Vec<Block<'a, T>> {
        let [one, two] = self.convolutions;
        let (kernel_one, kernel_two) = kernel.split_at(kernel.len() / 2);
        let [given, between, made] = self.spans.each_ref().map(|spans| spans.blocks(BLOCK));
        let mut blocks = Vec::new();
        for ((given, between), made) in given.zip(between).zip(made) {
            let first = Rows::new(given, between, one.stride);
            let second = Rows::new(between, made, two.stride);
            blocks.push(Block {
                halves: [
                    ConvLayer::new(kernel_one, self.width, self.eps, first, one.dilation),
                    ConvLayer::new(kernel_two, self.width, self.eps, second, two.dilation),
                ],
                kept: Rows::new(given, made, self.over_both()),
                x: &x[given[0] * self.width..given[given.len() - 1] * self.width],
            });
        }
        blocks
    }

    /// Splits rows of one of the three kinds at the block boundaries.
    fn parts<'a, T>(&self, kind: usize, rows: &'a mut [T]) -> Vec<&'a mut [T]> {
        cut(
            rows,
            self.spans[kind]
                .blocks(BLOCK)
                .map(|s| (s[s.len() - 1] - s[0]) * self.width),
        )
    }

    /// Approximate number of multiply-adds of the forward pass.
    fn work(&self) -> usize {
        TAPS * (self.spans[1].rows() + self.spans[2].rows()) * self.width * self.width
    }
}

impl FusedOp<2> for NextItNetBlock {
    const NAME: &'static str = "nextitnet_block";
    /// Per block, the outputs of both convolutions before the norm.
    type Saved<T: Real> = Vec<[Vec<T>; 2]>;

    fn forward<T: Real>(&self, [x, kernel]: [&[T]; 2]) -> (Vec<T>, Self::Saved<T>) {
        let mut y = vec![T::zero(); self.spans[2].rows() * self.width];
        let blocks = self.blocks(x, kernel).into_iter();
        let blocks = blocks.zip(self.parts(2, &mut y));
        let arch = Arch::new();
        let tape = each(self.work(), blocks, |(block, y)| {
            arch.dispatch(Forward { block, y })
        });
        (y, tape)
    }

    fn backward<T: Real>(
        &self,
        args: [&[T]; 2],
        tape: &Self::Saved<T>,
        _: &[T],
        grad: &[T],
    ) -> [Vec<T>; 2] {
        let [x, kernel] = args;
        let (mut dx, mut grad) = (vec![T::zero(); x.len()], grad.to_vec());
        let (kernel_one, kernel_two) = kernel.split_at(kernel.len() / 2);
        let across = [kernel_one, kernel_two].map(|half| transpose_taps(half, self.width));
        let parts = self
            .parts(0, &mut dx)
            .into_iter()
            .zip(self.parts(2, &mut grad));
        let mut blocks = Vec::new();
        for ((block, tape), (dx, grad)) in self.blocks(x, kernel).into_iter().zip(tape).zip(parts) {
            blocks.push(Backward {
                block,
                across: &across,
                tape,
                grad,
                dx,
            });
        }
        let arch = Arch::new();
        let sums = each(2 * self.work(), blocks, |block| arch.dispatch(block));
        [dx, sum_all(kernel.len(), sums)]
    }
}

/// The taps of half a kernel, each transposed.
fn transpose_taps<T: Real>(kernel: &[T], width: usize) -> Vec<T> {
    let mut across = Vec::with_capacity(TAPS * width * width);
    for tap in kernel.chunks(width * width).take(TAPS) {
        across.extend(transpose(tap, width));
    }
    across
}

/// Consecutive windows.
struct Block<'a, T> {
    halves: [ConvLayer<'a, T>; 2],
    /// Input rows added to the outputs.
    kept: Rows<'a>,
    x: &'a [T],
}

/// `y` starts as zeros.
struct Forward<'a, T> {
    block: Block<'a, T>,
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = [Vec<T>; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { block, y } = self;
        let ([one, two], width) = (&block.halves, block.halves[0].width());
        let mut active = vec![T::zero(); one.made()];
        let first = one.convolve(simd, block.x);
        one.activate(simd, &first, &mut active);
        let second = two.convolve(simd, &active);
        two.activate(simd, &second, y);
        for (own, made) in block.kept.offsets(width) {
            add(&mut y[made..][..width], &block.x[own..][..width]);
        }
        [first, second]
    }
}

/// Overwrites `grad`, the result's gradient, and `dx` (zeros) with the gradient of x. Returns the
/// block's part of the kernel's gradient.
struct Backward<'a, T> {
    block: Block<'a, T>,
    across: &'a [Vec<T>; 2],
    tape: &'a [Vec<T>; 2],
    grad: &'a mut [T],
    dx: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Self {
            block,
            across,
            tape,
            grad,
            dx,
        } = self;
        let ([one, two], width) = (&block.halves, block.halves[0].width());
        for (own, made) in block.kept.offsets(width) {
            dx[own..][..width].copy_from_slice(&grad[made..][..width]);
        }
        let half = (TAPS * width + 3) * width;
        let mut sums = vec![T::zero(); 2 * half];
        let (first, second) = sums.split_at_mut(half);
        let (mut active, mut dactive) = (vec![T::zero(); one.made()], vec![T::zero(); one.made()]);
        one.activate(simd, &tape[0], &mut active);
        two.back(
            simd,
            [&active, &tape[1], &across[1]],
            grad,
            second,
            &mut dactive,
        );
        one.back(
            simd,
            [block.x, &tape[0], &across[0]],
            &mut dactive,
            first,
            dx,
        );
        sums
    }
}
