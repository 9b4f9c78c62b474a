//! The return token of a prompt: R e_r (Eq. 9), or a row of a table of binned returns, the
//! alternative that the paper names.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use prl_kernels::ops::embedding_sum::WeightedRow;
use prl_nn::{Backend, Init, PackedLayout, PackedPart, PackedWeights};
use serde::{Deserialize, Serialize};

/// Bins of a discretised return; the last holds everything above.
const BINS: usize = 40;
/// Width of a bin, in the unit of the prompt's return.
const BIN_WIDTH: f64 = 0.25;

/// Code of a return in the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RewardCode {
    /// The return times one embedding (Eq. 9).
    #[default]
    Linear,
    /// An embedding for each of 40 bins of width 0.25, in the unit of the prompt's return.
    Binned,
}

/// Embedding of returns.
pub(crate) struct RewardEmbedding {
    code: RewardCode,
    /// e_r `[1, d]`, or a row a bin `[40, d]`.
    weight: Tensor,
    packed: PackedWeights,
}

impl RewardEmbedding {
    /// Values start as N(0, 0.01^2).
    pub(crate) fn new(code: RewardCode, width: usize, vb: &VarBuilder) -> Result<Self> {
        let init = Init::Normal(0.01);
        let (name, rows, shape) = match code {
            RewardCode::Linear => ("reward_emb.weight", 1, vec![width]),
            RewardCode::Binned => ("reward_bin_emb.weight", BINS, vec![BINS, width]),
        };
        let part = PackedPart::plain(name, &[rows, width], init);
        let layout = PackedLayout::new(name, &shape, vec![part])?;
        let values = move |rng: &mut prl_seed::Rng| init.values(&[rows * width], rng);
        let packed = PackedWeights::new(vb, &layout, values)?;
        Ok(Self {
            code,
            weight: packed.named(0),
            packed,
        })
    }

    /// Reference: the tokens of returns, `[B, d]`.
    pub(crate) fn forward(&self, returns: &[f64]) -> Result<Tensor> {
        let device = self.weight.device();
        match self.code {
            RewardCode::Linear => {
                let r = Tensor::from_slice(returns, (returns.len(), 1), &candle_core::Device::Cpu)?;
                let r = r.to_dtype(self.weight.dtype())?.to_device(device)?;
                r.broadcast_mul(&self.weight)
            }
            RewardCode::Binned => {
                let bins: Vec<u32> = returns.iter().map(|&value| bin(value)).collect();
                self.weight.index_select(&Tensor::new(bins, device)?, 0)
            }
        }
    }

    /// The table as the fused kernel reads it.
    pub(crate) fn packed(&self) -> Result<&Tensor> {
        self.packed.packed()
    }

    /// Row and weight of a return in the table.
    pub(crate) fn share(&self, value: f64) -> WeightedRow {
        match self.code {
            RewardCode::Linear => WeightedRow {
                row: 0,
                weight: value,
            },
            RewardCode::Binned => WeightedRow {
                row: bin(value),
                weight: 1.0,
            },
        }
    }

    /// The fastest backend that the table allows.
    pub(crate) fn backend(&self) -> Backend {
        self.packed.backend()
    }
}

/// The bin of a return; negative returns are in the first.
fn bin(value: f64) -> u32 {
    // A float cast saturates, and turns NaN into zero.
    ((value / BIN_WIDTH).floor() as u32).min(BINS as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::{RewardCode, RewardEmbedding, bin};
    use candle_core::{DType, Device};
    use prl_nn::SeededVarMap;

    #[test]
    fn bins_have_width_a_quarter_and_cover_every_return() {
        assert_eq!(
            [-1.0, 0.0, 0.24, 0.25, 2.0, 9.99, 1e300].map(bin),
            [0, 0, 0, 1, 8, 39, 39]
        );
    }

    #[test]
    fn linear_code_scales_and_binned_code_looks_up() {
        let tokens = |code| {
            let vb = SeededVarMap::new(1).var_builder(DType::F64, &Device::Cpu);
            let embedding = RewardEmbedding::new(code, 3, &vb).unwrap();
            let tokens = embedding.forward(&[1.0, 1.1, 2.0]).unwrap();
            tokens.to_vec2::<f64>().unwrap()
        };
        let linear = tokens(RewardCode::Linear);
        for (one, two) in linear[0].iter().zip(&linear[2]) {
            assert_eq!(2.0 * one, *two);
        }
        assert_ne!(linear[0], linear[1]);
        let binned = tokens(RewardCode::Binned);
        assert_eq!(binned[0], binned[1], "one bin");
        assert_ne!(binned[0], binned[2]);
    }
}
