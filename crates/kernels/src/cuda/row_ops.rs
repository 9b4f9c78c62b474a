//! Row operations: gather, scatter, add by row, column sums, transpose and the ReLU's backward
//! pass.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{Result, Tensor};

use super::{DeviceBuffer, DeviceF32, Gpu, ROWS, View, Words, each, sizes, with};

/// Gathers rows of x, by index, into `out`.
pub(crate) fn gather_rows(
    gpu: &Gpu,
    x: View<'_>,
    rows: Words<'_>,
    width: usize,
    out: View<'_>,
) -> Result<()> {
    move_rows(gpu, "gather_rows", [out, x], rows, width)
}

/// Zeroes `out` and scatters the rows of x to it, by index.
pub(crate) fn scatter_rows(
    gpu: &Gpu,
    x: View<'_>,
    rows: Words<'_>,
    width: usize,
    out: View<'_>,
) -> Result<()> {
    gpu.clear(out)?;
    move_rows(gpu, "scatter_rows", [out, x], rows, width)
}

fn move_rows(
    gpu: &Gpu,
    kernel: &'static str,
    [out, x]: [View<'_>; 2],
    rows: Words<'_>,
    width: usize,
) -> Result<()> {
    let [n, columns] = sizes([rows.len, width]);
    let args = [out.into(), x.into(), rows.into(), n, columns];
    gpu.launch(ROWS, kernel, each(rows.len * width), &args)
}

/// The sum of two contiguous `f32` tensors of one shape, without a graph of candle's.
pub(crate) fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let gpu = Gpu::of(x)?;
    let sum = gpu.alloc(x.elem_count())?;
    with([x, y], |[x, y]| {
        let n = (x.len as u32).into();
        gpu.launch(
            ROWS,
            "add",
            each(x.len),
            &[(&sum).into(), x.into(), y.into(), n],
        )
    })?;
    sum.tensor(x.shape())
}

/// The gradient where y > 0, else zero (ReLU backward).
pub(crate) fn gate(gpu: &Gpu, y: View<'_>, grad: View<'_>) -> Result<DeviceF32> {
    let out = gpu.alloc(y.len)?;
    gpu.launch(
        ROWS,
        "gate",
        each(y.len),
        &[(&out).into(), y.into(), grad.into(), (y.len as u32).into()],
    )?;
    Ok(out)
}

/// Sums of the first `out.len` columns of x, whose row stride is `stride`.
pub(crate) fn column_sums(gpu: &Gpu, x: View<'_>, stride: usize, out: View<'_>) -> Result<()> {
    split_column_sums(gpu, x, stride, [out, out.from(out.len)])
}

/// Column sums into two consecutive outputs.
pub(crate) fn split_column_sums(
    gpu: &Gpu,
    x: View<'_>,
    stride: usize,
    [out, rest]: [View<'_>; 2],
) -> Result<()> {
    let (rows, columns) = (x.len.div_ceil(stride), out.len + rest.len);
    // Full 32-column reads if that leaves work for every multiprocessor, else narrower and taller
    // blocks.
    let width = if columns < 4096 { 8 } else { 32 };
    let height = rows.div_ceil(8).next_power_of_two().min(1024 / width);
    let grid = (columns.div_ceil(width) as u32, 1, 1);
    let shape = LaunchConfig {
        grid_dim: grid,
        block_dim: (width as u32, height as u32, 1),
        shared_mem_bytes: 0,
    };
    let [split, rows, columns, stride] = sizes([out.len, rows, columns, stride]);
    gpu.launch(
        ROWS,
        "column_sums",
        shape,
        &[
            out.into(),
            rest.into(),
            split,
            x.into(),
            rows,
            columns,
            stride,
        ],
    )
}

/// Transposes `n` consecutive matrices of `rows` rows.
pub(crate) fn transpose(gpu: &Gpu, x: View<'_>, n: usize, rows: usize) -> Result<DeviceF32> {
    let out = gpu.alloc(x.len)?;
    let sizes = sizes([n, rows, x.len / n / rows]);
    gpu.launch(
        ROWS,
        "transpose",
        each(x.len),
        &[&[(&out).into(), x.into()], sizes.as_slice()].concat(),
    )?;
    Ok(out)
}

/// Source rows grouped by destination row.
pub(crate) struct Groups {
    /// Source rows sorted stably by destination; then, at the first source of each group, the
    /// group's size, else zero.
    words: DeviceBuffer<u32>,
}

impl Groups {
    /// Groups the keys on the GPU; `copy` holds the same keys on the host.
    pub(crate) fn new(
        gpu: &Gpu,
        keys: Words<'_>,
        copy: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Self> {
        let n = copy.len();
        if n > COUNTED {
            return Ok(Self {
                words: gpu.copy_in(&grouped(copy.collect()))?,
            });
        }
        let words = gpu.alloc_u32(2 * n)?;
        let shape = LaunchConfig {
            grid_dim: (n.div_ceil(32) as u32, 1, 1),
            block_dim: (32, 16, 1),
            shared_mem_bytes: 0,
        };
        gpu.launch(
            ROWS,
            "group",
            shape,
            &[(&words).into(), keys.into(), (n as u32).into()],
        )?;
        Ok(Self { words })
    }
}

/// Above this number of keys, sorting on the CPU is faster than the quadratic kernel.
const COUNTED: usize = 1 << 14;

/// Result of the kernel `group`, computed on the CPU.
fn grouped(keys: Vec<u32>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    order.sort_by_key(|&i| keys[i as usize]);
    let groups = order.chunk_by(|&a, &b| keys[a as usize] == keys[b as usize]);
    let (mut counts, mut first) = (vec![0; keys.len()], 0);
    for group in groups {
        counts[first] = group.len() as u32;
        first += group.len();
    }
    [order, counts].concat()
}

/// Rows to be added to destination rows.
pub(crate) struct Added<'a> {
    /// Destination row of each source row.
    pub(crate) to: Words<'a>,
    /// Weights; 1 if absent.
    pub(crate) weights: Option<Words<'a>>,
    pub(crate) groups: &'a Groups,
    pub(crate) n: usize,
}

impl Added<'_> {
    /// Adds the rows of x to y.
    pub(crate) fn add(&self, gpu: &Gpu, y: View<'_>, x: View<'_>, width: usize) -> Result<()> {
        let grid = (self.n as u32, width.div_ceil(32) as u32, 1);
        let shape = LaunchConfig {
            grid_dim: grid,
            block_dim: (32, 8, 1),
            shared_mem_bytes: 0,
        };
        let words = [
            self.to.into(),
            self.weights.into(),
            (&self.groups.words).into(),
        ];
        let [n, width] = sizes([self.n, width]);
        gpu.launch(
            ROWS,
            "add_rows",
            shape,
            &[[y.into(), x.into()].as_slice(), &words, &[n, width]].concat(),
        )
    }
}
