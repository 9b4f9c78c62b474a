//! On a GPU: a launch a half on the way there. On the way back the rows' gradients go through both halves, then those of the
//! parameters are made of parts of the rows, which are added up. Where rows are wider than a block of threads makes, the norms
//! are launches of their own.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::{Residual, TAPS};
use crate::gpu::op::OnGpu;
use crate::gpu::tile::{COLUMNS, Parts, THREADS, of_product};
use crate::gpu::{Arg, CONVOLVE, Gpu, Numbers, TAPS_GRADIENT, View, view};
use crate::norm::gpu::Norm;
use crate::pick::gpu::column_sums;
use crate::spans::gpu::Sides;

/// What the way back needs.
pub(crate) struct Kept {
    sides: Sides,
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

/// One of the two convolutions of a block, and its norm.
#[derive(Clone, Copy)]
struct Half<'a> {
    rows: usize,
    width: usize,
    dilation: usize,
    eps: f64,
    /// Taps, bias, scale and shift.
    kernel: View<'a>,
    sides: &'a Sides,
}

impl<'a> Half<'a> {
    fn norm(&self) -> Norm<'a> {
        let at = |row: usize| self.kernel.from((TAPS * self.width + row) * self.width).first(self.width);
        Norm { bias: Some(at(0)), scale: at(1), shift: at(2), eps: self.eps, relu: true }
    }

    /// The norm as a convolution's kernels take it.
    fn norm_args(&self) -> [Arg; 4] {
        let Norm { bias, scale, shift, eps, .. } = self.norm();
        [bias.into(), scale.into(), shift.into(), (eps as f32).into()]
    }

    /// Whether a block of threads makes whole rows, and can go on to the norm.
    fn is_narrow(&self) -> bool {
        self.width <= COLUMNS
    }

    /// Runs a kernel whose last arguments say what this convolution is.
    fn launch(&self, gpu: &Gpu, kernel: &'static str, args: &[Arg]) -> Result<()> {
        let [down, across] = of_product(self.rows, self.width).map(|n| n as u32);
        let shape = LaunchConfig { grid_dim: (down, across, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        let [rows, width, dilation] = [self.rows, self.width, self.dilation].map(|n| (n as u32).into());
        let own = [self.kernel.into(), (&**self.sides).into(), rows, width, dilation];
        gpu.launch(CONVOLVE, kernel, shape, &[args, &own].concat())
    }

    /// What the convolution makes of x, whose rows lie `stride` apart, but for its bias; `base` is added.
    fn convolve(&self, gpu: &Gpu, x: View<'_>, stride: usize, base: Option<View<'_>>, look: Look) -> Result<Numbers> {
        let y = gpu.room(self.rows * self.width)?;
        let ahead = (look == Look::Ahead).into();
        self.launch(gpu, "convolve", &[(&y).into(), x.into(), base.into(), (stride as u32).into(), ahead])?;
        Ok(y)
    }

    /// Makes y, what the ReLU puts out, with `base` added; returns what the convolution does, but for its bias.
    fn there(&self, gpu: &Gpu, x: View<'_>, base: Option<View<'_>>, y: View<'_>) -> Result<Numbers> {
        if !self.is_narrow() {
            let convolved = self.convolve(gpu, x, self.width, None, Look::Back)?;
            self.norm().there(gpu, view(&convolved), base, y)?;
            return Ok(convolved);
        }
        let convolved = gpu.room(x.len)?;
        let given = [y.into(), (&convolved).into(), x.into(), base.into()];
        self.launch(gpu, "convolve_norm", &[given, self.norm_args()].concat())?;
        Ok(convolved)
    }

    /// From the gradient of what the ReLU puts out the shares of each row in those of bias, scale and shift: `[rows, 3 width]`.
    /// The bias's is the gradient of what the convolution puts out.
    fn shares(&self, gpu: &Gpu, convolved: &Numbers, grad: View<'_>) -> Result<Numbers> {
        let (n, stride) = (self.rows * self.width, 3 * self.width);
        let shares = gpu.room(3 * n)?;
        let to = [0, self.width].map(|at| (view(&shares).from(at), stride));
        self.norm().back(gpu, [view(convolved).first(n), grad], to)?;
        Ok(shares)
    }

    /// The same from the shares of the half that follows.
    fn shares_before(&self, gpu: &Gpu, convolved: &Numbers, next: &Half<'_>, shares: &Numbers) -> Result<Numbers> {
        if !self.is_narrow() {
            let grad = next.convolve(gpu, view(shares), 3 * self.width, None, Look::Ahead)?;
            return self.shares(gpu, convolved, view(&grad));
        }
        let before = gpu.room(3 * self.rows * self.width)?;
        let given = [(&before).into(), shares.into(), convolved.into()];
        next.launch(gpu, "convolve_norm_back", &[given.as_slice(), &self.norm_args()].concat())?;
        Ok(before)
    }
}

impl Residual {
    fn halves<'a>(&self, kernel: View<'a>, sides: &'a Sides) -> [Half<'a>; 2] {
        let half = |i: usize| Half {
            rows: self.spans.rows(),
            width: self.width,
            dilation: (i + 1) * self.dilation,
            eps: self.eps,
            kernel: kernel.from(i * kernel.len / 2),
            sides,
        };
        [half(0), half(1)]
    }

    /// The gradient of the kernel from what each half was given, and the shares of its rows.
    fn dkernel(&self, gpu: &Gpu, len: usize, x: [View<'_>; 2], shares: [&Numbers; 2], kept: &Kept) -> Result<Numbers> {
        let n = self.spans.rows();
        let Parts { count, rows, tiles } = Parts::new(n, 2 * TAPS, self.width, self.width);
        let (parts, dkernel) = (gpu.room(count * len)?, gpu.room(len)?);
        // Those of a half.
        let grid = (tiles as u32 / 2, count as u32, 2);
        let shape = LaunchConfig { grid_dim: grid, block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        let given = [x[0].into(), x[1].into(), shares[0].into(), shares[1].into(), (&*kept.sides).into()];
        let sizes = [n, self.width, self.dilation, rows].map(|n| (n as u32).into());
        gpu.launch(TAPS_GRADIENT, "taps_gradient", shape, &[&[(&parts).into()], given.as_slice(), &sizes].concat())?;
        column_sums(gpu, view(&parts), len, view(&dkernel))?;
        Ok(dkernel)
    }
}

impl OnGpu<2> for Residual {
    type Kept = Kept;

    fn there(&self, gpu: &Gpu, [x, kernel]: [View<'_>; 2], y: View<'_>) -> Result<Kept> {
        let sides = self.spans.sides(gpu)?;
        let [one, two] = self.halves(kernel, &sides);
        let active = gpu.room(x.len)?;
        let first = one.there(gpu, x, None, view(&active))?;
        let second = two.there(gpu, view(&active), Some(x), y)?;
        Ok(Kept { sides, convolved: [first, second], active })
    }

    fn back(
        &self,
        gpu: &Gpu,
        [x, kernel]: [View<'_>; 2],
        kept: &Kept,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<Numbers>> {
        let [one, two] = self.halves(kernel, &kept.sides);
        let second = two.shares(gpu, &kept.convolved[1], grad)?;
        let first = one.shares_before(gpu, &kept.convolved[0], &two, &second)?;
        let dx = one.convolve(gpu, view(&first), 3 * self.width, Some(grad), Look::Ahead)?;
        let dkernel = self.dkernel(gpu, kernel.len, [x, view(&kept.active)], [&first, &second], kept)?;
        Ok(vec![dx, dkernel])
    }
}
