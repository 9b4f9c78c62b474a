//! On a GPU: one product there and two back, and the bias and the ReLU beside them.

use candle_core::Result;

use super::Linear;
use crate::gpu::op::OnGpu;
use crate::gpu::{Gpu, Numbers, ROWS, View, each, rows, view};
use crate::pick::gpu::{column_sums, gate};

impl OnGpu<3> for Linear {
    type Kept = ();

    fn there(&self, gpu: &Gpu, [x, weight, bias]: [View<'_>; 3]) -> Result<(Numbers, ())> {
        let Self { inputs, outputs, relu } = *self;
        let n = x.len / inputs;
        let y = gpu.room(n * outputs)?;
        let to = rows(view(&y), outputs);
        gpu.product([n, outputs, inputs], rows(x, inputs), rows(weight, outputs), to)?;
        let sizes = [(n * outputs) as u32, outputs as u32].map(Into::into);
        let args = [(&y).into(), bias.into(), sizes[0], sizes[1], relu.into()];
        gpu.launch(ROWS, "add_bias", each(n * outputs), &args)?;
        Ok((y, ()))
    }

    fn back(
        &self,
        gpu: &Gpu,
        [x, weight, bias]: [View<'_>; 3],
        (): &(),
        y: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<Numbers>> {
        let Self { inputs, outputs, relu } = *self;
        let gated = if relu { Some(gate(gpu, y, grad)?) } else { None };
        let grad = gated.as_ref().map_or(grad, view);
        let n = x.len / inputs;
        let (dx, dweight, dbias) = (gpu.room(x.len)?, gpu.room(weight.len)?, gpu.room(bias.len)?);
        let (by_row, to) = (rows(grad, outputs), rows(view(&dx), inputs));
        gpu.product([n, inputs, outputs], by_row, rows(weight, outputs).turned(), to)?;
        let to = rows(view(&dweight), outputs);
        gpu.product([inputs, outputs, n], rows(x, inputs).turned(), by_row, to)?;
        column_sums(gpu, grad, outputs, view(&dbias))?;
        Ok(vec![dx, dweight, dbias])
    }
}
