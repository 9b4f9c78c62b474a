//! One launch over several tensors (`multi_tensor_apply` of apex and PyTorch).

use candle_core::Result;

use super::{ADAM, Arg, Gpu, THREADS, blocks};

/// Assignment of chunks of several tensors to the blocks of one launch.
pub(crate) struct MultiTensorLaunch {
    /// Per tensor: first block, number of elements, addresses.
    words: Vec<u64>,
    /// All addresses among the words.
    addresses: Vec<u64>,
    tensors: u32,
    blocks: usize,
}

impl MultiTensorLaunch {
    const ELEMENTS: usize = 4 * THREADS as usize;

    /// Tensors of the given lengths, each with the addresses of its N arrays.
    pub(crate) fn new<const N: usize>(
        tensors: impl Iterator<Item = [u64; N]>,
        lengths: &[usize],
    ) -> Self {
        let (mut words, mut all, mut blocks) = (Vec::new(), Vec::new(), 0);
        for (addresses, &n) in tensors.zip(lengths).filter(|(_, n)| **n > 0) {
            words.extend([blocks as u64, n as u64]);
            words.extend(addresses);
            all.extend(addresses);
            blocks += n.div_ceil(Self::ELEMENTS);
        }
        Self {
            tensors: (words.len() / (N + 2)) as u32,
            words,
            addresses: all,
            blocks,
        }
    }

    /// Launches a kernel of the module [`ADAM`] with the table, its length and `args`.
    pub(crate) fn launch(&self, gpu: &Gpu, kernel: &'static str, args: &[Arg]) -> Result<()> {
        gpu.check_addresses(self.addresses.iter().copied());
        let table = gpu.copy_in(&self.words)?;
        let args = [&[(&table).into(), self.tensors.into()], args].concat();
        gpu.launch(ADAM, kernel, blocks(self.blocks, THREADS, 0), &args)
    }
}
