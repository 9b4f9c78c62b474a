//! Caser (Tang and Wang, 2018) as in the SQN code: convolutions over the window as an image.
//!
//! E `[L, d]` is the matrix of the window's items, zero past the session's end.
//!
//! ```text
//! c_i^k = relu(<E_{i:i+h-1}, F^k> + b^k)    horizontal filter k of height h     (Eq. 3)
//! o^k   = max over i of c_i^k               maximum over time                   (Eq. 5)
//! v     = relu(sum over l of w_l E_l + b)   vertical filter, d columns          (Eq. 7)
//! s     = [o, v]                                                                (Eq. 9)
//! ```
//!
//! That code has 16 filters each of heights 2, 3 and 4, one vertical filter, a ReLU on v too,
//! neither a user embedding nor an effective dropout.

mod fused;

use candle_core::{D, Result, Tensor, bail};
use candle_nn::VarBuilder;
use prl_nn::{Backend, ForwardCtx, Init, PackedLayout, PackedPart, PackedWeights, relu};

use crate::{PaddedBatch, SessionEncoder};

/// Options of a [`Caser`].
#[derive(Clone, Debug, PartialEq)]
pub struct CaserConfig {
    /// Heights h of the horizontal filters, in positions.
    pub heights: Vec<usize>,
    /// Horizontal filters of each height.
    pub filters: usize,
}

impl Default for CaserConfig {
    fn default() -> Self {
        Self {
            heights: vec![2, 3, 4],
            filters: 16,
        }
    }
}

impl CaserConfig {
    /// The shortest window that every filter fits into.
    pub fn min_window(&self) -> usize {
        self.heights.iter().copied().max().unwrap_or(1)
    }
}

/// A convolution filter bank.
struct Conv {
    /// `[filters, 1, height, width]`, as of a [`candle_nn::Conv2d`] over `[B, 1, L, d]`.
    weight: Tensor,
    /// `[filters]`.
    bias: Tensor,
}

/// Horizontal and vertical convolutions.
pub struct Caser {
    /// F and b, a filter bank a height.
    conv_h: Vec<Conv>,
    /// w and b.
    conv_v: Conv,
    config: CaserConfig,
    dim: usize,
    packed_h: PackedWeights,
    packed_v: PackedWeights,
    backend: Backend,
}

impl Caser {
    /// Reference of the encoder, on items `[B, L, d]`, to states `[B, heights filters + d]`.
    pub fn forward(&self, batch: &PaddedBatch<'_>) -> Result<Tensor> {
        let image = batch.masked()?.unsqueeze(1)?; // E: [B, 1, L, d]
        let mut state = Vec::new();
        for conv in &self.conv_h {
            let c = relu(&conv.forward(&image)?.squeeze(3)?)?; // Eq. 3: [B, filters, L - h + 1]
            // candle's maximum gives the whole gradient to each of several equal values, and
            // padding makes them equal; the first one alone must get it.
            let first = c.detach().contiguous()?.argmax_keepdim(2)?;
            state.push(c.contiguous()?.gather(&first, 2)?.squeeze(2)?); // Eq. 5
        }
        state.push(relu(&self.conv_v.forward(&image)?.flatten_from(1)?)?); // Eq. 7: [B, d]
        Tensor::cat(&state, D::Minus1) // Eq. 9
    }

    /// Makes the filters for windows of `window` items of `dim` dimensions.
    ///
    /// Initial values: weights truncated N(0, 0.1^2), biases 0.1.
    ///
    /// # Errors
    /// If the window is shorter than the highest filter.
    pub fn new(dim: usize, window: usize, config: CaserConfig, vb: VarBuilder) -> Result<Self> {
        let min = config.min_window();
        if window < min {
            bail!("Caser: the window has {window} positions; its filters need at least {min}");
        }
        let (d, n) = (dim, config.filters);
        let rows: usize = config.heights.iter().sum::<usize>() * d;
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for (i, &h) in config.heights.iter().enumerate() {
            let (weight, bias) = (format!("conv_h.{i}.weight"), format!("conv_h.{i}.bias"));
            weights.push(PackedPart::permuted(
                weight,
                [h, d, 1, n],
                [3, 2, 0, 1],
                WEIGHT,
            ));
            biases.push(PackedPart::plain(bias, &[n], BIAS));
        }
        let shape = [rows + config.heights.len(), n];
        let layout = PackedLayout::new("horizontal", &shape, [weights, biases].concat())?;
        let packed_h = packed(&vb, &layout, rows * n)?;
        let vertical = vec![
            PackedPart::plain("conv_v.weight", &[1, 1, window, 1], WEIGHT),
            PackedPart::plain("conv_v.bias", &[1], BIAS),
        ];
        let layout = PackedLayout::new("vertical", &[window + 1], vertical)?;
        let packed_v = packed(&vb, &layout, window)?;
        let heights = config.heights.len();
        Ok(Self {
            conv_h: (0..heights)
                .map(|i| Conv::of(&packed_h, i, heights + i))
                .collect(),
            conv_v: Conv::of(&packed_v, 0, 1),
            config,
            dim,
            backend: packed_h.backend(),
            packed_h,
            packed_v,
        })
    }
}

const WEIGHT: Init = Init::TruncatedNormal(0.1);
const BIAS: Init = Init::Const(0.1);

/// Filters whose first `weights` packed elements are weights, and the others biases.
fn packed(vb: &VarBuilder, layout: &PackedLayout, weights: usize) -> Result<PackedWeights> {
    let biases = layout.shape.iter().product::<usize>() - weights;
    PackedWeights::new(vb, layout, move |rng| {
        let mut values = WEIGHT.values(&[weights], rng)?;
        values.extend(BIAS.values(&[biases], rng)?);
        Ok(values)
    })
}

impl Conv {
    fn of(packed: &PackedWeights, weight: usize, bias: usize) -> Self {
        Self {
            weight: packed.named(weight),
            bias: packed.named(bias),
        }
    }

    /// Convolution of an image `[B, 1, L, d]` without padding.
    fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let bias = self.bias.reshape((1, (), 1, 1))?;
        let ys = image.conv2d(&self.weight.contiguous()?, 0, 1, 1, 1)?;
        ys.broadcast_add(&bias)
    }
}

impl SessionEncoder for Caser {
    fn width(&self) -> usize {
        self.config.heights.len() * self.config.filters + self.dim
    }

    fn encode(&self, batch: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        batch.check()?;
        match self.backend {
            Backend::Reference => self.forward(batch),
            Backend::CpuFused | Backend::Cuda => fused::encode(self, batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Caser, CaserConfig};
    use crate::tests::assert_reference_matches_fused;
    use candle_core::{DType, Device};
    use prl_nn::SeededVarMap;

    #[test]
    fn caser_reference_matches_fused() {
        assert_reference_matches_fused(
            |dim, window, vb| Caser::new(dim, window, CaserConfig::default(), vb),
            |caser, batch, _| caser.forward(batch),
        );
    }

    #[test]
    fn window_shorter_than_a_filter_is_an_error() {
        let vb = SeededVarMap::new(2).var_builder(DType::F32, &Device::Cpu);
        assert!(Caser::new(8, 3, CaserConfig::default(), vb).is_err());
    }
}
