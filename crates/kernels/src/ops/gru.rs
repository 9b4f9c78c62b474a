//! GRU over a window as one fused operation.
//!
//! Eq. 8 of the paper: `s' = (1 - z) s + z c`, with update gate `z`, reset gate `g` and candidate
//! `c = tanh(x W_c + (g s) U_c + b_c)`: the reset gate multiplies the state **before** the
//! recurrent product (cuDNN and PyTorch apply it after). Rows of the batch are independent and run
//! in fixed blocks in parallel; the products of a block stay in cache. Positions at or past a
//! window's length change nothing and receive no gradient.

#[cfg(feature = "cuda")]
mod cuda;
mod states;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::simd::gemm::{Strided, multiply_add};
use crate::simd::slices::{add, each, map, sum_all, transpose};

pub use states::gru_states;

/// Rows per block. Fixed, so that sums over rows are split alike for any number of threads.
const BLOCK: usize = 32;

/// The sizes of a GRU over a batch of windows.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    length: usize,
    input: usize,
    width: usize,
}

/// Number of time steps of a block: its longest window.
fn steps(lengths: &[u32]) -> usize {
    lengths.iter().max().map_or(0, |&n| n as usize)
}

/// The state after the last valid position: `[B, d]` from `x` `[B, L, i]` and the lengths `[B]`.
///
/// `kernel` is `[i + d + 1, 3 d]`: input weights, state weights and bias; columns: update gate,
/// reset gate, candidate. Runs where [`runs_on`](crate::runs_on) is true.
pub fn gru(x: &Tensor, kernel: &Tensor, lengths: &[u32]) -> Result<Tensor> {
    let (batch, length, input) = x.dims3()?;
    let (rows, columns) = kernel.dims2()?;
    let sizes = Sizes {
        length,
        input,
        width: columns / 3,
    };
    if rows != input + sizes.width + 1 || columns % 3 != 0 || lengths.len() != batch {
        bail!(
            "gru: x {:?}, kernel {:?} and {} lengths do not match",
            x.shape(),
            kernel.shape(),
            lengths.len()
        );
    }
    if lengths.iter().any(|&n| n == 0 || n as usize > length) {
        bail!("gru: lengths must lie in 1..={length}");
    }
    let op = Op::new(
        Gru {
            sizes,
            lengths: lengths.to_vec(),
        },
        (batch, sizes.width),
    );
    op.of([x, kernel])
}

struct Gru {
    sizes: Sizes,
    lengths: Vec<u32>,
}

impl FusedOp<2> for Gru {
    const NAME: &'static str = "gru";
    /// Saved values of each block.
    type Saved<T: Real> = Vec<Vec<T>>;

    fn forward<T: Real>(&self, [x, kernel]: [&[T]; 2]) -> (Vec<T>, Self::Saved<T>) {
        let Sizes {
            length,
            input,
            width,
        } = self.sizes;
        let arch = Arch::new();
        let blocks = x
            .chunks(BLOCK * length * input)
            .zip(self.lengths.chunks(BLOCK));
        let parts = each(x.len() * 3 * width, blocks, |(x, lengths)| {
            arch.dispatch(Forward {
                sizes: self.sizes,
                x,
                kernel,
                lengths,
            })
        });
        let mut states = Vec::with_capacity(self.lengths.len() * width);
        let mut tapes = Vec::with_capacity(parts.len());
        for (state, tape) in parts {
            states.extend(state);
            tapes.push(tape);
        }
        (states, tapes)
    }

    fn backward<T: Real>(
        &self,
        args: [&[T]; 2],
        tapes: &Self::Saved<T>,
        _: &[T],
        grad: &[T],
    ) -> [Vec<T>; 2] {
        let [x, kernel] = args;
        let Sizes {
            length,
            input,
            width,
        } = self.sizes;
        let across = transpose(&kernel[..(input + width) * 3 * width], 3 * width);
        let arch = Arch::new();
        let mut dx = vec![T::zero(); x.len()];
        let size = BLOCK * length * input;
        let inputs = dx.chunks_mut(size).zip(x.chunks(size));
        let results = tapes.iter().zip(grad.chunks(BLOCK * width));
        let mut blocks = Vec::new();
        for (((dx, x), lengths), (tape, grad)) in
            inputs.zip(self.lengths.chunks(BLOCK)).zip(results)
        {
            blocks.push(Backward {
                sizes: self.sizes,
                x,
                dx,
                across: &across,
                lengths,
                tape,
                grad,
            });
        }
        let parts = each(x.len() * 6 * width, blocks, |block| arch.dispatch(block));
        [dx, sum_all(kernel.len(), parts)]
    }
}

/// Forward pass of a block: returns its states and saved values.
///
/// The saved values hold for each position `[rows, 3 d]` gates (z, g, c) and `[rows, d]` states
/// before the position.
struct Forward<'a, T> {
    sizes: Sizes,
    x: &'a [T],
    kernel: &'a [T],
    lengths: &'a [u32],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = (Vec<T>, Vec<T>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Sizes {
            length,
            input,
            width,
        } = self.sizes;
        let (rows, all, two) = (self.lengths.len(), 3 * width, 2 * width);
        let (by_input, rest) = self.kernel.split_at(input * all);
        let (by_state, bias) = rest.split_at(width * all);
        let mut tape = vec![T::zero(); length * rows * 4 * width];
        let mut state = vec![T::zero(); rows * width];
        let mut reset = vec![T::zero(); rows * width];
        for (t, tape) in tape
            .chunks_exact_mut(rows * 4 * width)
            .enumerate()
            .take(steps(self.lengths))
        {
            let (gates, before) = tape.split_at_mut(rows * all);
            before.copy_from_slice(&state);
            for gates in gates.chunks_exact_mut(all) {
                gates.copy_from_slice(bias);
            }
            let x = Strided {
                data: &self.x[t * input..],
                row: length * input,
                column: 1,
            };
            multiply_add(simd, [rows, all, input], x, by_input, all, gates, all);
            let s = Strided {
                data: before,
                row: width,
                column: 1,
            };
            multiply_add(simd, [rows, two, width], s, by_state, all, gates, all);
            for (r, gates) in gates.chunks_exact_mut(all).enumerate() {
                map(
                    simd,
                    &mut gates[..two],
                    #[inline(always)]
                    |simd, x| sigmoid::<T, S>(simd, x),
                );
                product(
                    simd,
                    &mut reset[r * width..][..width],
                    &gates[width..two],
                    &before[r * width..],
                );
            }
            let g = Strided {
                data: &reset,
                row: width,
                column: 1,
            };
            multiply_add(
                simd,
                [rows, width, width],
                g,
                &by_state[two..],
                all,
                &mut gates[two..],
                all,
            );
            for (r, gates) in gates.chunks_exact_mut(all).enumerate() {
                map(
                    simd,
                    &mut gates[two..],
                    #[inline(always)]
                    |simd, x| tanh::<T, S>(simd, x),
                );
                // Gates of rows past their length are computed with the others, and not used.
                if t < self.lengths[r] as usize {
                    let (z, c) = (&gates[..width], &gates[two..]);
                    for (i, s) in state[r * width..][..width].iter_mut().enumerate() {
                        *s += z[i] * (c[i] - *s);
                    }
                }
            }
        }
        (state, tape)
    }
}

/// Backward pass of a block: fills `dx` and returns its part of the kernel's gradient.
struct Backward<'a, T> {
    sizes: Sizes,
    x: &'a [T],
    dx: &'a mut [T],
    /// The kernel without its bias, transposed: `[3 d, i + d]`.
    across: &'a [T],
    lengths: &'a [u32],
    tape: &'a [T],
    grad: &'a [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Sizes {
            length,
            input,
            width,
        } = self.sizes;
        let (rows, all, two, side) = (self.lengths.len(), 3 * width, 2 * width, input + width);
        let mut dkernel = vec![T::zero(); (side + 1) * all];
        let mut ds = self.grad.to_vec();
        // Gradients before the gates' nonlinearities, of g s, and g s itself.
        let (mut dgates, mut dreset, mut reset) = (
            vec![T::zero(); rows * all],
            vec![T::zero(); rows * width],
            vec![T::zero(); rows * width],
        );
        for (t, tape) in self
            .tape
            .chunks_exact(rows * 4 * width)
            .enumerate()
            .take(steps(self.lengths))
            .rev()
        {
            let (gates, before) = tape.split_at(rows * all);
            let alive = |r: usize| t < self.lengths[r] as usize;
            // The products below are over all rows: those past their window's length keep zeros.
            dgates.fill(T::zero());
            dreset.fill(T::zero());
            for r in 0..rows {
                if !alive(r) {
                    continue;
                }
                let (gates, s) = (&gates[r * all..][..all], &before[r * width..][..width]);
                let (d, ds) = (&mut dgates[r * all..][..all], &mut ds[r * width..][..width]);
                for i in 0..width {
                    let (z, c) = (gates[i], gates[two + i]);
                    d[i] = ds[i] * (c - s[i]) * z * (T::one() - z);
                    d[two + i] = ds[i] * z * (T::one() - c * c);
                    ds[i] *= T::one() - z;
                }
            }
            let dc = Strided {
                data: &dgates[two..],
                row: all,
                column: 1,
            };
            multiply_add(
                simd,
                [rows, width, width],
                dc,
                &self.across[two * side + input..],
                side,
                &mut dreset,
                width,
            );
            for r in 0..rows {
                let (gates, s) = (&gates[r * all..][..all], &before[r * width..][..width]);
                product(
                    simd,
                    &mut reset[r * width..][..width],
                    &gates[width..two],
                    s,
                );
                if alive(r) {
                    let (d, ds) = (&mut dgates[r * all..][..all], &mut ds[r * width..][..width]);
                    for (i, &dr) in dreset[r * width..][..width].iter().enumerate() {
                        let g = gates[width + i];
                        d[width + i] = dr * s[i] * g * (T::one() - g);
                        ds[i] += dr * g;
                    }
                }
            }
            let d = Strided {
                data: &dgates,
                row: all,
                column: 1,
            };
            multiply_add(
                simd,
                [rows, width, two],
                d,
                &self.across[input..],
                side,
                &mut ds,
                width,
            );
            multiply_add(
                simd,
                [rows, input, all],
                d,
                self.across,
                side,
                &mut self.dx[t * input..],
                length * input,
            );
            let x = Strided {
                data: &self.x[t * input..],
                row: 1,
                column: length * input,
            };
            multiply_add(simd, [input, all, rows], x, &dgates, all, &mut dkernel, all);
            let s = Strided {
                data: before,
                row: 1,
                column: width,
            };
            multiply_add(
                simd,
                [width, two, rows],
                s,
                &dgates,
                all,
                &mut dkernel[input * all..],
                all,
            );
            let g = Strided {
                data: &reset,
                row: 1,
                column: width,
            };
            multiply_add(
                simd,
                [width, width, rows],
                g,
                &dgates[two..],
                all,
                &mut dkernel[input * all + two..],
                all,
            );
            for d in dgates.chunks_exact(all) {
                add(&mut dkernel[side * all..], d);
            }
        }
        dkernel
    }
}

/// `out = a * b`, element by element.
#[inline(always)]
fn product<T: Real, S: Simd>(_: S, out: &mut [T], a: &[T], b: &[T]) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = a * b;
    }
}

/// 1 / (1 + e^-x)
#[inline(always)]
fn sigmoid<T: Real, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
    T::vdiv(
        simd,
        one,
        T::vadd(simd, one, T::vexp(simd, T::vsub(simd, zero, x))),
    )
}

/// 2 sigmoid(2 x) - 1
#[inline(always)]
fn tanh<T: Real, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let y = sigmoid::<T, S>(simd, T::vadd(simd, x, x));
    T::vsub(simd, T::vadd(simd, y, y), T::splat(simd, T::one()))
}
