//! On a GPU: rows unfolded, a product, and a norm with what follows it; and back.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;

use super::{Residual, TAPS};
use crate::gpu::op::OnGpu;
use crate::gpu::{Gpu, Numbers, UNFOLD, View, each, rows, view};
use crate::norm::gpu::Norm;
use crate::pick::gpu::{add, column_sums, transpose};

/// What the way back needs.
pub(crate) struct Kept {
    /// Of each row, how many of its window come before it, and how many after.
    places: CudaSlice<u32>,
    /// What both convolutions put out, and what the first ReLU does.
    convolved: [Numbers; 2],
    active: Numbers,
}

/// Where a convolution's taps look.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Back,
    Ahead,
}

/// One of the two convolutions of a block.
#[derive(Clone, Copy)]
struct Half<'a> {
    width: usize,
    dilation: usize,
    eps: f64,
    /// Taps, bias, scale and shift.
    kernel: View<'a>,
    places: &'a CudaSlice<u32>,
}

impl<'a> Half<'a> {
    fn norm(&self) -> Norm<'a> {
        let at = |row: usize| self.kernel.from((TAPS * self.width + row) * self.width).first(self.width);
        Norm { bias: Some(at(0)), scale: at(1), shift: at(2), eps: self.eps, relu: true }
    }

    /// What the taps of each row of x meet: `[rows, 3 d]`.
    fn unfold(&self, gpu: &Gpu, x: View<'_>, look: Look) -> Result<Numbers> {
        let n = TAPS * x.len;
        let taps = gpu.room(n)?;
        let [rows, width, dilation] = [x.len / self.width, self.width, self.dilation].map(|n| (n as u32).into());
        let args = [(&taps).into(), x.into(), self.places.into(), rows, width, dilation, (look == Look::Ahead).into()];
        gpu.launch(UNFOLD, "unfold", each(n), &args)?;
        Ok(taps)
    }

    /// What the convolution puts out, but for its bias.
    fn convolve(&self, gpu: &Gpu, x: View<'_>) -> Result<Numbers> {
        let (n, width) = (x.len / self.width, self.width);
        let (taps, y) = (self.unfold(gpu, x, Look::Back)?, gpu.room(x.len)?);
        let (a, b) = (rows(view(&taps), TAPS * width), rows(self.kernel, width));
        gpu.product([n, width, TAPS * width], a, b, rows(view(&y), width))?;
        Ok(y)
    }

    /// From the gradient of what the ReLU puts out: writes that of the parameters, returns that of x.
    fn back(&self, gpu: &Gpu, [x, convolved, grad]: [View<'_>; 3], dkernel: View<'_>) -> Result<Numbers> {
        let (n, width) = (x.len / self.width, self.width);
        let [dy, shares] = self.norm().back(gpu, convolved, grad)?;
        let dy = view(&dy);
        column_sums(gpu, view(&shares), 3 * width, dkernel.from(TAPS * width * width).first(3 * width))?;
        let taps = self.unfold(gpu, x, Look::Back)?;
        let a = rows(view(&taps), TAPS * width).turned();
        gpu.product([TAPS * width, width, n], a, rows(dy, width), rows(dkernel, width))?;
        // Each tap's gradient lies as far ahead as the tap looks back.
        let (taps, dx) = (self.unfold(gpu, dy, Look::Ahead)?, gpu.room(x.len)?);
        let across = transpose(gpu, self.kernel.first(TAPS * width * width), TAPS, width)?;
        let (a, b) = (rows(view(&taps), TAPS * width), rows(view(&across), width));
        gpu.product([n, width, TAPS * width], a, b, rows(view(&dx), width))?;
        Ok(dx)
    }
}

impl Residual {
    fn halves<'a>(&self, kernel: View<'a>, places: &'a CudaSlice<u32>) -> [Half<'a>; 2] {
        let half = |i: usize| Half {
            width: self.width,
            dilation: (i + 1) * self.dilation,
            eps: self.eps,
            kernel: kernel.from(i * kernel.len / 2),
            places,
        };
        [half(0), half(1)]
    }
}

impl OnGpu<2> for Residual {
    type Kept = Kept;

    fn there(&self, gpu: &Gpu, [x, kernel]: [View<'_>; 2]) -> Result<(Numbers, Kept)> {
        let places: Vec<u32> = self
            .spans
            .iter()
            .flat_map(|span| (0..span.len()).flat_map(move |t| [t as u32, (span.len() - 1 - t) as u32]))
            .collect();
        let places = gpu.copy_in(&places)?;
        let [one, two] = self.halves(kernel, &places);
        let first = one.convolve(gpu, x)?;
        let active = one.norm().there(gpu, view(&first), None)?;
        let second = two.convolve(gpu, view(&active))?;
        let y = two.norm().there(gpu, view(&second), Some(x))?;
        Ok((y, Kept { places, convolved: [first, second], active }))
    }

    fn back(
        &self,
        gpu: &Gpu,
        [x, kernel]: [View<'_>; 2],
        kept: &Kept,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<Numbers>> {
        let [one, two] = self.halves(kernel, &kept.places);
        let dkernel = gpu.room(kernel.len)?;
        let [first, second] = [0, kernel.len / 2].map(|at| view(&dkernel).from(at));
        let dactive = two.back(gpu, [view(&kept.active), view(&kept.convolved[1]), grad], second)?;
        let dx = one.back(gpu, [x, view(&kept.convolved[0]), view(&dactive)], first)?;
        add(gpu, &dx, grad)?;
        Ok(vec![dx, dkernel])
    }
}
