//! CORE's encoder (Hou et al., SIGIR '22): the state is a weighted mean of the item embeddings
//! themselves, so that it stays in their space; here with one causal attention and a bias by lag.
//!
//! ```text
//! a_j = softmax_j( (W_q x_n + b_q) . (W_k x_j + b_k) / sqrt(d) + c[n - j] )     j = 1..n
//! s   = sum_j a_j x_j
//! ```
//!
//! x_n is the last item. The values are the embeddings: there is no value projection, no output
//! projection and no layer norm. (The paper computes the weights with a transformer.)

use candle_core::{D, Module, Result, Tensor};
use candle_nn::VarBuilder;
use prl_kernels::ops::lag_attention::lag_attention;
use prl_kernels::packed::SeqOffsets;
use prl_nn::fused::linear;
use prl_nn::{Backend, ForwardCtx, Init, Linear, get, softmax};

use crate::{PaddedBatch, SessionEncoder};

/// Slope of the initial bias by lag: older items start with less weight.
const LAG_SLOPE: f64 = -0.3;
/// Added to the weight's logit of a padded position.
const MASKED: f64 = -1e9;

/// Attention of the last item over the window, whose values are the item embeddings.
pub struct CoreAttention {
    /// W_q, b_q and W_k, b_k: `[d, d]` each, with a bias.
    q_proj: Linear,
    k_proj: Linear,
    /// c minus its initial value: `[L]`.
    lag_bias: Tensor,
    dim: usize,
}

impl CoreAttention {
    /// The states `[B, d]` of items `[B, L, d]`.
    pub fn forward(&self, batch: &PaddedBatch<'_>) -> Result<Tensor> {
        let q = self.q_proj.forward(&batch.last(batch.xs)?)?.unsqueeze(1)?;
        let k = self.k_proj.forward(batch.xs)?;
        let scores = (k.broadcast_mul(&q)?.sum(D::Minus1)? / (self.dim as f64).sqrt())?;
        let weights = softmax(&(scores + self.lag_bias(batch)?)?)?; // [B, L]
        batch
            .xs
            .broadcast_mul(&weights.unsqueeze(D::Minus1)?)?
            .sum(1)
    }

    /// c[n - j] at position j of each window, [`MASKED`] past its end: `[B, L]`.
    fn lag_bias(&self, batch: &PaddedBatch<'_>) -> Result<Tensor> {
        let (n, length, _) = batch.xs.dims3()?;
        let (mut lags, mut fixed) = (
            Vec::with_capacity(n * length),
            Vec::with_capacity(n * length),
        );
        for &valid in batch.lengths {
            for j in 0..length as u32 {
                let lag = valid.saturating_sub(1 + j);
                lags.push(lag);
                fixed.push(if j < valid {
                    LAG_SLOPE * f64::from(lag)
                } else {
                    MASKED
                });
            }
        }
        let device = batch.xs.device();
        let lags = Tensor::from_vec(lags, n * length, device)?;
        let fixed = Tensor::from_vec(fixed, (n, length), &candle_core::Device::Cpu)?;
        let fixed = fixed.to_dtype(batch.xs.dtype())?.to_device(device)?;
        self.lag_bias.index_select(&lags, 0)?.reshape((n, length))? + fixed
    }

    /// Makes the attention for windows of `window` items of `dim` dimensions.
    ///
    /// Initial values: Glorot matrices, c = -0.3 times the lag.
    pub fn new(dim: usize, window: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            q_proj: Linear::new(dim, dim, vb.pp("q_proj"))?,
            k_proj: Linear::new(dim, dim, vb.pp("k_proj"))?,
            lag_bias: get(&vb, window, "lag_bias", Init::Const(0.0))?,
            dim,
        })
    }
}

impl SessionEncoder for CoreAttention {
    fn width(&self) -> usize {
        self.dim
    }

    fn encode(&self, batch: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        batch.check()?;
        self.forward(batch)
    }

    /// The states of sequences of any length; each attends to the last window of its items.
    fn sequence_states(
        &self,
        xs: &Tensor,
        offsets: &SeqOffsets,
        _: &ForwardCtx,
    ) -> Result<Option<Tensor>> {
        if self.q_proj.backend() != Backend::CpuFused {
            return Ok(None);
        }
        let (q, k) = (linear(&self.q_proj, xs)?, linear(&self.k_proj, xs)?);
        let mut slope = Vec::new();
        for lag in 0..self.lag_bias.elem_count() {
            slope.push(LAG_SLOPE * lag as f64);
        }
        let slope = Tensor::from_vec(slope, self.lag_bias.shape(), xs.device())?;
        let c = (&self.lag_bias + slope.to_dtype(xs.dtype())?)?;
        lag_attention(&q, &k, xs, &c, offsets).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use prl_nn::{ForwardCtx, SeededVarMap};
    use prl_testkit::{assert_close, flat, values};

    use super::CoreAttention;
    use crate::{PaddedBatch, SessionEncoder};

    #[test]
    fn core_state_is_the_weighted_mean_of_the_formula() {
        let (dim, window) = (3, 4);
        let vars = SeededVarMap::new(2);
        let core =
            CoreAttention::new(dim, window, vars.var_builder(DType::F64, &Device::Cpu)).unwrap();
        let xs = values(&[2, window, dim], "xs");
        let batch = PaddedBatch {
            xs: &xs,
            lengths: &[3, 1],
        };
        let states = core.encode(&batch, &ForwardCtx::infer()).unwrap();

        let (x, state) = (
            xs.to_vec3::<f64>().unwrap(),
            states.to_vec2::<f64>().unwrap(),
        );
        // One item: its embedding itself, whatever stands in the padding.
        assert_close(&state[1], &x[1][0], 1e-12);
        let apply = |linear: &prl_nn::Linear, x: &[f64]| {
            let (w, b) = (
                linear.weight().to_vec2::<f64>().unwrap(),
                flat(linear.bias()),
            );
            let mut y = Vec::new();
            for (row, b) in w.iter().zip(b) {
                y.push(b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>());
            }
            y
        };
        let q = apply(&core.q_proj, &x[0][2]);
        let mut weights = Vec::new();
        for (j, x) in x[0][..3].iter().enumerate() {
            let k = apply(&core.k_proj, x);
            let dot: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
            weights.push((dot / 3_f64.sqrt() - 0.3 * (2 - j) as f64).exp());
        }
        let total: f64 = weights.iter().sum();
        let mut expected = vec![0.0; dim];
        for (w, x) in weights.iter().zip(&x[0]) {
            for (sum, x) in expected.iter_mut().zip(x) {
                *sum += w / total * x;
            }
        }
        assert_close(&state[0], &expected, 1e-12);
        let padded = Tensor::cat(
            &[xs.narrow(1, 0, 3).unwrap(), xs.narrow(1, 0, 1).unwrap()],
            1,
        )
        .unwrap();
        let other = core
            .encode(
                &PaddedBatch {
                    xs: &padded,
                    lengths: &[3, 1],
                },
                &ForwardCtx::infer(),
            )
            .unwrap();
        assert_eq!(flat(&other), flat(&states));
    }
}
