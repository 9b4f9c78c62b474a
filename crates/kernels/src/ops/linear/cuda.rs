//! CUDA launches of the linear layer: one in the forward pass; in the backward pass one for the
//! input gradient and partial parameter gradients, and one that sums the parts. Wide layers use
//! cuBLAS.

mod cublas;

use candle_core::Result;

use super::Linear;
use crate::autograd::cuda::CudaOp;
use crate::cuda::row_ops::split_column_sums;
use crate::cuda::tile::{Parts, THREADS, of_product};
use crate::cuda::{DeviceF32, Gpu, LINEAR, View, blocks, sizes, view};

/// Above this width cuBLAS is faster: it keeps more accumulators per thread.
const NARROW: usize = 512;

impl Linear {
    fn is_narrow(&self) -> bool {
        self.inputs.max(self.outputs) <= NARROW
    }
}

impl CudaOp<3> for Linear {
    type SavedCuda = ();

    fn forward_cuda(&self, gpu: &Gpu, [x, weight, bias]: [View<'_>; 3], y: View<'_>) -> Result<()> {
        let Self {
            inputs,
            outputs,
            relu,
        } = *self;
        let n = x.len / inputs;
        if !self.is_narrow() {
            return self.forward_cublas(gpu, [x, weight, bias], y);
        }
        let [down, across] = of_product(n, outputs);
        let mut shape = blocks(down, THREADS, 0);
        shape.grid_dim.1 = across as u32;
        let sizes = sizes([n, inputs, outputs]);
        let given = [y.into(), x.into(), weight.into(), bias.into()];
        gpu.launch(
            LINEAR,
            "linear",
            shape,
            &[given.as_slice(), &sizes, &[relu.into()]].concat(),
        )
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x, weight, bias]: [View<'_>; 3],
        (): &(),
        y: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let Self {
            inputs,
            outputs,
            relu,
        } = *self;
        let (dx, dweight, dbias) = (
            gpu.alloc(x.len)?,
            gpu.alloc(weight.len)?,
            gpu.alloc(bias.len)?,
        );
        if !self.is_narrow() {
            self.backward_cublas(gpu, [x, weight], y, grad, [&dx, &dweight, &dbias].map(view))?;
            return Ok(vec![dx, dweight, dbias]);
        }
        let (n, stride) = (x.len / inputs, (inputs + 1) * outputs);
        let Parts { count, rows, tiles } = Parts::new(n, 1, inputs, outputs);
        let parts = gpu.alloc(count * stride)?;
        let shape = blocks(
            count * tiles + of_product(n, inputs).iter().product::<usize>(),
            THREADS,
            0,
        );
        let to_and_given = [
            (&dx).into(),
            (&parts).into(),
            x.into(),
            weight.into(),
            relu.then_some(y).into(),
            grad.into(),
        ];
        let sizes = sizes([n, inputs, outputs, rows, count]);
        gpu.launch(
            LINEAR,
            "linear_backward",
            shape,
            &[to_and_given.as_slice(), &sizes].concat(),
        )?;
        split_column_sums(gpu, view(&parts), stride, [view(&dweight), view(&dbias)])?;
        Ok(vec![dx, dweight, dbias])
    }
}
