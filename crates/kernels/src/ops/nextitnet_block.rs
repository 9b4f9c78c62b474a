//! NextItNet's residual block (Yuan et al., 2019), forward and back, as one operation.
//!
//! conv - layer norm - ReLU - conv - layer norm - ReLU, plus the input: three taps, looking back only. A tap meets a run of each
//! window's rows, and multiplies it where it lies; its gradients are two more such products. Windows are cut into fixed blocks that run in parallel, and inside a block nothing leaves the cache. Only valid rows
//! are there: what lies before a window is not multiplied, and no window sees another. Rows that nothing is made of later need
//! not be made ([`CausalConv::stride`]).

mod conv;
#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use self::conv::{ConvLayer, Rows};
use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::packed::SeqOffsets;
use crate::simd::slices::{add, cut, each, sum_all, transpose};

/// Taps of a convolution.
const TAPS: usize = 3;
/// Windows of a block. Fixed, so that sums over rows are split alike on any number of threads.
const BLOCK: usize = 16;

/// Which rows a convolution makes, and of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CausalConv {
    /// How many rows apart those lie that neighbouring taps meet.
    pub dilation: usize,
    /// It makes every so many-th row of those it is given, counted from the last of a window; at least 1.
    pub stride: usize,
    /// And so many rows of a window at most.
    pub max_rows: usize,
}

impl CausalConv {
    /// One that makes all rows.
    pub fn dense(dilation: usize) -> Self {
        Self {
            dilation,
            stride: 1,
            max_rows: usize::MAX,
        }
    }
}

/// `[rows made, d]`, and the windows that they are, from the rows `x` `[rows, d]` of the windows `spans`, and the two
/// convolutions; `eps` is added to the variances. A row that is made has its own of `x` added.
///
/// `kernel` is `[2 (3 d + 3), d]`: the three taps of the first convolution, `[d in, d out]` each, oldest first; its bias; scale
/// and shift of its layer norm; then the same of the second. Where [`runs_on`](crate::runs_on) says.
///
/// # Errors
/// If shapes do not fit, or a convolution makes every zeroth row.
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
            "residual block: x {:?}, kernel {:?}, {} rows do not fit",
            x.shape(),
            kernel.shape(),
            spans.rows()
        );
    }
    if convolutions.iter().any(|c| c.stride == 0) {
        bail!("residual block: a convolution makes every zeroth row; 1 makes all");
    }
    // What is more than all rows is the last of a window too.
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
    /// The rows given to the first convolution and to the second, and those that the second makes.
    spans: [SeqOffsets; 3],
    convolutions: [CausalConv; 2],
    eps: f64,
    width: usize,
}

impl NextItNetBlock {
    /// From the block's rows of x to those it makes.
    fn over_both(&self) -> usize {
        self.convolutions[0].stride * self.convolutions[1].stride
    }

    /// The blocks of windows, with their rows of x.
    fn blocks<'a, T: Real>(
        &'a self,
        x: &'a [T],
        kernel: &'a [T],
    ) -> impl Iterator<Item = Block<'a, T>> {
        let half = kernel.len() / 2;
        let [given, between, made] = self.spans.each_ref().map(|spans| spans.blocks(BLOCK));
        given
            .zip(between)
            .zip(made)
            .map(move |((given, between), made)| {
                let make = |i: usize, from, to| {
                    let CausalConv {
                        dilation, stride, ..
                    } = self.convolutions[i];
                    let kernel = &kernel[i * half..][..half];
                    ConvLayer::new(
                        kernel,
                        self.width,
                        T::of(self.eps),
                        Rows::new(from, to, stride),
                        dilation,
                    )
                };
                Block {
                    halves: [make(0, given, between), make(1, between, made)],
                    kept: Rows::new(given, made, self.over_both()),
                    x: &x[given[0] * self.width..given[given.len() - 1] * self.width],
                }
            })
    }

    /// Rows of one of the three kinds, cut into those of the blocks.
    fn parts<'a, T>(&self, kind: usize, rows: &'a mut [T]) -> Vec<&'a mut [T]> {
        cut(
            rows,
            self.spans[kind]
                .blocks(BLOCK)
                .map(|s| (s[s.len() - 1] - s[0]) * self.width),
        )
    }

    /// About the number of multiply-adds on the way there.
    fn work(&self) -> usize {
        TAPS * (self.spans[1].rows() + self.spans[2].rows()) * self.width * self.width
    }
}

impl FusedOp<2> for NextItNetBlock {
    const NAME: &'static str = "nextitnet_block";
    /// For each block, what both convolutions put out.
    type Saved<T: Real> = Vec<[Vec<T>; 2]>;

    fn forward<T: Real>(&self, [x, kernel]: [&[T]; 2]) -> (Vec<T>, Self::Saved<T>) {
        let mut y = vec![T::zero(); self.spans[2].rows() * self.width];
        let parts = self.parts(2, &mut y);
        let arch = Arch::new();
        let tape = each(
            self.work(),
            self.blocks(x, kernel).zip(parts),
            |(block, y)| arch.dispatch(Forward { block, y }),
        );
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
        let parts = self
            .parts(0, &mut dx)
            .into_iter()
            .zip(self.parts(2, &mut grad));
        let (half, taps) = (kernel.len() / 2, TAPS * self.width * self.width);
        let across = [0, half].map(|at| {
            let taps = kernel[at..][..taps].chunks(self.width * self.width);
            taps.flat_map(|tap| transpose(tap, self.width))
                .collect::<Vec<T>>()
        });
        let arch = Arch::new();
        let sums = each(
            2 * self.work(),
            self.blocks(x, kernel).zip(parts).zip(tape),
            |((block, (dx, grad)), tape)| {
                arch.dispatch(Backward {
                    block,
                    across: &across,
                    tape,
                    grad,
                    dx,
                })
            },
        );
        [dx, sum_all(kernel.len(), sums)]
    }
}

/// Some windows in a row.
struct Block<'a, T> {
    halves: [ConvLayer<'a, T>; 2],
    /// The rows of x that are added to what the halves make.
    kept: Rows<'a>,
    x: &'a [T],
}

/// `y` begins as zeros.
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
        block.kept.each(width, |own, made| {
            add(&mut y[made..][..width], &block.x[own..][..width])
        });
        [first, second]
    }
}

/// `grad` is the result's gradient, and is spent; `dx`, zeros, becomes that of x. Returns the block's share of the kernel's
/// gradient.
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
        block.kept.each(width, |own, made| {
            dx[own..][..width].copy_from_slice(&grad[made..][..width])
        });
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
