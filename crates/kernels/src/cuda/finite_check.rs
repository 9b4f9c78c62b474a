//! What a step is asked once it is over, so that nothing has to wait for the GPU before.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{Device, Result, Tensor, bail};

use super::{DeviceF32, Gpu, MultiTensorLaunch, View, Words, address_of, view};

/// The losses of a batch on a GPU, and whether one of them, or of the gradients that it was shown, is NaN or infinite. Updates
/// look here before they change anything.
pub struct FiniteCheck {
    /// A word that is not zero if so, then the losses.
    words: DeviceF32,
    device: CudaDevice,
}

impl FiniteCheck {
    /// Over a batch of so many rows, whose losses are zero so far.
    ///
    /// # Errors
    /// If the device is no GPU, or fails.
    pub fn new(device: &Device, batch: usize) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        let words = Gpu(device.clone()).zeros(1 + batch)?;
        Ok(Self { words, device })
    }

    /// The word.
    pub(crate) fn word(&self) -> Words<'_> {
        view(&self.words).cast()
    }

    /// Where the losses are to be, one a row of the batch.
    pub(crate) fn losses(&self, batch: usize) -> Result<View<'_>> {
        let losses = view(&self.words).from(1);
        if losses.len != batch {
            bail!("a watch over {} losses in the place of {batch}", losses.len);
        }
        Ok(losses)
    }

    /// Looks at contiguous `f32` tensors of the same GPU, without a wait.
    ///
    /// # Errors
    /// If a tensor is another, or the GPU fails.
    pub fn track(&self, tensors: &[&Tensor]) -> Result<()> {
        let addresses = tensors
            .iter()
            .map(|tensor| address_of(tensor))
            .collect::<Result<Vec<_>>>()?;
        let lengths: Vec<usize> = tensors.iter().map(|tensor| tensor.elem_count()).collect();
        let deal = MultiTensorLaunch::new(addresses.into_iter().map(|address| [address]), &lengths);
        deal.launch(
            &Gpu(self.device.clone()),
            "find_non_finite",
            &[self.word().into()],
        )
    }

    /// The sum of the losses, and whether they and all that it looked at are finite: waits for all that comes before.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn read(&self) -> Result<(f64, bool)> {
        let words = Gpu(self.device.clone()).copy_out(&self.words)?;
        let (word, losses) = words
            .split_first()
            .map_or((0, &[][..]), |(word, losses)| (word.to_bits(), losses));
        Ok((losses.iter().copied().map(f64::from).sum(), word == 0))
    }
}
