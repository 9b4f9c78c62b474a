//! On a GPU: a launch a half on the way there. On the way back the rows' gradients go through both halves, then those of the
//! parameters are made of parts of the rows, which are added up. Where rows are wider than a block of threads makes, the norms
//! are launches of their own.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::{NextItNetBlock, TAPS};
use crate::autograd::cuda::CudaOp;
use crate::cuda::tile::{COLUMNS, Parts, THREADS, of_product};
use crate::cuda::{Arg, DeviceF32, Gpu, NEXTITNET_CONV, NEXTITNET_TAPS, View, each, view};
use crate::ops::index_select::cuda::column_sums;
use crate::ops::layer_norm::cuda::Norm;
use crate::packed::SeqOffsets;
use crate::packed::cuda::Table;

/// What the way back needs.
pub(crate) struct Saved {
    tables: [Table; 3],
    /// What both convolutions put out, and what the first ReLU does.
    convolved: [DeviceF32; 2],
    active: DeviceF32,
}

/// Where a convolution's taps look.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Back,
    Ahead,
}

/// Rows that are made of others, as kernels are told.
#[derive(Clone, Copy)]
struct Rows<'a> {
    tables: [&'a Table; 2],
    windows: usize,
    every: usize,
}

impl Rows<'_> {
    /// The tables, and every so many-th.
    fn args(&self) -> [Arg; 3] {
        let [given, made] = self.tables;
        [(&**given).into(), (&**made).into(), word(self.every)]
    }
}

/// A size.
fn word(n: usize) -> Arg {
    (n as u32).into()
}

/// One of the two convolutions of a block, and its norm.
#[derive(Clone, Copy)]
struct ConvLayer<'a> {
    /// How many rows are given, and how many made.
    given: usize,
    made: usize,
    rows: Rows<'a>,
    width: usize,
    dilation: usize,
    eps: f64,
    /// Taps, bias, scale and shift.
    kernel: View<'a>,
}

/// What is added to rows: the rows of the block's other end that are kept.
type Base<'a> = Option<(View<'a>, Rows<'a>)>;

/// The arguments that say what is added.
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

    /// The norm as a convolution's kernels take it.
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

    /// Whether a block of threads makes whole rows, and can go on to the norm.
    fn is_narrow(&self) -> bool {
        self.width <= COLUMNS
    }

    /// Runs a kernel for so many rows, whose last arguments say what this convolution is.
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

    /// What the convolution makes of x, whose rows lie `stride` apart, but for its bias; or, ahead, of what it made. There
    /// `base` is added, of the rows that the block made.
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

    /// Makes y, what the ReLU puts out, with `base` added, of the rows that the block was given; returns what the convolution
    /// does, but for its bias.
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

    /// From the gradient of what the ReLU puts out the shares of each row in those of bias, scale and shift: `[rows, 3 width]`.
    /// The bias's is the gradient of what the convolution puts out.
    fn shares(&self, gpu: &Gpu, convolved: &DeviceF32, grad: View<'_>) -> Result<DeviceF32> {
        let (n, stride) = (self.made * self.width, 3 * self.width);
        let shares = gpu.alloc(3 * n)?;
        let to = [0, self.width].map(|at| (view(&shares).from(at), stride));
        self.norm()
            .backward_cuda(gpu, [view(convolved).first(n), grad], to)?;
        Ok(shares)
    }

    /// The same from the shares of the half that follows.
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

    /// The rows that the block is given, and those that it makes.
    fn kept<'a>(&self, tables: &'a [Table; 3]) -> Rows<'a> {
        Rows {
            tables: [&tables[0], &tables[2]],
            windows: self.spans[0].windows(),
            every: self.over_both(),
        }
    }

    /// The gradient of the kernel from what each half was given, and the shares of its rows.
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
