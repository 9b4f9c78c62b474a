//! CUDA launches of the layer norm: half a warp per row.

use candle_core::Result;

use super::LayerNorm;
use crate::autograd::cuda::CudaOp;
use crate::cuda::row_ops::split_column_sums;
use crate::cuda::{Arg, DeviceF32, Gpu, LAYER_NORM, View, each, view};

/// Threads per row.
const LANES: usize = 16;

/// A layer norm with an optional bias before and ReLU after it.
pub(crate) struct Norm<'a> {
    /// Added to the input.
    pub(crate) bias: Option<View<'a>>,
    pub(crate) scale: View<'a>,
    pub(crate) shift: View<'a>,
    pub(crate) eps: f64,
    /// Applied to the output.
    pub(crate) relu: bool,
}

/// Output rows and their stride.
pub(crate) type Apart<'a> = (View<'a>, usize);

impl Norm<'_> {
    /// Writes the normalised rows to y, with `base` added.
    pub(crate) fn forward_cuda(
        &self,
        gpu: &Gpu,
        x: View<'_>,
        base: Option<View<'_>>,
        y: View<'_>,
    ) -> Result<()> {
        let given = [
            y.into(),
            x.into(),
            self.bias.into(),
            self.scale.into(),
            self.shift.into(),
            base.into(),
        ];
        self.launch(gpu, "layer_norm", x.len, &given)
    }

    /// Writes the gradient of x, which is also the bias's contribution, and each row's
    /// contributions to the gradients of scale and shift.
    pub(crate) fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x, grad]: [View<'_>; 2],
        [dx, shares]: [Apart<'_>; 2],
    ) -> Result<()> {
        let to = [
            dx.0.into(),
            (dx.1 as u32).into(),
            shares.0.into(),
            (shares.1 as u32).into(),
        ];
        let given = [
            x.into(),
            self.bias.into(),
            self.scale.into(),
            self.shift.into(),
            grad.into(),
        ];
        self.launch(
            gpu,
            "layer_norm_backward",
            x.len,
            &[to.as_slice(), &given].concat(),
        )
    }

    fn launch(&self, gpu: &Gpu, kernel: &'static str, n: usize, args: &[Arg]) -> Result<()> {
        let (width, rows) = (self.scale.len, n / self.scale.len);
        let rest = [
            (self.eps as f32).into(),
            (rows as u32).into(),
            (width as u32).into(),
            self.relu.into(),
        ];
        gpu.launch(
            LAYER_NORM,
            kernel,
            each(rows * LANES),
            &[args, &rest].concat(),
        )
    }
}

impl CudaOp<3> for LayerNorm {
    type SavedCuda = ();

    fn forward_cuda(&self, gpu: &Gpu, [x, scale, shift]: [View<'_>; 3], y: View<'_>) -> Result<()> {
        Norm {
            bias: None,
            scale,
            shift,
            eps: self.eps,
            relu: false,
        }
        .forward_cuda(gpu, x, None, y)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x, scale, shift]: [View<'_>; 3],
        (): &(),
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let width = scale.len;
        let [dx, shares] = [gpu.alloc(x.len)?, gpu.alloc(2 * x.len)?];
        let norm = Norm {
            bias: None,
            scale,
            shift,
            eps: self.eps,
            relu: false,
        };
        norm.backward_cuda(
            gpu,
            [x, grad],
            [(view(&dx), width), (view(&shares), 2 * width)],
        )?;
        let (dscale, dshift) = (gpu.alloc(width)?, gpu.alloc(width)?);
        let shares = view(&shares).first(2 * x.len);
        split_column_sums(gpu, shares, 2 * width, [view(&dscale), view(&dshift)])?;
        Ok(vec![dx, dscale, dshift])
    }
}
