//! GRU4Rec's encoder in the paper's form (Eq. 8): one layer, the reset gate applied before the recurrent product, the state
//! after the last valid position. Gate biases begin at 1, the candidate's at 0.

use candle_core::{Result, Tensor};
use prl_kernels::gru::gru;
use prl_nn::{Init, Pass, Scope};

use crate::{Embedded, Encoder, Shape};

/// A gated recurrent unit as wide as its input.
pub struct Gru {
    /// `[dim + width + 1, 3 width]`: input rows, state rows, bias; update gate, reset gate, candidate.
    kernel: Tensor,
    width: usize,
}

impl Gru {
    /// A unit with Glorot kernels: the two gates share one `[dim + width, 2 width]` matrix, the candidate has its own, as in
    /// the code that the published numbers come from.
    pub fn new(shape: Shape, mut scope: Scope<'_>) -> Result<Self> {
        let (rows, width) = (2 * shape.dim, shape.dim);
        let kernel = scope.get_with("kernel", (rows + 1, 3 * width), |rng| {
            let gates = Init::Glorot.values(&[rows, 2 * width], rng)?;
            let candidate = Init::Glorot.values(&[rows, width], rng)?;
            let joined = gates.chunks(2 * width).zip(candidate.chunks(width)).flat_map(|(g, c)| [g, c].concat());
            Ok(joined.chain(std::iter::repeat_n(1.0, 2 * width)).chain(std::iter::repeat_n(0.0, width)).collect())
        })?;
        Ok(Self { kernel, width })
    }

    /// Eq. 8 step by step from candle's operations: what runs where the fused kernel does not.
    fn composed(&self, windows: &Embedded<'_>) -> Result<Tensor> {
        let (batch, length, dim) = windows.x.dims3()?;
        let d = self.width;
        let part =
            |at, rows, column, columns| self.kernel.narrow(0, at, rows)?.narrow(1, column, columns)?.contiguous();
        let (by_input, bias) = (part(0, dim, 0, 3 * d)?, part(dim + d, 1, 0, 3 * d)?);
        let (gates, candidate) = (part(dim, d, 0, 2 * d)?, part(dim, d, 2 * d, d)?);
        let mut state = Tensor::zeros((batch, d), windows.x.dtype(), windows.x.device())?;
        for t in 0..length {
            let x = windows.x.narrow(1, t, 1)?.squeeze(1)?.contiguous()?.matmul(&by_input)?.broadcast_add(&bias)?;
            let zg = sigmoid(&(x.narrow(1, 0, 2 * d)? + state.matmul(&gates)?)?)?;
            let (z, g) = (zg.narrow(1, 0, d)?, zg.narrow(1, d, d)?);
            let c = (x.narrow(1, 2 * d, d)? + (g * &state)?.matmul(&candidate)?)?.tanh()?;
            let next = (&state + (z * (c - &state)?)?)?;
            let alive: Vec<u8> = windows.lengths.iter().map(|&n| u8::from(t < n as usize)).collect();
            let alive = Tensor::from_vec(alive, (batch, 1), state.device())?.broadcast_as(state.shape())?;
            state = alive.where_cond(&next, &state)?;
        }
        Ok(state)
    }
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    ((x.neg()?.exp()? + 1.0)?).recip()
}

impl Encoder for Gru {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, windows: &Embedded<'_>, _: &Pass) -> Result<Tensor> {
        if windows.x.device().is_cpu() { gru(windows.x, &self.kernel, windows.lengths) } else { self.composed(windows) }
    }
}

#[cfg(test)]
mod tests {
    use super::Gru;
    use crate::{Embedded, Encoder, Shape};
    use candle_core::{DType, Device, Tensor, Var};
    use prl_nn::{Init, Params, Pass};

    #[test]
    fn the_fused_and_the_composed_unit_are_one() {
        let mut params = Params::new(DType::F64, &Device::Cpu, 2);
        let gru = Gru::new(Shape { dim: 6, window: 4 }, params.scope("gru")).unwrap();
        let values = Init::Normal(1.0).values(&[50 * 24], &mut prl_seed::stream(1, "x", 0)).unwrap();
        let x = Var::from_tensor(&Tensor::from_vec(values, (50, 4, 6), &Device::Cpu).unwrap()).unwrap();
        let lengths: Vec<u32> = (0..50).map(|b| 1 + b % 4).collect();
        let windows = Embedded { x: x.as_tensor(), lengths: &lengths };
        let run = |state: Tensor| {
            let grads = state.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let kernel = params.iter().next().unwrap().1;
            [&state, grads.get(&x).unwrap(), grads.get(kernel).unwrap()]
                .map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap())
        };
        let fused = run(gru.encode(&windows, &Pass::infer()).unwrap());
        let composed = run(gru.composed(&windows).unwrap());
        for (a, b) in fused.iter().flatten().zip(composed.iter().flatten()) {
            assert!((a - b).abs() < 1e-12, "{a} and {b}");
        }
    }

    #[test]
    fn a_window_alone_has_the_state_it_has_in_a_batch() {
        let mut params = Params::new(DType::F32, &Device::Cpu, 2);
        let gru = Gru::new(Shape { dim: 64, window: 10 }, params.scope("gru")).unwrap();
        let x = Init::Normal(0.1).values(&[40 * 640], &mut prl_seed::stream(1, "x", 0)).unwrap();
        let x = Tensor::from_vec(x, (40, 10, 64), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        let lengths: Vec<u32> = (0..40).map(|b| 1 + b % 10).collect();
        let states = gru.encode(&Embedded { x: &x, lengths: &lengths }, &Pass::infer()).unwrap();
        for b in 0..40 {
            let alone = Embedded { x: &x.narrow(0, b, 1).unwrap(), lengths: &lengths[b..=b] };
            let alone = gru.encode(&alone, &Pass::infer()).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(alone[0], states.get(b).unwrap().to_vec1::<f32>().unwrap());
        }
    }
}
