//! Horizontal and vertical convolutions of Caser (Tang and Wang, 2018) as one fused operation.
//!
//! A horizontal filter of height h multiplies h consecutive rows, which are contiguous in memory:
//! one product per height, no unfold. Only the arg-max position of a filter has a gradient, so the
//! backward pass adds a few scaled rows. Windows are split into fixed blocks that run in parallel.
//! Positions at or past a window's length count as zero and receive no gradient.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::simd::gemm::{Strided, multiply_add};
use crate::simd::slices::{add, add_scaled, dot, each, relu, relu_grad, sum, sum_all, transpose};

/// Windows of a block. Fixed, so that sums over windows are split alike on any number of threads.
const BLOCK: usize = 16;

/// `[B, heights F + d]` from windows `x` `[B, L, d]` and their lengths `[B]`: for each height, F
/// filters, ReLU and max-pooling over time; then one vertical filter over all L positions, shared
/// by the d columns, and ReLU.
///
/// `horizontal` is `[(sum of heights) d + heights, F]`: the filters of each height, then the biases
/// of each. `vertical` is `[L + 1]`: the filter and its bias. Runs where
/// [`runs_on`](crate::runs_on) is true.
pub fn caser_conv(
    x: &Tensor,
    horizontal: &Tensor,
    vertical: &Tensor,
    lengths: &[u32],
    heights: &[usize],
) -> Result<Tensor> {
    let (batch, length, width) = x.dims3()?;
    let (rows, filters) = horizontal.dims2()?;
    if rows != heights.iter().sum::<usize>() * width + heights.len()
        || vertical.dims() != [length + 1]
    {
        bail!(
            "caser_conv: x {:?}, horizontal {:?} and vertical {:?} do not match",
            x.shape(),
            horizontal.shape(),
            vertical.shape()
        );
    }
    if width == 0 || filters == 0 || heights.iter().any(|&h| h == 0 || h > length) {
        bail!(
            "caser_conv: {filters} filters of heights {heights:?} do not fit a window of {length} x {width}"
        );
    }
    if lengths.len() != batch || lengths.iter().any(|&n| n as usize > length) {
        bail!("caser_conv: {batch} windows need as many lengths in 0..={length}");
    }
    let op = CaserConv {
        lengths: lengths.to_vec(),
        heights: heights.to_vec(),
        length,
        width,
        filters,
    };
    let shape = (batch, op.outputs());
    Op::new(op, shape).of([x, horizontal, vertical])
}

struct CaserConv {
    lengths: Vec<u32>,
    heights: Vec<usize>,
    length: usize,
    width: usize,
    /// Horizontal filters of each height.
    filters: usize,
}

impl CaserConv {
    fn outputs(&self) -> usize {
        self.heights.len() * self.filters + self.width
    }

    /// Per height: the height, the rows of its filters in `horizontal`, and the row of its biases.
    fn groups(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>, usize)> {
        let biases = self.heights.iter().sum::<usize>() * self.width;
        let mut row = 0;
        self.heights.iter().enumerate().map(move |(i, &height)| {
            let start = row;
            row += height * self.width;
            (height, start..row, biases + i)
        })
    }

    /// Approximate number of multiply-adds of the forward pass.
    fn work(&self) -> usize {
        self.lengths.len()
            * self.length
            * self.heights.iter().sum::<usize>()
            * self.width
            * self.filters
    }
}

impl FusedOp<3> for CaserConv {
    const NAME: &'static str = "caser_conv";
    /// Arg-max position of each horizontal filter.
    type Saved<T: Real> = Vec<u32>;

    fn forward<T: Real>(&self, [x, horizontal, vertical]: [&[T]; 3]) -> (Vec<T>, Vec<u32>) {
        let mut y = vec![T::zero(); self.lengths.len() * self.outputs()];
        let bests = self.heights.len() * self.filters;
        let mut best = vec![0; self.lengths.len() * bests];
        let given = self
            .lengths
            .chunks(BLOCK)
            .zip(x.chunks(BLOCK * self.length * self.width));
        let made = y
            .chunks_mut(BLOCK * self.outputs())
            .zip(best.chunks_mut(BLOCK * bests));
        let mut blocks = Vec::new();
        for ((lengths, x), (y, best)) in given.zip(made) {
            blocks.push(Forward {
                filters: self,
                lengths,
                x,
                horizontal,
                vertical,
                y,
                best,
            });
        }
        let arch = Arch::new();
        each(self.work(), blocks, |block| arch.dispatch(block));
        (y, best)
    }

    fn backward<T: Real>(
        &self,
        args: [&[T]; 3],
        best: &Vec<u32>,
        y: &[T],
        grad: &[T],
    ) -> [Vec<T>; 3] {
        let [x, horizontal, vertical] = args;
        let (outputs, bests) = (self.outputs(), self.heights.len() * self.filters);
        let across = &transpose(horizontal, self.filters);
        let mut dx = vec![T::zero(); x.len()];
        let size = BLOCK * self.length * self.width;
        let windows = self.lengths.chunks(BLOCK);
        let images = x.chunks(size).zip(dx.chunks_mut(size));
        let results = y.chunks(BLOCK * outputs).zip(grad.chunks(BLOCK * outputs));
        let mut blocks = Vec::new();
        for (((lengths, (x, dx)), best), (y, grad)) in windows
            .zip(images)
            .zip(best.chunks(BLOCK * bests))
            .zip(results)
        {
            blocks.push(Backward {
                filters: self,
                lengths,
                x,
                across,
                vertical,
                best,
                y,
                grad,
                dx,
            });
        }
        let arch = Arch::new();
        let parts = each(self.work() / 4, blocks, |block| arch.dispatch(block));
        let mut dacross = sum_all(horizontal.len() + vertical.len(), parts);
        let dvertical = dacross.split_off(horizontal.len());
        [
            dx,
            transpose(&dacross, horizontal.len() / self.filters),
            dvertical,
        ]
    }
}

struct Forward<'a, T> {
    filters: &'a CaserConv,
    lengths: &'a [u32],
    x: &'a [T],
    horizontal: &'a [T],
    vertical: &'a [T],
    y: &'a mut [T],
    best: &'a mut [u32],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let &CaserConv {
            length,
            width,
            filters,
            ..
        } = self.filters;
        let outputs = self.filters.outputs();
        // A copy with zeros past the windows' lengths, so that one product covers all positions.
        let mut x = self.x.to_vec();
        for (x, &n) in x.chunks_exact_mut(length * width).zip(self.lengths) {
            x[n as usize * width..].fill(T::zero());
        }
        for (group, (height, rows, bias)) in self.filters.groups().enumerate() {
            // Positions that reach into the next window are computed too, and ignored.
            let positions = self.lengths.len() * length + 1 - height;
            let mut scores = vec![T::zero(); self.lengths.len() * length * filters];
            let a = Strided {
                data: &x,
                row: width,
                column: 1,
            };
            let kernel = &self.horizontal[rows.start * filters..rows.end * filters];
            multiply_add(
                simd,
                [positions, filters, height * width],
                a,
                kernel,
                filters,
                &mut scores,
                filters,
            );
            let windows = scores
                .chunks_exact(length * filters)
                .zip(self.y.chunks_exact_mut(outputs));
            let bests = self
                .best
                .chunks_exact_mut(self.filters.heights.len() * filters);
            for ((scores, y), best) in windows.zip(bests) {
                let (y, best) = (
                    &mut y[group * filters..][..filters],
                    &mut best[group * filters..][..filters],
                );
                y.copy_from_slice(&scores[..filters]);
                for (at, scores) in (0..)
                    .zip(scores.chunks_exact(filters))
                    .take(length + 1 - height)
                    .skip(1)
                {
                    // Without a branch; of equal maxima the first is kept, as on the GPU.
                    for ((y, best), &score) in y.iter_mut().zip(&mut *best).zip(scores) {
                        (*y, *best) = if score > *y { (score, at) } else { (*y, *best) };
                    }
                }
                add(y, &self.horizontal[bias * filters..][..filters]);
            }
        }
        for (x, y) in x
            .chunks_exact(length * width)
            .zip(self.y.chunks_exact_mut(outputs))
        {
            let column = &mut y[outputs - width..];
            column.fill(self.vertical[length]);
            for (x, &v) in x.chunks_exact(width).zip(self.vertical) {
                add_scaled(column, v, x);
            }
            relu(y);
        }
    }
}

/// Backward pass of a block: `dx` starts at zero. Returns its part of the gradients of the
/// horizontal filters, transposed, and of the vertical one.
struct Backward<'a, T> {
    filters: &'a CaserConv,
    lengths: &'a [u32],
    x: &'a [T],
    /// The horizontal filters, transposed: a row holds a filter of each height and their biases.
    across: &'a [T],
    vertical: &'a [T],
    best: &'a [u32],
    y: &'a [T],
    grad: &'a [T],
    dx: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let &CaserConv {
            length,
            width,
            filters,
            ..
        } = self.filters;
        let (outputs, row) = (self.filters.outputs(), self.across.len() / filters);
        let mut sums = vec![T::zero(); self.across.len() + self.vertical.len()];
        let (dacross, dvertical) = sums.split_at_mut(self.across.len());
        let results = self
            .y
            .chunks_exact(outputs)
            .zip(self.grad.chunks_exact(outputs));
        let bests = self.best.chunks_exact(self.filters.heights.len() * filters);
        let images = self
            .x
            .chunks_exact(length * width)
            .zip(self.dx.chunks_exact_mut(length * width));
        for (((&n, (x, dx)), best), (y, grad)) in
            self.lengths.iter().zip(images).zip(bests).zip(results)
        {
            let end = n as usize * width;
            let gated = relu_grad(grad, y);
            let (gates, column) = gated.split_at(outputs - width);
            for (group, (height, rows, bias)) in self.filters.groups().enumerate() {
                for f in 0..filters {
                    let g = gates[group * filters + f];
                    let start = best[group * filters + f] as usize * width;
                    let image = start.min(end)..(start + height * width).min(end);
                    let filter = f * row + rows.start..f * row + rows.start + image.len();
                    dacross[f * row + bias] += g;
                    add_scaled(&mut dacross[filter.clone()], g, &x[image.clone()]);
                    add_scaled(&mut dx[image], g, &self.across[filter]);
                }
            }
            let images = x[..end]
                .chunks_exact(width)
                .zip(dx[..end].chunks_exact_mut(width));
            for (((x, dx), &v), dv) in images.zip(self.vertical).zip(&mut *dvertical) {
                *dv += dot(simd, column, x);
                add_scaled(dx, v, column);
            }
            dvertical[length] += sum(simd, column);
        }
        sums
    }
}
