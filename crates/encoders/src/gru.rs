//! GRU4Rec's encoder (Hidasi et al., 2016) in the form of Eq. 8: one layer, the reset gate applied
//! before the recurrent product.
//!
//! ```text
//! z_t = sigmoid(W_z x_t + U_z s_{t-1} + b_z)            update gate
//! r_t = sigmoid(W_r x_t + U_r s_{t-1} + b_r)            reset gate
//! c_t = tanh(W_c x_t + U_c (r_t * s_{t-1}) + b_c)       candidate
//! s_t = (1 - z_t) * s_{t-1} + z_t * c_t                 s_0 = 0
//! ```
//!
//! The state of a session is s_t after its last item.

mod fused;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use prl_kernels::packed::SeqOffsets;
use prl_nn::{Backend, ForwardCtx, Init, PackedLayout, PackedPart, PackedWeights, sigmoid};

use crate::{PaddedBatch, SessionEncoder};

/// Options of a [`Gru`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GruConfig {
    /// Initial bias of the update gate z: 1 if Eq. 8 is read to the letter. TensorFlow 1's cell
    /// gates the old state with 1 - z and starts that gate's bias at 1, which is -1 here.
    pub update_bias: f64,
}

impl Default for GruConfig {
    fn default() -> Self {
        Self { update_bias: 1.0 }
    }
}

/// A gated recurrent unit with as many units as an item embedding has dimensions.
///
/// The rows of the parameters are the update gate z, the reset gate r and the candidate c. (PyTorch
/// orders r, z, c, and applies r after the recurrent product.)
pub struct Gru {
    /// W_z, W_r, W_c: `[3 h, d]`.
    weight_ih: Tensor,
    /// U_z, U_r, U_c: `[3 h, h]`.
    weight_hh: Tensor,
    /// b_z, b_r, b_c: `[3 h]`.
    bias: Tensor,
    packed: PackedWeights,
    backend: Backend,
}

impl Gru {
    /// Reference of the encoder: Eq. 8 on items `[B, L, d]`, to states `[B, h]`.
    pub fn forward(&self, batch: &PaddedBatch<'_>) -> Result<Tensor> {
        let (n, length, _) = batch.xs.dims3()?;
        let h = self.weight_hh.dim(1)?;
        let w = self.weight_ih.t()?.contiguous()?;
        let u_zr = self.weight_hh.narrow(0, 0, 2 * h)?.t()?.contiguous()?;
        let u_c = self.weight_hh.narrow(0, 2 * h, h)?.t()?.contiguous()?;
        let mut s = Tensor::zeros((n, h), batch.xs.dtype(), batch.xs.device())?;
        for t in 0..length {
            let x = batch.xs.narrow(1, t, 1)?.squeeze(1)?.contiguous()?;
            let wx = x.matmul(&w)?.broadcast_add(&self.bias)?;
            let zr = sigmoid(&(wx.narrow(1, 0, 2 * h)? + s.matmul(&u_zr)?)?)?;
            let (z, r) = (zr.narrow(1, 0, h)?, zr.narrow(1, h, h)?);
            let c = (wx.narrow(1, 2 * h, h)? + (r * &s)?.matmul(&u_c)?)?.tanh()?;
            let next = ((&s * (1.0 - &z)?)? + (z * c)?)?;
            s = batch
                .is_valid(t)?
                .broadcast_as(s.shape())?
                .where_cond(&next, &s)?;
        }
        Ok(s)
    }

    /// Makes a unit for items of `dim` dimensions.
    ///
    /// Initial values as in the code behind the published numbers: one Glorot matrix
    /// `[d + h, 2 h]` for both gates, one `[d + h, h]` for the candidate; the bias of the reset
    /// gate is 1, that of the candidate 0.
    pub fn new(dim: usize, config: GruConfig, vb: VarBuilder) -> Result<Self> {
        let (d, h) = (dim, dim);
        let parts = vec![
            PackedPart::permuted("weight_ih", [d, 3 * h], [1, 0], Init::Glorot),
            PackedPart::permuted("weight_hh", [h, 3 * h], [1, 0], Init::Glorot),
            PackedPart::plain("bias", &[3 * h], Init::Const(0.0)),
        ];
        let layout = PackedLayout::new("kernel", &[d + h + 1, 3 * h], parts)?;
        let values = move |rng: &mut prl_seed::Rng| initial_values(d, h, config, rng);
        let packed = PackedWeights::new(&vb, &layout, values)?;
        Ok(Self {
            weight_ih: packed.named(0),
            weight_hh: packed.named(1),
            bias: packed.named(2),
            backend: packed.backend(),
            packed,
        })
    }
}

/// Values of the packed parameter `[d + h + 1, 3 h]`.
fn initial_values(
    d: usize,
    h: usize,
    config: GruConfig,
    rng: &mut prl_seed::Rng,
) -> Result<Vec<f64>> {
    let gates = Init::Glorot.values(&[d + h, 2 * h], rng)?;
    let candidate = Init::Glorot.values(&[d + h, h], rng)?;
    let mut values = Vec::with_capacity((d + h + 1) * 3 * h);
    for (gates, candidate) in gates.chunks(2 * h).zip(candidate.chunks(h)) {
        values.extend(gates);
        values.extend(candidate);
    }
    for bias in [config.update_bias, 1.0, 0.0] {
        values.extend(vec![bias; h]);
    }
    Ok(values)
}

impl SessionEncoder for Gru {
    fn width(&self) -> usize {
        self.bias.elem_count() / 3
    }

    fn encode(&self, batch: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        batch.check()?;
        match self.backend {
            Backend::Reference => self.forward(batch),
            Backend::CpuFused | Backend::Cuda => fused::encode(self, batch),
        }
    }

    /// The states of sequences of any length, each from s_0 = 0.
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
    use super::{Gru, GruConfig};
    use crate::tests::assert_reference_matches_fused;
    use candle_core::{DType, Device};
    use prl_nn::SeededVarMap;

    #[test]
    fn gru_reference_matches_fused() {
        assert_reference_matches_fused(
            |dim, _, vb| Gru::new(dim, GruConfig::default(), vb),
            |gru, batch, _| gru.forward(batch),
        );
    }

    #[test]
    fn update_gate_bias_starts_as_configured() {
        let bias = |config| {
            let vars = SeededVarMap::new(2);
            let vb = vars.var_builder(DType::F32, &Device::Cpu);
            Gru::new(2, config, vb)
                .unwrap()
                .bias
                .to_vec1::<f32>()
                .unwrap()
        };
        assert_eq!(bias(GruConfig::default()), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        let config = GruConfig { update_bias: -1.0 };
        assert_eq!(bias(config), [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0]);
    }
}
