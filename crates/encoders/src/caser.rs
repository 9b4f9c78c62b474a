//! Caser (Tang and Wang, 2018) as the SQN code has it: filters over the window as over an image.
//!
//! Sixteen horizontal filters each of two, three and four positions, a ReLU and the maximum over time (48); one vertical
//! filter over the whole window, the same for each dimension, and a ReLU (d). The two side by side are the state. Positions
//! past a row's length count as zero. The user embedding of the paper is not there, nor has dropout an effect in that code.

use candle_core::{D, Result, Tensor, bail};
use prl_kernels::ops::caser_conv::caser_conv;
use prl_kernels::runs_on;
use prl_nn::{ForwardCtx, Init, Scope, relu};

use crate::{PaddedBatch, SessionEncoder, Shape};

/// Positions that a horizontal filter spans.
const HEIGHTS: [usize; 3] = [2, 3, 4];
/// The shortest window that every filter fits into.
pub(crate) const LEAST_WINDOW: usize = HEIGHTS[HEIGHTS.len() - 1];
/// Horizontal filters of each height.
const FILTERS: usize = 16;

/// Horizontal and vertical filters.
pub struct Caser {
    /// `[9 d + 3, 16]`: the filters of each height, `[height d, 16]`, and the biases of each.
    horizontal: Tensor,
    /// `[L + 1]`: the filter, and its bias.
    vertical: Tensor,
    dim: usize,
}

impl Caser {
    /// Filters of truncated N(0, .1) with biases of .1. An error if the window is shorter than the highest filter.
    pub fn new(shape: Shape, mut scope: Scope<'_>) -> Result<Self> {
        let rows = HEIGHTS.iter().sum::<usize>() * shape.dim;
        if shape.window < LEAST_WINDOW {
            bail!(
                "Caser has filters over {LEAST_WINDOW} positions: a window of {} is too short",
                shape.window
            );
        }
        let mut filters = |name: &str, shape: &[usize], biases: usize| {
            let mut all = shape.to_vec();
            all[0] += biases;
            let biases = vec![0.1; all.iter().product::<usize>() - shape.iter().product::<usize>()];
            scope.get_with(name, all, |rng| {
                Ok([Init::TruncatedNormal(0.1).values(shape, rng)?, biases].concat())
            })
        };
        Ok(Self {
            horizontal: filters("horizontal", &[rows, FILTERS], HEIGHTS.len())?,
            vertical: filters("vertical", &[shape.window], 1)?,
            dim: shape.dim,
        })
    }

    /// All filters from candle's operations: what runs where the fused kernel does not.
    fn composed(&self, windows: &PaddedBatch<'_>) -> Result<Tensor> {
        let (batch, length, d) = windows.x.dims3()?;
        let valid = windows
            .lengths
            .iter()
            .flat_map(|&n| (0..length).map(move |t| u8::from(t < n as usize)))
            .collect();
        let valid = Tensor::from_vec::<_, u8>(valid, (batch, length, 1), windows.x.device())?;
        let x = valid
            .broadcast_as(windows.x.shape())?
            .where_cond(windows.x, &windows.x.zeros_like()?)?;
        let mut parts = Vec::new();
        let mut row = 0;
        for (i, height) in HEIGHTS.into_iter().enumerate() {
            let positions = length - height + 1;
            let window: Vec<Tensor> = (0..height)
                .map(|j| x.narrow(1, j, positions))
                .collect::<Result<_>>()?;
            let window = Tensor::cat(&window, 2)?.reshape((batch * positions, height * d))?;
            let filters = self.horizontal.narrow(0, row, height * d)?.contiguous()?;
            let scores = window
                .matmul(&filters)?
                .reshape((batch, positions, FILTERS))?;
            // candle's maximum hands the whole gradient to each of several equal scores, and padding makes them equal.
            let best = scores.detach().argmax_keepdim(1)?;
            let best = scores.gather(&best, 1)?.squeeze(1)?;
            let bias = self
                .horizontal
                .narrow(0, self.horizontal.dim(0)? - HEIGHTS.len() + i, 1)?;
            parts.push(relu(&best.broadcast_add(&bias)?)?);
            row += height * d;
        }
        let filter = self
            .vertical
            .narrow(0, 0, length)?
            .reshape((1, length, 1))?;
        let vertical = x
            .broadcast_mul(&filter)?
            .sum(1)?
            .broadcast_add(&self.vertical.narrow(0, length, 1)?)?;
        parts.push(relu(&vertical)?);
        Tensor::cat(&parts, D::Minus1)
    }
}

impl SessionEncoder for Caser {
    fn width(&self) -> usize {
        HEIGHTS.len() * FILTERS + self.dim
    }

    fn encode(&self, windows: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        windows.spans()?;
        if runs_on(windows.x) {
            caser_conv(
                windows.x,
                &self.horizontal,
                &self.vertical,
                windows.lengths,
                &HEIGHTS,
            )
        } else {
            self.composed(windows)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Caser;
    use crate::{PaddedBatch, SessionEncoder, Shape};
    use candle_core::{DType, Device, Tensor, Var};
    use prl_nn::{ForwardCtx, Init, Params};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fused_and_the_composed_filters_are_one(
            (window, lengths) in (4..9usize).prop_flat_map(|n| (Just(n), prop::collection::vec(1..=n as u32, 1..40))),
            dim in 2..22usize,
        ) {
            let mut params = Params::new(DType::F64, &Device::Cpu, 2);
            let caser = Caser::new(Shape::new(dim, window), params.scope("caser")).unwrap();
            let n = lengths.len() * window * dim;
            let values = Init::Normal(1.0).values(&[n], &mut prl_seed::stream(1, "x", 0)).unwrap();
            let x = Var::from_vec(values, (lengths.len(), window, dim), &Device::Cpu).unwrap();
            let windows = PaddedBatch { x: x.as_tensor(), lengths: &lengths };
            let run = |y: Tensor| {
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let grads = [&x].into_iter().chain(params.iter().map(|p| p.1)).map(|var| grads.get(var).unwrap());
                [&y].into_iter().chain(grads).flat_map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap()).collect()
            };
            let fused: Vec<f64> = run(caser.encode(&windows, &ForwardCtx::infer()).unwrap());
            let composed: Vec<f64> = run(caser.composed(&windows).unwrap());
            for (a, b) in fused.iter().zip(&composed) {
                prop_assert!((a - b).abs() < 1e-10 * b.abs().max(1.0), "{} and {}", a, b);
            }
        }
    }

    #[test]
    fn a_window_too_short_is_an_error() {
        let mut params = Params::new(DType::F32, &Device::Cpu, 2);
        assert!(Caser::new(Shape::new(8, 3), params.scope("caser")).is_err());
    }
}
