//! Several tensors in one launch.

use candle_core::Result;

use super::{ADAM, Arg, Gpu, THREADS, blocks};

/// Tensors dealt to the blocks of a launch, a block for so many elements of one of them.
pub(crate) struct MultiTensorLaunch {
    /// Of each tensor: its first block, its elements, and where they lie.
    words: Vec<u64>,
    tensors: u32,
    blocks: usize,
}

impl MultiTensorLaunch {
    const ELEMENTS: usize = 4 * THREADS as usize;

    /// Of tensors of these lengths, each with the addresses of what belongs to it.
    pub(crate) fn new<const N: usize>(
        tensors: impl Iterator<Item = [u64; N]>,
        lengths: &[usize],
    ) -> Self {
        let (mut words, mut blocks) = (Vec::new(), 0);
        for (addresses, &n) in tensors.zip(lengths).filter(|(_, n)| **n > 0) {
            words.extend([blocks as u64, n as u64]);
            words.extend(addresses);
            blocks += n.div_ceil(Self::ELEMENTS);
        }
        Self {
            tensors: (words.len() / (N + 2)) as u32,
            words,
            blocks,
        }
    }

    /// Runs a kernel of the module [`ADAM`] on them, which takes the table, its length, and these.
    pub(crate) fn launch(&self, gpu: &Gpu, kernel: &'static str, args: &[Arg]) -> Result<()> {
        let table = gpu.copy_in(&self.words)?;
        let args = [&[(&table).into(), self.tensors.into()], args].concat();
        gpu.launch(ADAM, kernel, blocks(self.blocks, THREADS, 0), &args)
    }
}
