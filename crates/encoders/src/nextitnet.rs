//! NextItNet (Yuan et al., 2019) as the SQN code has it: six residual blocks of dilated causal convolutions over the
//! embedded window.
//!
//! A block is conv(d) - layer norm - ReLU - conv(2 d) - layer norm - ReLU, plus its input, with d = 1, 2, 1, 2, 1, 2 from block
//! to block; kernels of three taps, as many channels as an item has. The layer norms add 1e-8 to the variance. The state is
//! the output at the last valid position. Padding stands on the right and the convolutions look to the left, so what the
//! mask of the released code zeroes is simply never read. Nor is what the state is not made of: the last blocks make ever fewer
//! rows, at the end one a window.

use candle_core::{Result, Tensor};
use prl_kernels::ops::nextitnet_block::{CausalConv, nextitnet_block};
use prl_kernels::runs_on;
use prl_nn::{ForwardCtx, Init, Scope, SeqOffsets, layer_norm, relu};

use crate::{PaddedBatch, SessionEncoder, Shape};

/// Taps of a convolution.
const TAPS: usize = 3;
/// The dilation of each block's first convolution; its second has twice that.
const DILATIONS: [usize; 6] = [1, 2, 1, 2, 1, 2];
/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;

/// A stack of residual blocks.
pub struct NextItNet {
    blocks: Vec<Block>,
    width: usize,
}

/// A residual block.
struct Block {
    /// `[2 (3 d + 3), d]`: the first half's taps, oldest first, each `[d in, d out]`; bias, and scale and shift of the layer
    /// norm; then the second half's.
    kernel: Tensor,
    convolutions: [CausalConv; 2],
}

/// The convolutions of all blocks, so that no row is made that the last of a window is not made of.
fn convolutions() -> [[CausalConv; 2]; DILATIONS.len()] {
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut blocks = DILATIONS.map(|first| [first, 2 * first].map(CausalConv::dense));
    // The rows made are those that lie multiples of a step before the last, as far back as a reach: at first that one alone.
    let (mut step, mut reach) = (0, 0);
    for convolution in blocks.as_flattened_mut().iter_mut().rev() {
        let dilation = convolution.dilation;
        let needed = gcd(step, dilation);
        let (every, most) = if step == 0 {
            (1, 1)
        } else {
            (step / needed, reach / step + 1)
        };
        *convolution = CausalConv {
            dilation: dilation / needed,
            stride: every,
            max_rows: most,
        };
        (step, reach) = (needed, reach + (TAPS - 1) * dilation);
    }
    blocks
}

impl NextItNet {
    /// Convolutions of truncated N(0, .02) with zero biases.
    pub fn new(shape: Shape, mut scope: Scope<'_>) -> Result<Self> {
        let d = shape.dim;
        let block = |(i, convolutions)| {
            let kernel = scope.get_with(&format!("block_{i}"), (2 * (TAPS * d + 3), d), |rng| {
                let mut half = || {
                    let taps = Init::TruncatedNormal(0.02).values(&[TAPS * d, d], rng)?;
                    Ok::<_, candle_core::Error>(
                        [taps, vec![0.0; d], vec![1.0; d], vec![0.0; d]].concat(),
                    )
                };
                Ok([half()?, half()?].concat())
            })?;
            Ok(Block {
                kernel,
                convolutions,
            })
        };
        Ok(Self {
            blocks: convolutions()
                .into_iter()
                .enumerate()
                .map(block)
                .collect::<Result<_>>()?,
            width: d,
        })
    }
}

impl Block {
    /// What it makes of the rows of some windows, and what windows those are.
    fn run(&self, x: &Tensor, spans: &SeqOffsets) -> Result<(Tensor, SeqOffsets)> {
        let Self {
            kernel,
            convolutions,
        } = self;
        if runs_on(x) {
            nextitnet_block(x, kernel, spans, *convolutions, EPS)
        } else {
            self.composed(x, spans)
        }
    }

    /// The same from candle's operations: what runs where the fused kernel does not.
    fn composed(&self, x: &Tensor, spans: &SeqOffsets) -> Result<(Tensor, SeqOffsets)> {
        let half = self.kernel.dim(0)? / 2;
        let (mut own, mut y, mut spans) = (x.clone(), x.clone(), spans.clone());
        for (i, convolution) in self.convolutions.into_iter().enumerate() {
            let (rows, made) = meet(&spans, convolution);
            let last: Vec<u32> = rows.iter().skip(TAPS - 1).step_by(TAPS).copied().collect();
            own = own.index_select(&Tensor::new(last, x.device())?, 0)?;
            y = Self::half(&y, &self.kernel.narrow(0, i * half, half)?, rows)?;
            spans = made;
        }
        Ok(((own + y)?, spans))
    }

    /// Convolution, layer norm, ReLU; `rows` are those that the taps meet.
    fn half(x: &Tensor, kernel: &Tensor, rows: Vec<u32>) -> Result<Tensor> {
        let (d, n) = (x.dim(1)?, rows.len() / TAPS);
        let padded = Tensor::cat(&[x, &Tensor::zeros((1, d), x.dtype(), x.device())?], 0)?;
        let taps = padded
            .index_select(&Tensor::new(rows, x.device())?, 0)?
            .reshape((n, TAPS * d))?;
        let part = |at: usize| kernel.narrow(0, TAPS * d + at, 1)?.reshape(d);
        let y = taps
            .matmul(&kernel.narrow(0, 0, TAPS * d)?.contiguous()?)?
            .broadcast_add(&part(0)?)?;
        relu(&layer_norm(&y, &part(1)?, &part(2)?, EPS)?)
    }
}

/// Of each row that a convolution makes and each tap, oldest first, the row that it meets; what lies before a window is a row
/// behind all. And what windows are made.
fn meet(spans: &SeqOffsets, convolution: CausalConv) -> (Vec<u32>, SeqOffsets) {
    let CausalConv {
        dilation,
        stride: every,
        max_rows: most,
    } = convolution;
    let made = spans.keep_strided(every, most);
    let tap = |at: usize, start: usize, back: usize| if at >= start + back { at - back } else { spans.rows() } as u32;
    let rows = spans.iter().zip(made.iter()).flat_map(|(of, to)| {
        let own = (0..to.len())
            .rev()
            .map(move |after| of.end - 1 - after * every);
        own.flat_map(move |row| {
            (0..TAPS)
                .rev()
                .map(move |back| tap(row, of.start, back * dilation))
        })
    });
    (rows.collect(), made)
}

impl SessionEncoder for NextItNet {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, windows: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        let spans = windows.spans()?;
        let rows = windows.rows(&spans)?;
        let (states, _) = self
            .blocks
            .iter()
            .try_fold((rows, spans), |(x, spans), block| block.run(&x, &spans))?;
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Block, CausalConv, DILATIONS, EPS, SeqOffsets, TAPS, convolutions, nextitnet_block};
    use candle_core::{Device, Tensor, Var};
    use prl_nn::Init;
    use proptest::prelude::*;

    /// Asked row by row, back from the last of windows as long as the paper's and longer.
    #[test]
    fn the_rows_made_are_those_that_the_last_is_made_of() {
        for last in [9_usize, 19, 49, 99] {
            let mut made = BTreeSet::from([last]);
            let asked = DILATIONS.map(|first| [first, 2 * first]);
            for (dilation, convolution) in asked
                .as_flattened()
                .iter()
                .zip(convolutions().as_flattened())
                .rev()
            {
                // How far apart the rows lie that it is given, and those that it makes.
                let given = dilation / convolution.dilation;
                let makes = (0..=last)
                    .rev()
                    .step_by(given * convolution.stride)
                    .take(convolution.max_rows);
                assert_eq!(made, makes.collect(), "a window of {}", last + 1);
                made = made
                    .iter()
                    .flat_map(|row| {
                        (0..TAPS).filter_map(move |tap| row.checked_sub(tap * dilation))
                    })
                    .collect();
            }
            let reach = 2 * asked.as_flattened().iter().sum::<usize>();
            assert_eq!(made, (last.saturating_sub(reach)..=last).collect());
        }
    }

    proptest! {
        #[test]
        fn the_fused_and_the_composed_block_are_one(
            lengths in prop::collection::vec(1..11usize, 1..40), d in 2..22usize, dilation in 1..4usize,
            every in prop::array::uniform2(1..4usize), most in prop::array::uniform2(1..9usize),
        ) {
            let spans = SeqOffsets::new(lengths);
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
            let dilations = [dilation, 3 - dilation % 3];
            let convolutions = [0, 1]
                .map(|i| CausalConv { dilation: dilations[i], stride: every[i], max_rows: most[i] });
            let block = Block { kernel: kernel.as_tensor().clone(), convolutions };
            let (fused, made) = nextitnet_block(&x, &kernel, &spans, convolutions, EPS).unwrap();
            let (composed, too) = block.composed(&x, &spans).unwrap();
            prop_assert_eq!(made, too);
            let (fused, composed) = (run(fused), run(composed));
            for (a, b) in fused.iter().zip(&composed) {
                prop_assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{} and {}", a, b);
            }
        }
    }
}
