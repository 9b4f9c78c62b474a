//! How a return becomes a token of the prompt (Eq. 9, and the alternative the paper names beside it).

use candle_core::{Result, Tensor};
use prl_nn::{Init, Scope, WeightedRow};
use serde::{Deserialize, Serialize};

/// Bins of a discretised return; the last holds everything above.
const BINS: usize = 40;
/// Width of a bin, in the unit the model is fed.
const BIN: f64 = 0.25;

/// The code of a return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RewardCode {
    /// The return times one embedding (Eq. 9).
    #[default]
    Linear,
    /// An embedding for each of 40 bins of width 0.25, in the unit the model is fed.
    Binned,
}

/// The embedding, or the embeddings, of returns.
pub(crate) struct RewardEmbedding {
    code: RewardCode,
    /// `[width]` or `[BINS, width]`.
    table: Tensor,
}

impl RewardEmbedding {
    /// N(0, .01).
    pub(crate) fn new(code: RewardCode, width: usize, scope: &mut Scope<'_>) -> Result<Self> {
        let table = match code {
            RewardCode::Linear => scope.get("reward", width, Init::Normal(0.01))?,
            RewardCode::Binned => scope.get("rewards", (BINS, width), Init::Normal(0.01))?,
        };
        Ok(Self { code, table })
    }

    /// The embeddings, a row each.
    pub(crate) fn table(&self) -> &Tensor {
        &self.table
    }

    /// What of them the token of a return is.
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
}

/// The bin of a return; below zero it is the first.
fn bin(value: f64) -> u32 {
    // A float cast saturates, and turns NaN into zero.
    ((value / BIN).floor() as u32).min(BINS as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::{RewardCode, RewardEmbedding, WeightedRow, bin};
    use candle_core::{DType, Device};
    use prl_nn::Params;

    #[test]
    fn bins_are_a_quarter_wide_and_hold_everything() {
        assert_eq!(
            [-1.0, 0.0, 0.24, 0.25, 2.0, 9.99, 1e300].map(bin),
            [0, 0, 0, 1, 8, 39, 39]
        );
    }

    #[test]
    fn a_linear_code_scales_and_a_binned_one_looks_up() {
        let tokens = |code| {
            let mut params = Params::new(DType::F64, &Device::Cpu, 1);
            let embedding = RewardEmbedding::new(code, 3, &mut params.scope("p")).unwrap();
            let table = embedding
                .table()
                .reshape(((), 3))
                .unwrap()
                .to_vec2::<f64>()
                .unwrap();
            [1.0, 1.1, 2.0].map(|value| {
                let WeightedRow { row: of, weight } = embedding.share(value);
                table[of as usize]
                    .iter()
                    .map(|x| weight * x)
                    .collect::<Vec<f64>>()
            })
        };
        let linear = tokens(RewardCode::Linear);
        linear[0]
            .iter()
            .zip(&linear[2])
            .for_each(|(one, two)| assert_eq!(2.0 * one, *two));
        assert_ne!(linear[0], linear[1]);
        let binned = tokens(RewardCode::Binned);
        assert_eq!(binned[0], binned[1], "one bin");
        assert_ne!(binned[0], binned[2]);
    }
}
