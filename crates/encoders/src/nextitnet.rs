//! NextItNet (Yuan et al., 2019) as in the SQN code: residual blocks of dilated causal
//! convolutions.
//!
//! A block with dilation k, on `xs` `[B, L, d]` (Fig. 3b and Eq. 4):
//!
//! ```text
//! ys = relu(norm1(conv1(xs)))     dilation k
//! ys = relu(norm2(conv2(ys)))     dilation 2 k
//! xs + ys
//! ```
//!
//! conv has three taps, at positions t - 2 k, t - k and t: `conv(xs)_t = sum over j of
//! W_j xs_{t - (2 - j) k} + b`, and positions before the session count as zero. Six blocks have
//! k = 1, 2, 1, 2, 1, 2. The state is the output at the last valid position. Padding is on the
//! right and the convolutions are causal, so it is never read.

mod fused;
mod receptive_field;

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use prl_kernels::ops::nextitnet_block::CausalConv;
use prl_kernels::packed::SeqOffsets;
use prl_nn::{Backend, ForwardCtx, Init, LayerNorm, PackedLayout, PackedPart, PackedWeights, relu};

use crate::{PaddedBatch, SessionEncoder};

/// Taps of a convolution.
const TAPS: usize = 3;
/// Added to the variance by the layer norms.
const EPS: f64 = 1e-8;

/// Options of a [`NextItNet`].
#[derive(Clone, Debug, PartialEq)]
pub struct NextItNetConfig {
    /// The dilation k of each block.
    pub dilations: Vec<usize>,
}

impl Default for NextItNetConfig {
    fn default() -> Self {
        Self {
            dilations: vec![1, 2, 1, 2, 1, 2],
        }
    }
}

/// Causal convolution over the positions.
struct CausalConv1d {
    /// `[d out, d in, 3]`, the oldest tap first, as of a [`candle_nn::Conv1d`].
    weight: Tensor,
    /// `[d]`.
    bias: Tensor,
    dilation: usize,
}

impl Module for CausalConv1d {
    /// `[B, L, d]` to `[B, L, d]`. (candle's `conv1d` has a wrong gradient, hence the products.)
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (n, length, d) = xs.dims3()?;
        let past = Tensor::zeros((n, 2 * self.dilation, d), xs.dtype(), xs.device())?;
        let padded = Tensor::cat(&[&past, xs], 1)?;
        let mut ys = Tensor::zeros((n * length, d), xs.dtype(), xs.device())?;
        for tap in 0..TAPS {
            let x = padded
                .narrow(1, tap * self.dilation, length)?
                .contiguous()?;
            let w = self
                .weight
                .narrow(2, tap, 1)?
                .squeeze(2)?
                .t()?
                .contiguous()?;
            ys = (ys + x.reshape((n * length, d))?.matmul(&w)?)?;
        }
        ys.broadcast_add(&self.bias)?.reshape((n, length, d))
    }
}

/// A residual block.
struct Block {
    conv1: CausalConv1d,
    norm1: LayerNorm,
    conv2: CausalConv1d,
    norm2: LayerNorm,
    packed: PackedWeights,
}

impl Module for Block {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = relu(&self.norm1.forward(&self.conv1.forward(xs)?)?)?;
        let ys = relu(&self.norm2.forward(&self.conv2.forward(&ys)?)?)?;
        xs + ys
    }
}

/// A stack of residual blocks.
pub struct NextItNet {
    blocks: Vec<Block>,
    /// The positions that the fused blocks compute.
    schedule: Vec<[CausalConv; 2]>,
    dim: usize,
    backend: Backend,
}

impl NextItNet {
    /// Reference of the encoder, on items `[B, L, d]`, to states `[B, d]`.
    pub fn forward(&self, batch: &PaddedBatch<'_>) -> Result<Tensor> {
        let mut xs = batch.xs.clone();
        for block in &self.blocks {
            xs = block.forward(&xs)?;
        }
        batch.last(&xs)
    }

    /// Makes the blocks for items of `dim` dimensions.
    ///
    /// Initial values: weights truncated N(0, 0.02^2), biases zero.
    pub fn new(dim: usize, config: NextItNetConfig, vb: VarBuilder) -> Result<Self> {
        let mut blocks = Vec::new();
        for (i, &dilation) in config.dilations.iter().enumerate() {
            blocks.push(Block::new(i, dim, dilation, &vb)?);
        }
        let backend = blocks.first().map(|block| block.packed.backend());
        Ok(Self {
            blocks,
            schedule: receptive_field::schedule(&config.dilations),
            dim,
            backend: backend.unwrap_or_else(|| Backend::of(&vb)),
        })
    }
}

const WEIGHT: Init = Init::TruncatedNormal(0.02);
const ZERO: Init = Init::Const(0.0);
const ONE: Init = Init::Const(1.0);

impl Block {
    fn new(index: usize, d: usize, dilation: usize, vb: &VarBuilder) -> Result<Self> {
        let mut parts = Vec::new();
        for half in 1..=2 {
            let name = |of: &str| format!("blocks.{index}.{}", of.replace('#', &half.to_string()));
            let taps = [TAPS, d, d];
            parts.extend([
                PackedPart::permuted(name("conv#.weight"), taps, [2, 1, 0], WEIGHT),
                PackedPart::plain(name("conv#.bias"), &[d], ZERO),
                PackedPart::plain(name("norm#.weight"), &[d], ONE),
                PackedPart::plain(name("norm#.bias"), &[d], ZERO),
            ]);
        }
        let shape = [2 * (TAPS * d + 3), d];
        let layout = PackedLayout::new(format!("block_{index}"), &shape, parts)?;
        let packed = PackedWeights::new(vb, &layout, move |rng| initial_values(d, rng))?;
        let conv = |part: usize, dilation| CausalConv1d {
            weight: packed.named(part),
            bias: packed.named(part + 1),
            dilation,
        };
        Ok(Self {
            conv1: conv(0, dilation),
            norm1: LayerNorm::from_tensors(packed.named(2), packed.named(3), EPS),
            conv2: conv(4, 2 * dilation),
            norm2: LayerNorm::from_tensors(packed.named(6), packed.named(7), EPS),
            packed,
        })
    }
}

/// Values of a packed block `[2 (3 d + 3), d]`.
fn initial_values(d: usize, rng: &mut prl_seed::Rng) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for _ in 0..2 {
        values.extend(WEIGHT.values(&[TAPS * d, d], rng)?);
        for rest in [ZERO, ONE, ZERO] {
            values.extend(rest.values(&[d], rng)?);
        }
    }
    Ok(values)
}

impl SessionEncoder for NextItNet {
    fn width(&self) -> usize {
        self.dim
    }

    fn encode(&self, batch: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        batch.check()?;
        match self.backend {
            Backend::Reference => self.forward(batch),
            Backend::CpuFused | Backend::Cuda => fused::encode(self, batch),
        }
    }

    /// The states of sequences of any length. Those after more items than a window would be of
    /// other items than the window's, as far as the receptive field reaches.
    fn sequence_states(
        &self,
        xs: &Tensor,
        offsets: &SeqOffsets,
        _: &ForwardCtx,
    ) -> Result<Option<Tensor>> {
        match self.backend {
            Backend::CpuFused => fused::sequence_states(self, xs, offsets).map(Some),
            Backend::Cuda | Backend::Reference => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Module, Result, Tensor, Var};
    use prl_kernels::ops::nextitnet_block::{CausalConv, nextitnet_block};
    use prl_kernels::packed::SeqOffsets;
    use prl_nn::{SeededVarMap, relu};
    use prl_testkit::{assert_close, flat, values};
    use proptest::prelude::*;

    use super::{Block, EPS, NextItNet, NextItNetConfig};
    use crate::tests::assert_reference_matches_fused;

    #[test]
    fn nextitnet_reference_matches_fused() {
        assert_reference_matches_fused(
            |dim, _, vb| NextItNet::new(dim, NextItNetConfig::default(), vb),
            |net, batch, _| net.forward(batch),
        );
    }

    /// Every `every`-th position of `xs` `[1, n, d]` from the last one back, at most `most`.
    fn thinned(xs: &Tensor, of: CausalConv) -> Result<Tensor> {
        let n = xs.dim(1)? as u32;
        let positions = (0..n).rev().step_by(of.stride).take(of.max_rows);
        let mut positions: Vec<u32> = positions.collect();
        positions.reverse();
        xs.index_select(&Tensor::new(positions, xs.device())?, 1)
    }

    /// The block on one session `[1, n, d]`, restricted to the positions of the convolutions.
    fn restricted(block: &Block, xs: &Tensor, convs: [CausalConv; 2]) -> Result<Tensor> {
        let ys = relu(&block.norm1.forward(&block.conv1.forward(xs)?)?)?;
        let ys = thinned(&ys, convs[0])?;
        let ys = relu(&block.norm2.forward(&block.conv2.forward(&ys)?)?)?;
        thinned(&thinned(xs, convs[0])?, convs[1])? + thinned(&ys, convs[1])?
    }

    proptest! {
        #[test]
        fn block_kernel_restricted_to_some_positions_matches_the_reference(
            lengths in prop::collection::vec(1..11usize, 1..40),
            d in 2..22usize,
            dilation in 1..4usize,
            every in prop::array::uniform2(1..4usize),
            most in prop::array::uniform2(1..9usize),
        ) {
            let vars = SeededVarMap::new(1);
            let vb = vars.var_builder(DType::F64, &Device::Cpu);
            let mut block = Block::new(0, d, dilation, &vb).unwrap();
            block.conv2.dilation = 3 - dilation % 3;
            let kernel = vars.params()[0].var().clone();
            kernel.set(&(values(kernel.dims(), "kernel") * 0.7).unwrap()).unwrap();
            let dilations = [block.conv1.dilation, block.conv2.dilation];
            let convs = [0, 1].map(|i| CausalConv {
                dilation: dilations[i],
                stride: every[i],
                max_rows: most[i],
            });
            let offsets = SeqOffsets::new(lengths);
            let xs = Var::from_tensor(&values(&[offsets.rows(), d], "xs")).unwrap();
            let run = |y: Tensor| {
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let all = [&y, grads.get(&xs).unwrap(), grads.get(&kernel).unwrap()];
                all.map(flat).concat()
            };
            let (fused, made) = nextitnet_block(&xs, &kernel, &offsets, convs, EPS).unwrap();
            let mut rows = Vec::new();
            for (b, span) in offsets.iter().enumerate() {
                let session = xs.narrow(0, span.start, span.len()).unwrap().unsqueeze(0).unwrap();
                let ys = restricted(&block, &session, convs).unwrap().squeeze(0).unwrap();
                prop_assert_eq!(ys.dim(0).unwrap(), made.iter().nth(b).unwrap().len());
                rows.push(ys);
            }
            assert_close(&run(fused), &run(Tensor::cat(&rows, 0).unwrap()), 1e-9);
        }
    }
}
