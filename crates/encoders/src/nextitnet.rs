//! NextItNet (Yuan et al., 2019) as the SQN code has it: six residual blocks of dilated causal convolutions over the
//! embedded window.
//!
//! A block is conv(d) - layer norm - ReLU - conv(2 d) - layer norm - ReLU, plus its input, with d = 1, 2, 1, 2, 1, 2 from block
//! to block; kernels of three taps, as many channels as an item has. The layer norms add 1e-8 to the variance. The state is
//! the output at the last valid position. Padding stands on the right and the convolutions look to the left, so what the
//! mask of the released code zeroes is simply never read.

use candle_core::{Result, Tensor, bail};
use prl_kernels::residual::residual;
use prl_kernels::runs_on;
use prl_nn::{Init, Pass, Scope, Spans, layer_norm, relu, take};

use crate::{Embedded, Encoder, Shape};

/// Taps of a convolution.
const TAPS: usize = 3;
/// The dilation of each block's first convolution; its second has twice that.
const DILATIONS: [usize; 6] = [1, 2, 1, 2, 1, 2];
/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;

/// A stack of residual blocks.
pub struct NextItNet {
    /// For each block `[2 (3 d + 3), d]`: the first half's taps, oldest first, each `[d in, d out]`; bias, and scale and
    /// shift of the layer norm; then the second half's.
    kernels: Vec<Tensor>,
    width: usize,
}

impl NextItNet {
    /// Convolutions of truncated N(0, .02) with zero biases.
    pub fn new(shape: Shape, mut scope: Scope<'_>) -> Result<Self> {
        let d = shape.dim;
        let mut kernel = |i: usize| {
            scope.get_with(&format!("block_{i}"), (2 * (TAPS * d + 3), d), |rng| {
                let mut half = || {
                    let taps = Init::TruncatedNormal(0.02).values(&[TAPS * d, d], rng)?;
                    Ok::<_, candle_core::Error>([taps, vec![0.0; d], vec![1.0; d], vec![0.0; d]].concat())
                };
                Ok([half()?, half()?].concat())
            })
        };
        Ok(Self { kernels: (0..DILATIONS.len()).map(&mut kernel).collect::<Result<_>>()?, width: d })
    }

    /// A block on the rows of some windows.
    fn block(x: &Tensor, kernel: &Tensor, spans: &Spans, dilation: usize) -> Result<Tensor> {
        if runs_on(x) { residual(x, kernel, spans, dilation, EPS) } else { Self::composed(x, kernel, spans, dilation) }
    }

    /// A block from candle's operations: what runs where the fused kernel does not.
    fn composed(x: &Tensor, kernel: &Tensor, spans: &Spans, dilation: usize) -> Result<Tensor> {
        let half = kernel.dim(0)? / 2;
        let first = Self::half(x, &kernel.narrow(0, 0, half)?, spans, dilation)?;
        x + Self::half(&first, &kernel.narrow(0, half, half)?, spans, 2 * dilation)?
    }

    /// Convolution, layer norm, ReLU.
    fn half(x: &Tensor, kernel: &Tensor, spans: &Spans, dilation: usize) -> Result<Tensor> {
        let (n, d) = x.dims2()?;
        // What lies before a window is the row of zeros at the end.
        let tap = |row: usize, start: usize, back: usize| if row >= start + back { row - back } else { n } as u32;
        let rows: Vec<u32> = spans
            .iter()
            .flat_map(|span| {
                let start = span.start;
                span.flat_map(move |row| (0..TAPS).rev().map(move |back| tap(row, start, back * dilation)))
            })
            .collect();
        let padded = Tensor::cat(&[x, &Tensor::zeros((1, d), x.dtype(), x.device())?], 0)?;
        let taps = padded.index_select(&Tensor::new(rows, x.device())?, 0)?.reshape((n, TAPS * d))?;
        let part = |at: usize| kernel.narrow(0, TAPS * d + at, 1)?.reshape(d);
        let y = taps.matmul(&kernel.narrow(0, 0, TAPS * d)?.contiguous()?)?.broadcast_add(&part(0)?)?;
        relu(&layer_norm(&y, &part(1)?, &part(2)?, EPS)?)
    }
}

impl Encoder for NextItNet {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, windows: &Embedded<'_>, _: &Pass) -> Result<Tensor> {
        let spans = windows.spans()?;
        let mut x = windows.rows(&spans)?;
        let Some((last, others)) = self.kernels.split_last() else { bail!("there is no block") };
        for (kernel, dilation) in others.iter().zip(DILATIONS) {
            x = Self::block(&x, kernel, &spans, dilation)?;
        }
        // Of the last block one output is read. What it is made of lies multiples of the dilation before it, where the block is
        // one of dilation 1.
        let (rows, spans) = spans.every(DILATIONS[others.len()]);
        take(&Self::block(&take(&x, &rows)?, last, &spans, 1)?, &spans.last())
    }
}

#[cfg(test)]
mod tests {
    use super::{EPS, NextItNet, Spans, residual};
    use candle_core::{Device, Tensor, Var};
    use prl_nn::Init;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fused_and_the_composed_block_are_one(
            lengths in prop::collection::vec(1..11usize, 1..40), d in 2..22usize, dilation in 1..4usize
        ) {
            let spans = Spans::new(lengths);
            let var = |shape: (usize, usize), name| {
                let values = Init::Normal(0.7).values(&[shape.0 * shape.1], &mut prl_seed::stream(1, name, 0)).unwrap();
                Var::from_vec(values, shape, &Device::Cpu).unwrap()
            };
            let (x, kernel) = (var((spans.rows(), d), "x"), var((2 * (3 * d + 3), d), "kernel"));
            let run = |y: Tensor| {
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                [&y, grads.get(&x).unwrap(), grads.get(&kernel).unwrap()]
                    .map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap())
                    .concat()
            };
            let fused = run(residual(&x, &kernel, &spans, dilation, EPS).unwrap());
            let composed = run(NextItNet::composed(&x, &kernel, &spans, dilation).unwrap());
            for (a, b) in fused.iter().zip(&composed) {
                prop_assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{} and {}", a, b);
            }
        }
    }
}
