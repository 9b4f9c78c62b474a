//! On a GPU: a block a row.

use candle_core::Result;

use super::LayerNorm;
use crate::gpu::op::OnGpu;
use crate::gpu::{Arg, Gpu, NORM, Numbers, View, blocks, threads, view};
use crate::pick::gpu::column_sums;

/// A layer norm's scale and shift, and what stands around it.
pub(crate) struct Norm<'a> {
    /// Added before it.
    pub(crate) bias: Option<View<'a>>,
    pub(crate) scale: View<'a>,
    pub(crate) shift: View<'a>,
    pub(crate) eps: f64,
    /// Behind it.
    pub(crate) relu: bool,
}

impl Norm<'_> {
    /// The rows x, normalised, and what follows; `base` is added to that.
    pub(crate) fn there(&self, gpu: &Gpu, x: View<'_>, base: Option<View<'_>>) -> Result<Numbers> {
        let y = gpu.room(x.len)?;
        let given = [(&y).into(), x.into(), self.bias.into(), self.scale.into(), self.shift.into(), base.into()];
        self.launch(gpu, "layer_norm", x.len, &given)?;
        Ok(y)
    }

    /// The gradient of x, and of each row the shares in those of bias, scale and shift: `[rows, 3 width]`.
    pub(crate) fn back(&self, gpu: &Gpu, x: View<'_>, grad: View<'_>) -> Result<[Numbers; 2]> {
        let (dx, shares) = (gpu.room(x.len)?, gpu.room(3 * x.len)?);
        let given = [x.into(), self.bias.into(), self.scale.into(), self.shift.into(), grad.into()];
        self.launch(gpu, "layer_norm_back", x.len, &[[(&dx).into(), (&shares).into()].as_slice(), &given].concat())?;
        Ok([dx, shares])
    }

    fn launch(&self, gpu: &Gpu, kernel: &str, n: usize, args: &[Arg]) -> Result<()> {
        let (width, threads) = (self.scale.len, threads(self.scale.len));
        let rest = [(self.eps as f32).into(), (width as u32).into(), self.relu.into()];
        gpu.launch(NORM, kernel, blocks(n / width, threads, threads as usize), &[args, &rest].concat())
    }
}

impl OnGpu<3> for LayerNorm {
    type Kept = ();

    fn there(&self, gpu: &Gpu, [x, scale, shift]: [View<'_>; 3]) -> Result<(Numbers, ())> {
        let norm = Norm { bias: None, scale, shift, eps: self.eps, relu: false };
        Ok((norm.there(gpu, x, None)?, ()))
    }

    fn back(
        &self,
        gpu: &Gpu,
        [x, scale, shift]: [View<'_>; 3],
        (): &(),
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<Numbers>> {
        let width = scale.len;
        let [dx, shares] = Norm { bias: None, scale, shift, eps: self.eps, relu: false }.back(gpu, x, grad)?;
        let (dscale, dshift) = (gpu.room(width)?, gpu.room(width)?);
        let shares = view(&shares).first(3 * x.len);
        column_sums(gpu, shares.from(width), 3 * width, view(&dscale))?;
        column_sums(gpu, shares.from(2 * width), 3 * width, view(&dshift))?;
        Ok(vec![dx, dscale, dshift])
    }
}
