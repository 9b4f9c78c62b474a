//! GRU4Rec's encoder in the paper's form (Eq. 8): one layer, the reset gate applied before the recurrent product, the state
//! after the last valid position. The reset gate's bias begins at 1, the update gate's as [`Shape`] says, the candidate's at 0.

use candle_core::{Result, Tensor};
use prl_kernels::ops::gru::gru;
use prl_kernels::runs_on;
use prl_nn::{ForwardCtx, Init, Scope};

use crate::{PaddedBatch, SessionEncoder, Shape};

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
            let joined = gates
                .chunks(2 * width)
                .zip(candidate.chunks(width))
                .flat_map(|(g, c)| [g, c].concat());
            let biases = [shape.update_bias, 1.0, 0.0]
                .into_iter()
                .flat_map(|bias| std::iter::repeat_n(bias, width));
            Ok(joined.chain(biases).collect())
        })?;
        Ok(Self { kernel, width })
    }

    /// Eq. 8 step by step from candle's operations: what runs where the fused kernel does not.
    fn composed(&self, windows: &PaddedBatch<'_>) -> Result<Tensor> {
        let (batch, length, dim) = windows.x.dims3()?;
        let d = self.width;
        let part = |at, rows, column, columns| {
            self.kernel
                .narrow(0, at, rows)?
                .narrow(1, column, columns)?
                .contiguous()
        };
        let (by_input, bias) = (part(0, dim, 0, 3 * d)?, part(dim + d, 1, 0, 3 * d)?);
        let (gates, candidate) = (part(dim, d, 0, 2 * d)?, part(dim, d, 2 * d, d)?);
        let mut state = Tensor::zeros((batch, d), windows.x.dtype(), windows.x.device())?;
        for t in 0..length {
            let x = windows
                .x
                .narrow(1, t, 1)?
                .squeeze(1)?
                .contiguous()?
                .matmul(&by_input)?
                .broadcast_add(&bias)?;
            let zg = sigmoid(&(x.narrow(1, 0, 2 * d)? + state.matmul(&gates)?)?)?;
            let (z, g) = (zg.narrow(1, 0, d)?, zg.narrow(1, d, d)?);
            let c = (x.narrow(1, 2 * d, d)? + (g * &state)?.matmul(&candidate)?)?.tanh()?;
            let next = (&state + (z * (c - &state)?)?)?;
            let alive: Vec<u8> = windows
                .lengths
                .iter()
                .map(|&n| u8::from(t < n as usize))
                .collect();
            let alive =
                Tensor::from_vec(alive, (batch, 1), state.device())?.broadcast_as(state.shape())?;
            state = alive.where_cond(&next, &state)?;
        }
        Ok(state)
    }
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    ((x.neg()?.exp()? + 1.0)?).recip()
}

impl SessionEncoder for Gru {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, windows: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        if runs_on(windows.x) {
            gru(windows.x, &self.kernel, windows.lengths)
        } else {
            self.composed(windows)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Gru;
    use crate::{PaddedBatch, SessionEncoder, Shape};
    use candle_core::{DType, Device, Tensor, Var};
    use prl_nn::{ForwardCtx, Init, Params};

    #[test]
    fn the_fused_and_the_composed_unit_are_one() {
        let mut params = Params::new(DType::F64, &Device::Cpu, 2);
        let gru = Gru::new(Shape::new(6, 4), params.scope("gru")).unwrap();
        let values = Init::Normal(1.0)
            .values(&[50 * 24], &mut prl_seed::stream(1, "x", 0))
            .unwrap();
        let x =
            Var::from_tensor(&Tensor::from_vec(values, (50, 4, 6), &Device::Cpu).unwrap()).unwrap();
        let lengths: Vec<u32> = (0..50).map(|b| 1 + b % 4).collect();
        let windows = PaddedBatch {
            x: x.as_tensor(),
            lengths: &lengths,
        };
        let run = |state: Tensor| {
            let grads = state.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let kernel = params.iter().next().unwrap().1;
            [&state, grads.get(&x).unwrap(), grads.get(kernel).unwrap()]
                .map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap())
        };
        let fused = run(gru.encode(&windows, &ForwardCtx::infer()).unwrap());
        let composed = run(gru.composed(&windows).unwrap());
        for (a, b) in fused.iter().flatten().zip(composed.iter().flatten()) {
            assert!((a - b).abs() < 1e-12, "{a} and {b}");
        }
    }

    #[test]
    fn the_update_gate_begins_where_the_shape_says() {
        let biases = |shape: Shape| {
            let mut params = Params::new(DType::F32, &Device::Cpu, 2);
            Gru::new(shape, params.scope("gru")).unwrap();
            let kernel = params.iter().next().unwrap().1.to_vec2::<f32>().unwrap();
            kernel[kernel.len() - 1].clone()
        };
        assert_eq!(biases(Shape::new(2, 4)), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(
            biases(Shape {
                update_bias: -1.0,
                ..Shape::new(2, 4)
            }),
            [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0]
        );
    }
}
