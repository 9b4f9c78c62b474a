//! Losses and finite check accumulated on the GPU and copied to the host once, at the end of a
//! step.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{Device, Result, Tensor, bail};

use super::{DeviceF32, Gpu, MultiTensorLaunch, View, Words, address_of, view};

/// Losses of a batch and a flag that is set if a loss or a tracked gradient is NaN or infinite.
/// Update kernels read the flag and change nothing if it is set.
pub struct FiniteCheck {
    /// The flag, then one loss per example.
    words: DeviceF32,
    device: CudaDevice,
}

impl FiniteCheck {
    /// Starts a check for `batch` losses, initially zero.
    ///
    /// # Errors
    /// If the device is not a GPU, or fails.
    pub fn new(device: &Device, batch: usize) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        let words = Gpu(device.clone()).zeros(1 + batch)?;
        Ok(Self { words, device })
    }

    /// The flag.
    pub(crate) fn word(&self) -> Words<'_> {
        view(&self.words).cast()
    }

    /// Output range of the losses, one per example.
    pub(crate) fn losses(&self, batch: usize) -> Result<View<'_>> {
        let losses = view(&self.words).from(1);
        if losses.len != batch {
            bail!(
                "finite check has room for {} losses; the batch has {batch}",
                losses.len
            );
        }
        Ok(losses)
    }

    /// Sets the flag if an element of contiguous `f32` tensors of this GPU is not finite. Does not
    /// wait.
    ///
    /// # Errors
    /// If a tensor has another type or device, or the GPU fails.
    pub fn track(&self, tensors: &[&Tensor]) -> Result<()> {
        let (mut addresses, mut lengths) = (Vec::new(), Vec::new());
        for tensor in tensors {
            addresses.push([address_of(tensor)?]);
            lengths.push(tensor.elem_count());
        }
        MultiTensorLaunch::new(addresses.into_iter(), &lengths).launch(
            &Gpu(self.device.clone()),
            "find_non_finite",
            &[self.word().into()],
        )
    }

    /// Waits for the GPU; returns the sum of the losses and whether all losses and tracked tensors
    /// are finite.
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
