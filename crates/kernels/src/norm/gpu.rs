//! On a GPU: a block a row.

use candle_core::Result;

use super::LayerNorm;
use crate::gpu::op::OnGpu;
use crate::gpu::{Arg, Gpu, NORM, Numbers, View, blocks, threads, view};
use crate::pick::gpu::column_sums;

/// A layer norm's scale and shift, and what follows it.
pub(crate) struct Norm<'a> {
    pub(crate) scale: View<'a>,
    pub(crate) shift: View<'a>,
    pub(crate) eps: f64,
    pub(crate) relu: bool,
}

impl Norm<'_> {
    /// The rows x, normalised and what follows; `base` is added to that.
    pub(crate) fn there(&self, gpu: &Gpu, x: View<'_>, base: Option<View<'_>>, width: usize) -> Result<Numbers> {
        let y = gpu.room(x.len)?;
        let (relu, has_base) = (self.relu.into(), base.is_some().into());
        let args = [(&y).into(), x.into(), self.scale.into(), self.shift.into(), base.unwrap_or(x).into()];
        let rest = [(self.eps as f32).into(), (width as u32).into(), relu, has_base];
        self.launch(gpu, "layer_norm", x.len, width, &[args.as_slice(), &rest].concat())?;
        Ok(y)
    }

    /// The gradients of x, and of scale and shift `[2 width]`.
    pub(crate) fn back(&self, gpu: &Gpu, x: View<'_>, grad: View<'_>, width: usize) -> Result<[Numbers; 2]> {
        let (dx, shares) = (gpu.room(x.len)?, gpu.room(2 * x.len)?);
        let args = [(&dx).into(), (&shares).into(), x.into(), self.scale.into(), self.shift.into(), grad.into()];
        let rest = [(self.eps as f32).into(), (width as u32).into(), self.relu.into()];
        self.launch(gpu, "layer_norm_back", x.len, width, &[args.as_slice(), &rest].concat())?;
        let sums = column_sums(gpu, view(&shares), 2 * width)?;
        Ok([dx, sums])
    }

    fn launch(&self, gpu: &Gpu, name: &str, n: usize, width: usize, args: &[Arg]) -> Result<()> {
        let threads = threads(width);
        gpu.launch(NORM, name, blocks(n / width, threads, threads as usize), args)
    }
}

impl OnGpu<3> for LayerNorm {
    type Kept = ();

    fn there(&self, gpu: &Gpu, [x, scale, shift]: [View<'_>; 3]) -> Result<(Numbers, ())> {
        let norm = Norm { scale, shift, eps: self.eps, relu: false };
        Ok((norm.there(gpu, x, None, scale.len)?, ()))
    }

    fn back(
        &self,
        gpu: &Gpu,
        [x, scale, shift]: [View<'_>; 3],
        (): &(),
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<[Numbers; 3]> {
        let width = scale.len;
        let [dx, sums] = Norm { scale, shift, eps: self.eps, relu: false }.back(gpu, x, grad, width)?;
        let sums = view(&sums);
        Ok([dx, gpu.copy_of(sums.first(width))?, gpu.copy_of(sums.from(width))?])
    }
}
