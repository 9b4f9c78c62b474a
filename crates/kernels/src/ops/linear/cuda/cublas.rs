//! Wide linear layers by cuBLAS, with separate launches for bias and ReLU.

use candle_core::Result;

use super::Linear;
use crate::cuda::row_ops::{column_sums, gate};
use crate::cuda::{Gpu, ROWS, View, each, rows, sizes, view};

impl Linear {
    /// Writes y.
    pub(super) fn forward_cublas(
        &self,
        gpu: &Gpu,
        [x, weight, bias]: [View<'_>; 3],
        y: View<'_>,
    ) -> Result<()> {
        let Self {
            inputs,
            outputs,
            relu,
        } = *self;
        let n = x.len / inputs;
        gpu.product(
            [n, outputs, inputs],
            rows(x, inputs),
            rows(weight, outputs),
            rows(y, outputs),
        )?;
        let sizes = sizes([n * outputs, outputs]);
        gpu.launch(
            ROWS,
            "add_bias",
            each(n * outputs),
            &[y.into(), bias.into(), sizes[0], sizes[1], relu.into()],
        )
    }

    /// Writes the gradients of x, weight and bias.
    pub(super) fn backward_cublas(
        &self,
        gpu: &Gpu,
        [x, weight]: [View<'_>; 2],
        y: View<'_>,
        grad: View<'_>,
        [dx, dweight, dbias]: [View<'_>; 3],
    ) -> Result<()> {
        let Self {
            inputs,
            outputs,
            relu,
        } = *self;
        let gated = if relu {
            Some(gate(gpu, y, grad)?)
        } else {
            None
        };
        let grad = gated.as_ref().map_or(grad, view);
        let (n, by_row) = (x.len / inputs, rows(grad, outputs));
        gpu.product(
            [n, inputs, outputs],
            by_row,
            rows(weight, outputs).turned(),
            rows(dx, inputs),
        )?;
        gpu.product(
            [inputs, outputs, n],
            rows(x, inputs).turned(),
            by_row,
            rows(dweight, outputs),
        )?;
        column_sums(gpu, grad, outputs, dbias)
    }
}
