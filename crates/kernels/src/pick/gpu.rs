//! On a GPU: a thread an element; rows that are added together are grouped before they get there.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, LaunchConfig};

use super::{AddShares, Put, Rows, Scale, Take};
use crate::gpu::op::OnGpu;
use crate::gpu::{Gpu, Numbers, ROWS, View, each};

/// The gradient where y is above zero.
pub(crate) fn gate(gpu: &Gpu, y: View<'_>, grad: View<'_>) -> Result<Numbers> {
    let out = gpu.room(y.len)?;
    gpu.launch(ROWS, "gate", each(y.len), &[(&out).into(), y.into(), grad.into(), (y.len as u32).into()])?;
    Ok(out)
}

/// The sums of the first columns of x, whose rows lie `stride` apart, as many as `out` has room for.
pub(crate) fn column_sums(gpu: &Gpu, x: View<'_>, stride: usize, out: View<'_>) -> Result<()> {
    let rows = x.len.div_ceil(stride);
    // As wide as memory is read at once where there are columns for every multiprocessor so, else narrower and higher.
    let width = if out.len < 4096 { 8 } else { 32 };
    let height = rows.div_ceil(8).next_power_of_two().min(1024 / width);
    let grid = (out.len.div_ceil(width) as u32, 1, 1);
    let shape = LaunchConfig { grid_dim: grid, block_dim: (width as u32, height as u32, 1), shared_mem_bytes: 0 };
    let [rows, columns, stride] = [rows, out.len, stride].map(|n| (n as u32).into());
    gpu.launch(ROWS, "column_sums", shape, &[out.into(), x.into(), rows, columns, stride])
}

/// The transposes of n matrices of so many rows, one after the other.
pub(crate) fn transpose(gpu: &Gpu, x: View<'_>, n: usize, rows: usize) -> Result<Numbers> {
    let out = gpu.room(x.len)?;
    let sizes = [n, rows, x.len / n / rows].map(|n| (n as u32).into());
    gpu.launch(ROWS, "transpose", each(x.len), &[&[(&out).into(), x.into()], sizes.as_slice()].concat())?;
    Ok(out)
}

/// Weighted rows to be added to others, each with the row it goes to, the row it comes from, and its weight.
pub(crate) struct Plan {
    /// As the kernel `add_rows` reads it.
    words: Vec<u32>,
    groups: usize,
    n: usize,
}

impl Plan {
    /// Those of a row are added in the order they stand.
    pub(crate) fn new(shares: impl Iterator<Item = (u32, u32, f32)>) -> Self {
        let mut shares: Vec<(u32, u32, f32)> = shares.collect();
        shares.sort_by_key(|share| share.0);
        let groups: Vec<&[(u32, u32, f32)]> = shares.chunk_by(|a, b| a.0 == b.0).collect();
        let mut words: Vec<u32> = groups.iter().map(|group| group[0].0).collect();
        let ends = groups.iter().scan(0, |end, group| {
            *end += group.len() as u32;
            Some(*end)
        });
        words.extend(std::iter::once(0).chain(ends));
        words.extend(shares.iter().map(|share| share.1));
        words.extend(shares.iter().map(|share| share.2.to_bits()));
        Self { groups: groups.len(), n: shares.len(), words }
    }

    /// Adds the rows of x to those of y.
    pub(crate) fn add(&self, gpu: &Gpu, y: &Numbers, x: View<'_>, width: usize) -> Result<()> {
        let plan = gpu.copy_in(&self.words)?;
        let grid = (self.groups as u32, width.div_ceil(32) as u32, 1);
        let shape = LaunchConfig { grid_dim: grid, block_dim: (32, 32, 1), shared_mem_bytes: 0 };
        let [groups, n, width] = [self.groups, self.n, width].map(|size| (size as u32).into());
        gpu.launch(ROWS, "add_rows", shape, &[y.into(), x.into(), (&plan).into(), groups, n, width])
    }
}

/// Indices of rows on the GPU.
type Indices = CudaSlice<u32>;

impl Rows {
    fn take_on(&self, gpu: &Gpu, x: View<'_>, rows: &Indices) -> Result<Numbers> {
        let out = gpu.room(self.rows.len() * self.width)?;
        self.launch(gpu, "take", &out, x, rows)?;
        Ok(out)
    }

    fn put_on(&self, gpu: &Gpu, x: View<'_>, rows: &Indices) -> Result<Numbers> {
        let out = gpu.zeros(self.n * self.width)?;
        self.launch(gpu, "put", &out, x, rows)?;
        Ok(out)
    }

    fn launch(&self, gpu: &Gpu, name: &str, out: &Numbers, x: View<'_>, rows: &Indices) -> Result<()> {
        let n = self.rows.len();
        let args = [out.into(), x.into(), rows.into(), (n as u32).into(), (self.width as u32).into()];
        gpu.launch(ROWS, name, each(n * self.width), &args)
    }
}

impl OnGpu<1> for Take {
    type Kept = Indices;

    fn there(&self, gpu: &Gpu, [x]: [View<'_>; 1]) -> Result<(Numbers, Indices)> {
        let rows = gpu.copy_in(&self.0.rows)?;
        Ok((self.0.take_on(gpu, x, &rows)?, rows))
    }

    fn back(&self, gpu: &Gpu, _: [View<'_>; 1], rows: &Indices, _: View<'_>, grad: View<'_>) -> Result<[Numbers; 1]> {
        Ok([self.0.put_on(gpu, grad, rows)?])
    }
}

impl OnGpu<1> for Put {
    type Kept = Indices;

    fn there(&self, gpu: &Gpu, [x]: [View<'_>; 1]) -> Result<(Numbers, Indices)> {
        let rows = gpu.copy_in(&self.0.rows)?;
        Ok((self.0.put_on(gpu, x, &rows)?, rows))
    }

    fn back(&self, gpu: &Gpu, _: [View<'_>; 1], rows: &Indices, _: View<'_>, grad: View<'_>) -> Result<[Numbers; 1]> {
        Ok([self.0.take_on(gpu, grad, rows)?])
    }
}

impl OnGpu<2> for AddShares {
    type Kept = ();

    fn there(&self, gpu: &Gpu, [x, table]: [View<'_>; 2]) -> Result<(Numbers, ())> {
        let y = gpu.copy_of(x)?;
        let plan = Plan::new(self.shares.iter().map(|s| (s.to, s.of, s.weight as f32)));
        plan.add(gpu, &y, table, self.width)?;
        Ok((y, ()))
    }

    fn back(&self, gpu: &Gpu, [_, table]: [View<'_>; 2], (): &(), _: View<'_>, grad: View<'_>) -> Result<[Numbers; 2]> {
        let dtable = gpu.zeros(table.len)?;
        let plan = Plan::new(self.shares.iter().map(|s| (s.of, s.to, s.weight as f32)));
        plan.add(gpu, &dtable, grad, self.width)?;
        Ok([gpu.copy_of(grad)?, dtable])
    }
}

impl OnGpu<1> for Scale {
    /// The factors.
    type Kept = Numbers;

    fn there(&self, gpu: &Gpu, [x]: [View<'_>; 1]) -> Result<(Numbers, Numbers)> {
        let factors = gpu.copy_in(&self.0)?;
        Ok((scaled(gpu, x, &factors)?, factors))
    }

    fn back(&self, gpu: &Gpu, _: [View<'_>; 1], kept: &Numbers, _: View<'_>, grad: View<'_>) -> Result<[Numbers; 1]> {
        Ok([scaled(gpu, grad, kept)?])
    }
}

fn scaled(gpu: &Gpu, x: View<'_>, factors: &Numbers) -> Result<Numbers> {
    let out = gpu.room(x.len)?;
    gpu.launch(ROWS, "scale", each(x.len), &[(&out).into(), x.into(), factors.into(), (x.len as u32).into()])?;
    Ok(out)
}
