//! On a GPU: the CPU's generator, a block of its numbers a thread.

use candle_core::Result;

use super::{Dropout, Mask};
use crate::gpu::op::OnGpu;
use crate::gpu::{Gpu, MASK, Numbers, THREADS, View, blocks, view};

/// Elements of a block of threads, and of a block of the generator.
const ELEMENTS: usize = 2048;
const DRAWS: usize = 32;

impl Mask {
    /// The factors.
    pub(crate) fn alone(&self, gpu: &Gpu) -> Result<Numbers> {
        let out = gpu.room(self.n)?;
        self.times(gpu, None, view(&out))?;
        Ok(out)
    }

    /// Sets `out` to the factors, times x if it is given.
    fn times(&self, gpu: &Gpu, x: Option<View<'_>>, out: View<'_>) -> Result<()> {
        let key = self.rng.get_seed();
        let key = key.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]).into());
        let stream = self.rng.get_stream();
        let words = [self.n as u32, self.before as u32, stream as u32, (stream >> 32) as u32, self.bar];
        let args = [out.into(), x.into()].into_iter().chain(words.map(Into::into));
        let args: Vec<_> = args.chain([self.keep.into()]).chain(key).collect();
        let n = (self.before % DRAWS + self.n).div_ceil(ELEMENTS);
        gpu.launch(MASK, "mask", blocks(n, THREADS, 0), &args)
    }
}

impl OnGpu<1> for Dropout {
    type Kept = ();

    fn there(&self, gpu: &Gpu, [x]: [View<'_>; 1], y: View<'_>) -> Result<()> {
        self.0.times(gpu, Some(x), y)
    }

    fn back(&self, gpu: &Gpu, _: [View<'_>; 1], (): &(), _: View<'_>, grad: View<'_>) -> Result<Vec<Numbers>> {
        let dx = gpu.room(grad.len)?;
        self.0.times(gpu, Some(grad), view(&dx))?;
        Ok(vec![dx])
    }
}
