//! The GRU's states at every row of packed sequences. CPU only.
//!
//! The rows of a block of sequences are put in the order of the time steps, long sequences first.
//! So the rows of a time step are contiguous, their states before it are the first rows of the time
//! step before, and one product has the gates' parts by the inputs of all rows.

use std::cmp::Reverse;
use std::ops::Range;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use super::{BLOCK, product, sigmoid, tanh};
use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::ops::embedding::gather;
use crate::packed::SeqOffsets;
use crate::simd::gemm::{Strided, multiply_add};
use crate::simd::slices::{add, cut, each, map, sum_all, transpose};

/// The state after every row, `[rows, d]`, of packed items `x` `[rows, i]`; each sequence starts
/// from zero. `kernel` is as of [`gru`](super::gru).
pub fn gru_states(x: &Tensor, kernel: &Tensor, offsets: &SeqOffsets) -> Result<Tensor> {
    let (n, input) = x.dims2()?;
    let (rows, columns) = kernel.dims2()?;
    let width = columns / 3;
    if rows != input + width + 1 || columns % 3 != 0 || n != offsets.rows() {
        bail!(
            "gru_states: x {:?}, kernel {:?} and {} rows do not match",
            x.shape(),
            kernel.shape(),
            offsets.rows()
        );
    }
    let op = GruStates {
        offsets: offsets.clone(),
        sizes: Sizes { input, width },
    };
    Op::new(op, (n, width)).of([x, kernel])
}

#[derive(Clone, Copy)]
struct Sizes {
    input: usize,
    width: usize,
}

struct GruStates {
    offsets: SeqOffsets,
    sizes: Sizes,
}

#[cfg(feature = "cuda")]
crate::autograd::cuda::cpu_only!(GruStates, 2, "gru_states");

impl GruStates {
    /// The row range of each block.
    fn blocks(&self) -> Vec<(&[usize], Range<usize>)> {
        let mut blocks = Vec::new();
        for starts in self.offsets.blocks(BLOCK) {
            blocks.push((starts, starts[0]..starts[starts.len() - 1]));
        }
        blocks
    }

    /// Splits rows of `width` at the block boundaries.
    fn cut<'a, T>(&self, rows: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        let blocks = self.blocks();
        cut(rows, blocks.into_iter().map(|(_, rows)| rows.len() * width))
    }

    /// Approximate number of multiply-adds of the forward pass.
    fn work(&self) -> usize {
        let Sizes { input, width } = self.sizes;
        self.offsets.rows() * 3 * width * (input + width)
    }
}

/// Values that a block saves for the backward pass, in the order of the time steps.
struct Saved<T> {
    /// Gates z, g and c: `[rows, 3 d]`.
    gates: Vec<T>,
    /// States after the rows: `[rows, d]`.
    states: Vec<T>,
}

impl FusedOp<2> for GruStates {
    const NAME: &'static str = "gru_states";
    type Saved<T: Real> = Vec<Saved<T>>;

    fn forward<T: Real>(&self, [x, kernel]: [&[T]; 2]) -> (Vec<T>, Self::Saved<T>) {
        let sizes = self.sizes;
        let mut y = vec![T::zero(); self.offsets.rows() * sizes.width];
        let mut blocks = Vec::new();
        for ((starts, rows), y) in self.blocks().into_iter().zip(self.cut(&mut y, sizes.width)) {
            blocks.push(Forward {
                sizes,
                order: TimeOrder::new(starts),
                x: &x[rows.start * sizes.input..rows.end * sizes.input],
                kernel,
                y,
            });
        }
        let arch = Arch::new();
        let saved = each(self.work(), blocks, |block| arch.dispatch(block));
        (y, saved)
    }

    fn backward<T: Real>(
        &self,
        [x, kernel]: [&[T]; 2],
        saved: &Self::Saved<T>,
        _: &[T],
        grad: &[T],
    ) -> [Vec<T>; 2] {
        let sizes = self.sizes;
        let Sizes { input, width } = sizes;
        let across = transpose(&kernel[..(input + width) * 3 * width], 3 * width);
        let mut dx = vec![T::zero(); x.len()];
        let parts = self.blocks().into_iter().zip(self.cut(&mut dx, input));
        let mut blocks = Vec::new();
        for (((starts, rows), dx), saved) in parts.zip(saved) {
            blocks.push(Backward {
                sizes,
                order: TimeOrder::new(starts),
                x: &x[rows.start * input..rows.end * input],
                dx,
                across: &across,
                saved,
                grad: &grad[rows.start * width..rows.end * width],
            });
        }
        let arch = Arch::new();
        let parts = each(2 * self.work(), blocks, |block| arch.dispatch(block));
        [dx, sum_all(kernel.len(), parts)]
    }
}

/// Rows of a block of sequences in the order of the time steps.
struct TimeOrder {
    /// Row of the block at each place.
    rows: Vec<u32>,
    /// First place of each time step, then the number of rows.
    starts: Vec<usize>,
}

impl TimeOrder {
    /// Order of the sequences that start at these rows; the last one is their end.
    fn new(starts: &[usize]) -> Self {
        let mut sequences = Vec::with_capacity(starts.len());
        for bounds in starts.windows(2) {
            sequences.push(bounds[0] - starts[0]..bounds[1] - starts[0]);
        }
        sequences.sort_by_key(|sequence| Reverse(sequence.len()));
        let (mut rows, mut places) = (Vec::new(), vec![0]);
        for t in 0..sequences.first().map_or(0, ExactSizeIterator::len) {
            for sequence in sequences.iter().take_while(|sequence| t < sequence.len()) {
                rows.push((sequence.start + t) as u32);
            }
            places.push(rows.len());
        }
        Self {
            rows,
            starts: places,
        }
    }

    /// Number of time steps.
    fn steps(&self) -> usize {
        self.starts.len() - 1
    }

    /// The places of time step `t`.
    fn step(&self, t: usize) -> Range<usize> {
        self.starts[t]..self.starts[t + 1]
    }

    /// The places of the same sequences one time step earlier; there is one.
    fn before(&self, t: usize) -> Range<usize> {
        let first = self.starts[t - 1];
        first..first + self.step(t).len()
    }

    /// Puts rows of `width` that are in this order where they belong.
    fn scatter<T: Copy>(&self, ordered: &[T], width: usize, to: &mut [T]) {
        for (&row, values) in self.rows.iter().zip(ordered.chunks_exact(width)) {
            to[row as usize * width..][..width].copy_from_slice(values);
        }
    }
}

/// These rows of a matrix with `width` columns.
fn span(rows: Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

/// A row-major matrix.
fn matrix<T>(data: &[T], row: usize) -> Strided<'_, T> {
    Strided {
        data,
        row,
        column: 1,
    }
}

/// The transpose of a row-major matrix.
fn transposed<T>(data: &[T], row: usize) -> Strided<'_, T> {
    Strided {
        data,
        row: 1,
        column: row,
    }
}

/// Forward pass of a block: writes its states to `y`.
struct Forward<'a, T> {
    sizes: Sizes,
    order: TimeOrder,
    x: &'a [T],
    kernel: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = Saved<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Saved<T> {
        let Sizes { input, width } = self.sizes;
        let (order, n) = (&self.order, self.order.rows.len());
        let (all, two) = (3 * width, 2 * width);
        let (by_input, rest) = self.kernel.split_at(input * all);
        let (by_state, bias) = rest.split_at(width * all);
        let x = gather(self.x, input, &order.rows);
        let mut gates = Vec::with_capacity(n * all);
        for _ in 0..n {
            gates.extend_from_slice(bias);
        }
        let shape = [n, all, input];
        multiply_add(
            simd,
            shape,
            matrix(&x, input),
            by_input,
            all,
            &mut gates,
            all,
        );
        let mut states = vec![T::zero(); n * width];
        let zeros = vec![T::zero(); order.starts.get(1).map_or(0, |&m| m * width)];
        let mut reset = zeros.clone();
        for t in 0..order.steps() {
            let (places, m) = (order.step(t), order.step(t).len());
            let gates = &mut gates[span(places.clone(), all)];
            let (earlier, states) = states.split_at_mut(places.start * width);
            let before = match t {
                0 => &zeros[..],
                _ => &earlier[span(order.before(t), width)],
            };
            // Before the first item the state is zero, and so are the products.
            if t > 0 {
                let s = matrix(before, width);
                multiply_add(simd, [m, two, width], s, by_state, all, gates, all);
            }
            for (r, gates) in gates.chunks_exact_mut(all).enumerate() {
                map(
                    simd,
                    &mut gates[..two],
                    #[inline(always)]
                    |simd, x| sigmoid::<T, S>(simd, x),
                );
                let reset = &mut reset[r * width..][..width];
                product(simd, reset, &gates[width..two], &before[r * width..]);
            }
            if t > 0 {
                let (g, by_reset) = (matrix(&reset, width), &by_state[two..]);
                let candidates = &mut gates[two..];
                multiply_add(simd, [m, width, width], g, by_reset, all, candidates, all);
            }
            for (r, gates) in gates.chunks_exact_mut(all).enumerate() {
                map(
                    simd,
                    &mut gates[two..],
                    #[inline(always)]
                    |simd, x| tanh::<T, S>(simd, x),
                );
                let (z, c) = (&gates[..width], &gates[two..]);
                let s = &before[r * width..][..width];
                for (i, state) in states[r * width..][..width].iter_mut().enumerate() {
                    *state = s[i] + z[i] * (c[i] - s[i]);
                }
            }
        }
        order.scatter(&states, width, self.y);
        Saved { gates, states }
    }
}

/// Backward pass of a block: fills `dx` and returns its part of the kernel's gradient.
struct Backward<'a, T> {
    sizes: Sizes,
    order: TimeOrder,
    x: &'a [T],
    dx: &'a mut [T],
    /// The kernel without its bias, transposed: `[3 d, i + d]`.
    across: &'a [T],
    saved: &'a Saved<T>,
    grad: &'a [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Sizes { input, width } = self.sizes;
        let (order, n) = (&self.order, self.order.rows.len());
        let (all, two, side) = (3 * width, 2 * width, input + width);
        let grad = gather(self.grad, width, &order.rows);
        // Gradients before the gates' nonlinearities, states before each row, and those times g.
        let mut dgates = vec![T::zero(); n * all];
        let [mut before, mut reset] = [(); 2].map(|()| vec![T::zero(); n * width]);
        let sequences = order.starts.get(1).copied().unwrap_or(0);
        // By state: of ended sequences, zeros until their last time step.
        let mut ds = vec![T::zero(); sequences * width];
        let mut dreset = vec![T::zero(); sequences * width];
        for t in (0..order.steps()).rev() {
            let (places, m) = (order.step(t), order.step(t).len());
            let before = &mut before[span(places.clone(), width)];
            if t > 0 {
                before.copy_from_slice(&self.saved.states[span(order.before(t), width)]);
            }
            let gates = &self.saved.gates[span(places.clone(), all)];
            let dgates = &mut dgates[span(places.clone(), all)];
            add(&mut ds[..m * width], &grad[span(places.clone(), width)]);
            for r in 0..m {
                let (gates, s) = (&gates[r * all..][..all], &before[r * width..][..width]);
                let (d, ds) = (&mut dgates[r * all..][..all], &mut ds[r * width..][..width]);
                for i in 0..width {
                    let (z, c) = (gates[i], gates[two + i]);
                    d[i] = ds[i] * (c - s[i]) * z * (T::one() - z);
                    d[two + i] = ds[i] * z * (T::one() - c * c);
                    ds[i] *= T::one() - z;
                }
            }
            // The state before the first item is no variable.
            if t == 0 {
                break;
            }
            dreset[..m * width].fill(T::zero());
            let (dc, by_reset) = (
                matrix(&dgates[two..], all),
                &self.across[two * side + input..],
            );
            multiply_add(
                simd,
                [m, width, width],
                dc,
                by_reset,
                side,
                &mut dreset,
                width,
            );
            let reset = &mut reset[span(places, width)];
            for r in 0..m {
                let (gates, s) = (&gates[r * all..][..all], &before[r * width..][..width]);
                let (d, ds) = (&mut dgates[r * all..][..all], &mut ds[r * width..][..width]);
                product(
                    simd,
                    &mut reset[r * width..][..width],
                    &gates[width..two],
                    s,
                );
                for (i, &dr) in dreset[r * width..][..width].iter().enumerate() {
                    let g = gates[width + i];
                    d[width + i] = dr * s[i] * g * (T::one() - g);
                    ds[i] += dr * g;
                }
            }
            let (d, by_state) = (matrix(dgates, all), &self.across[input..]);
            multiply_add(simd, [m, width, two], d, by_state, side, &mut ds, width);
        }
        let mut dx = vec![T::zero(); n * input];
        let d = matrix(&dgates, all);
        multiply_add(simd, [n, input, all], d, self.across, side, &mut dx, input);
        order.scatter(&dx, input, self.dx);
        let mut dkernel = vec![T::zero(); (side + 1) * all];
        let (by_input, rest) = dkernel.split_at_mut(input * all);
        let x = gather(self.x, input, &order.rows);
        let x = transposed(&x, input);
        multiply_add(simd, [input, all, n], x, &dgates, all, by_input, all);
        let s = transposed(&before, width);
        multiply_add(simd, [width, two, n], s, &dgates, all, rest, all);
        // Rows of the gates start at z: a block without rows has no candidate to start at.
        if n > 0 {
            let (g, dc) = (transposed(&reset, width), &dgates[two..]);
            multiply_add(simd, [width, width, n], g, dc, all, &mut rest[two..], all);
        }
        for d in dgates.chunks_exact(all) {
            add(&mut rest[width * all..], d);
        }
        dkernel
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};
    use prl_testkit::{assert_close, flat, values};

    use super::{TimeOrder, gru_states};
    use crate::ops::gru::gru;
    use crate::packed::SeqOffsets;

    #[test]
    fn states_are_those_of_every_prefix_with_their_gradients() {
        for (input, d) in [(5, 4), (19, 21)] {
            // More than a block, not in the order of the lengths.
            let offsets = SeqOffsets::new((0..45).map(|i| 1 + (5 * i) % 7));
            let var = |name: &str, shape: &[usize]| Var::from_tensor(&values(shape, name)).unwrap();
            let x = var("x", &[offsets.rows(), input]);
            let kernel = var("kernel", &[input + d + 1, 3 * d]);
            let weights = values(&[offsets.rows(), d], "weights");
            let run = |y: Tensor| {
                let loss = (&y * &weights).unwrap().sum_all().unwrap();
                let grads = loss.backward().unwrap();
                let mut all = flat(&y);
                for var in [&x, &kernel] {
                    all.extend(flat(grads.get(var).unwrap()));
                }
                all
            };
            let packed = run(gru_states(&x, &kernel, &offsets).unwrap());
            let mut prefixes = Vec::new();
            for rows in offsets.iter() {
                for length in 1..=rows.len() {
                    let prefix = x.narrow(0, rows.start, length).unwrap();
                    let prefix = prefix.unsqueeze(0).unwrap();
                    prefixes.push(gru(&prefix, &kernel, &[length as u32]).unwrap());
                }
            }
            assert_close(&packed, &run(Tensor::cat(&prefixes, 0).unwrap()), 1e-11);
        }
    }

    #[test]
    fn time_order_has_long_sequences_first() {
        let order = TimeOrder::new(&[10, 11, 14, 16]);
        assert_eq!(order.rows, [1, 4, 0, 2, 5, 3]);
        assert_eq!(order.starts, [0, 3, 5, 6]);
        assert_eq!((order.before(1), order.before(2)), (0..2, 3..4));
    }
}
