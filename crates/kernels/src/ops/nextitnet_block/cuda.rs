//! CUDA launches of the residual block: one per half in the forward pass. The backward pass
//! propagates the rows' gradients through both halves, then sums the parameter gradients over parts
//! of the rows. Rows wider than a tile need separate launches for the norms.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::NextItNetBlock;
use super::conv::TAPS;
use crate::autograd::cuda::CudaOp;
use crate::cuda::row_ops::column_sums;
use crate::cuda::tile::{COLUMNS, Parts, THREADS, of_product};
use crate::cuda::{Arg, DeviceF32, Gpu, NEXTITNET_CONV, NEXTITNET_TAPS, View, each, view};
use crate::ops::layer_norm::cuda::Norm;
use crate::packed::SeqOffsets;
use crate::packed::cuda::Table;

/// Values saved for the backward pass.
pub(crate) struct Saved {
    tables: [Table; 3],
    /// Outputs of both convolutions, and of the first ReLU.
    convolved: [DeviceF32; 2],
    active: DeviceF32,
}

/// Direction of the taps: to earlier rows (forward) or later rows (input gradient).
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Back,
    Ahead,
}

/// Row mapping as kernel arguments.
#[derive(Clone, Copy)]
struct Rows<'a> {
    tables: [&'a Table; 2],
    windows: usize,
    every: usize,
}

impl Rows<'_> {
    /// The tables and the stride.
    fn args(&self) -> [Arg; 3] {
        let [given, made] = self.tables;
        [(&**given).into(), (&**made).into(), word(self.every)]
    }
}

/// A size as an argument.
fn word(n: usize) -> Arg {
    (n as u32).into()
}

/// One of the two convolutions of a block, and its norm.
#[derive(Clone, Copy)]
struct ConvLayer<'a> {
    /// Number of input and output rows.
    given: usize,
    made: usize,
    rows: Rows<'a>,
    width: usize,
    dilation: usize,
    eps: f64,
    /// Taps, bias, scale and shift.
    kernel: View<'a>,
}

/// Residual rows added to the output.
type Base<'a> = Option<(View<'a>, Rows<'a>)>;

/// Kernel arguments of the residual rows.
fn base_args(base: Base<'_>) -> [Arg; 4] {
    let Some((numbers, rows)) = base else {
        return [Arg::Long(0), Arg::Long(0), Arg::Long(0), word(1)];
    };
    let [given, made, every] = rows.args();
    [numbers.into(), given, made, every]
}

impl<'a> ConvLayer<'a> {
    fn norm(&self) -> Norm<'a> {
        let at = |row: usize| {
            self.kernel
                .from((TAPS * self.width + row) * self.width)
                .first(self.width)
        };
        Norm {
            bias: Some(at(0)),
            scale: at(1),
            shift: at(2),
            eps: self.eps,
            relu: true,
        }
    }

    /// Kernel arguments of the norm.
    fn norm_args(&self) -> [Arg; 4] {
        let Norm {
            bias,
            scale,
            shift,
            eps,
            ..
        } = self.norm();
        [bias.into(), scale.into(), shift.into(), (eps as f32).into()]
    }

    /// Whether a tile holds whole rows, so that the norm can be fused.
    fn is_narrow(&self) -> bool {
        self.width <= COLUMNS
    }

    /// Launches a kernel over `n` rows with this convolution's arguments appended.
    fn launch(&self, gpu: &Gpu, kernel: &'static str, n: usize, args: &[Arg]) -> Result<()> {
        let [down, across] = of_product(n, self.width).map(|n| n as u32);
        let shape = LaunchConfig {
            grid_dim: (down, across, 1),
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        let [given, made, every] = self.rows.args();
        let [windows, n, width, dilation] =
            [self.rows.windows, n, self.width, self.dilation].map(word);
        gpu.launch(
            NEXTITNET_CONV,
            kernel,
            shape,
            &[
                args,
                &[
                    self.kernel.into(),
                    given,
                    made,
                    windows,
                    every,
                    n,
                    width,
                    dilation,
                ],
            ]
            .concat(),
        )
    }

    /// The convolution of x (row stride `stride`) without bias; with `Look::Ahead` the input
    /// gradient, to which `base` is added.
    fn convolve(
        &self,
        gpu: &Gpu,
        x: View<'_>,
        stride: usize,
        base: Base<'_>,
        look: Look,
    ) -> Result<DeviceF32> {
        let n = if look == Look::Ahead {
            self.given
        } else {
            self.made
        };
        let y = gpu.alloc(n * self.width)?;
        let given = [
            (&y).into(),
            x.into(),
            word(stride),
            (look == Look::Ahead).into(),
        ];
        self.launch(gpu, "conv", n, &[given, base_args(base)].concat())?;
        Ok(y)
    }

    /// Writes the ReLU's output plus `base` to y; returns the convolution's output without bias.
    fn forward_cuda(
        &self,
        gpu: &Gpu,
        x: View<'_>,
        base: Base<'_>,
        y: View<'_>,
    ) -> Result<DeviceF32> {
        if !self.is_narrow() {
            let convolved = self.convolve(gpu, x, self.width, None, Look::Back)?;
            self.norm()
                .forward_cuda(gpu, view(&convolved).first(y.len), None, y)?;
            if let Some((numbers, rows)) = base {
                let [given, made, kept] = rows.args();
                let sizes = [rows.windows, y.len, self.width].map(word);
                let args = [
                    &[y.into(), numbers.into(), given, made, kept],
                    sizes.as_slice(),
                ]
                .concat();
                gpu.launch(NEXTITNET_CONV, "add_residual", each(y.len), &args)?;
            }
            return Ok(convolved);
        }
        let convolved = gpu.alloc(y.len)?;
        let given = [y.into(), (&convolved).into(), x.into()];
        self.launch(
            gpu,
            "conv_norm",
            self.made,
            &[&given, &base_args(base)[..], &self.norm_args()].concat(),
        )?;
        Ok(convolved)
    }

    /// Contributions of each row to the gradients of bias, scale and shift, `[rows, 3 width]`, from
    /// the gradient of the ReLU's output. The bias part is the gradient of the convolution's
    /// output.
    fn shares(&self, gpu: &Gpu, convolved: &DeviceF32, grad: View<'_>) -> Result<DeviceF32> {
        let (n, stride) = (self.made * self.width, 3 * self.width);
        let shares = gpu.alloc(3 * n)?;
        let to = [0, self.width].map(|at| (view(&shares).from(at), stride));
        self.norm()
            .backward_cuda(gpu, [view(convolved).first(n), grad], to)?;
        Ok(shares)
    }

    /// Contributions of this half's rows from those of the next half.
    fn shares_before(
        &self,
        gpu: &Gpu,
        convolved: &DeviceF32,
        next: &ConvLayer<'_>,
        shares: &DeviceF32,
    ) -> Result<DeviceF32> {
        if !self.is_narrow() {
            let grad = next.convolve(gpu, view(shares), 3 * self.width, None, Look::Ahead)?;
            return self.shares(gpu, convolved, view(&grad).first(self.made * self.width));
        }
        let before = gpu.alloc(3 * self.made * self.width)?;
        let given = [(&before).into(), shares.into(), convolved.into()];
        next.launch(
            gpu,
            "conv_norm_backward",
            next.given,
            &[given.as_slice(), &self.norm_args()].concat(),
        )?;
        Ok(before)
    }
}

impl NextItNetBlock {
    fn halves<'a>(&self, kernel: View<'a>, tables: &'a [Table; 3]) -> [ConvLayer<'a>; 2] {
        let half = |i: usize| ConvLayer {
            given: self.spans[i].rows(),
            made: self.spans[i + 1].rows(),
            rows: Rows {
                tables: [&tables[i], &tables[i + 1]],
                windows: self.spans[0].windows(),
                every: self.convolutions[i].stride,
            },
            width: self.width,
            dilation: self.convolutions[i].dilation,
            eps: self.eps,
            kernel: kernel.from(i * kernel.len / 2),
        };
        [half(0), half(1)]
    }

    /// Mapping from the block's input rows to its output rows.
    fn kept<'a>(&self, tables: &'a [Table; 3]) -> Rows<'a> {
        Rows {
            tables: [&tables[0], &tables[2]],
            windows: self.spans[0].windows(),
            every: self.over_both(),
        }
    }

    /// Kernel gradient from the inputs of each half and the contributions of its rows.
    fn dkernel(
        &self,
        gpu: &Gpu,
        len: usize,
        x: [View<'_>; 2],
        shares: [&DeviceF32; 2],
        kept: &Saved,
    ) -> Result<DeviceF32> {
        let [made_one, made_two] = [&self.spans[1], &self.spans[2]].map(SeqOffsets::rows);
        let Parts { count, rows, tiles } = Parts::new(made_one, 2 * TAPS, self.width, self.width);
        let (parts, dkernel) = (gpu.alloc(count * len)?, gpu.alloc(len)?);
        // Those of a half.
        let grid = (tiles as u32 / 2, count as u32, 2);
        let shape = LaunchConfig {
            grid_dim: grid,
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        let given = [
            (&parts).into(),
            x[0].into(),
            x[1].into(),
            shares[0].into(),
            shares[1].into(),
        ];
        let tables = kept.tables.each_ref().map(|table| (&**table).into());
        let [one, two] = self.convolutions;
        let sizes = [
            made_one,
            made_two,
            one.stride,
            two.stride,
            one.dilation,
            two.dilation,
            self.width,
            rows,
        ]
        .map(word);
        let windows = [word(self.spans[0].windows())];
        gpu.launch(
            NEXTITNET_TAPS,
            "taps_gradient",
            shape,
            &[&given, tables.as_slice(), &windows, &sizes].concat(),
        )?;
        column_sums(gpu, view(&parts), len, view(&dkernel))?;
        Ok(dkernel)
    }
}

impl CudaOp<2> for NextItNetBlock {
    type SavedCuda = Saved;

    fn forward_cuda(&self, gpu: &Gpu, [x, kernel]: [View<'_>; 2], y: View<'_>) -> Result<Saved> {
        let [given, between, made] = self.spans.each_ref().map(|spans| spans.table(gpu));
        let tables = [given?, between?, made?];
        let [one, two] = self.halves(kernel, &tables);
        let active = gpu.alloc(one.made * self.width)?;
        let first = one.forward_cuda(gpu, x, None, view(&active).first(one.made * self.width))?;
        let second = two.forward_cuda(gpu, view(&active), Some((x, self.kept(&tables))), y)?;
        Ok(Saved {
            tables,
            convolved: [first, second],
            active,
        })
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [x, kernel]: [View<'_>; 2],
        kept: &Saved,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let [one, two] = self.halves(kernel, &kept.tables);
        let second = two.shares(gpu, &kept.convolved[1], grad)?;
        let first = one.shares_before(gpu, &kept.convolved[0], &two, &second)?;
        let base = Some((grad, self.kept(&kept.tables)));
        let dx = one.convolve(gpu, view(&first), 3 * self.width, base, Look::Ahead)?;
        let dkernel = self.dkernel(
            gpu,
            kernel.len,
            [x, view(&kept.active)],
            [&first, &second],
            kept,
        )?;
        Ok(vec![dx, dkernel])
    }
}
