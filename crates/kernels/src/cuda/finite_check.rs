//! Losses and finite check accumulated on the GPU and copied to the host once, at the end of a
//! step.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{Device, Result, Tensor, bail};

use super::{DeviceF32, Gpu, MultiTensorLaunch, View, Words, address_of, view};

/// Losses of a batch and a flag that is set if a loss or a tracked gradient is NaN or infinite.
/// Update kernels read the flag and change nothing if it is set.
pub struct FiniteCheck {
    /// The flag, then one loss per example; with Q-learning, from the next even word on, the bits
    /// of a temporal-difference loss per example in double precision, then a flag per example.
    words: DeviceF32,
    batch: usize,
    has_td: bool,
    device: CudaDevice,
}

/// Result of a [`FiniteCheck`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FiniteStatus {
    /// Sum of the losses.
    pub loss: f64,
    /// Sum of the temporal-difference losses.
    pub td_loss: f64,
    /// Whether all losses and tracked tensors are finite.
    pub is_finite: bool,
    /// The first example with an action value that is not finite.
    pub bad_row: Option<usize>,
}

/// Number of words before the temporal-difference losses.
fn before_td(batch: usize) -> usize {
    (1 + batch).next_multiple_of(2)
}

impl FiniteCheck {
    /// Starts a check for `batch` losses, initially zero.
    ///
    /// # Errors
    /// If the device is not a GPU, or fails.
    pub fn new(device: &Device, batch: usize) -> Result<Self> {
        Self::of(device, batch, false)
    }

    /// Starts a check for `batch` losses and as many temporal-difference losses, initially zero.
    ///
    /// # Errors
    /// If the device is not a GPU, or fails.
    pub fn with_td(device: &Device, batch: usize) -> Result<Self> {
        Self::of(device, batch, true)
    }

    fn of(device: &Device, batch: usize, has_td: bool) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        let n = if has_td {
            before_td(batch) + 3 * batch
        } else {
            1 + batch
        };
        Ok(Self {
            words: Gpu(device.clone()).zeros(n)?,
            batch,
            has_td,
            device,
        })
    }

    /// The flag.
    pub(crate) fn word(&self) -> Words<'_> {
        view(&self.words).cast()
    }

    /// Output range of the losses, one per example.
    pub(crate) fn losses(&self, batch: usize) -> Result<View<'_>> {
        if self.batch != batch {
            bail!(
                "finite check has room for {} losses; the batch has {batch}",
                self.batch
            );
        }
        Ok(view(&self.words).from(1).first(batch))
    }

    /// Output ranges of the temporal-difference losses, of two words each, and of the flags of
    /// their examples.
    pub(crate) fn td_losses(&self, batch: usize) -> Result<(View<'_>, Words<'_>)> {
        if !self.has_td || self.batch != batch {
            bail!("finite check has no room for {batch} temporal-difference losses");
        }
        let losses = view(&self.words).from(before_td(batch));
        Ok((losses.first(2 * batch), losses.from(2 * batch).cast()))
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

    /// Waits for the GPU; returns the sums of the losses and whether all losses and tracked tensors
    /// are finite.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn read(&self) -> Result<FiniteStatus> {
        let words = Gpu(self.device.clone()).copy_out(&self.words)?;
        let mut status = FiniteStatus {
            loss: words[1..=self.batch].iter().copied().map(f64::from).sum(),
            td_loss: 0.0,
            is_finite: words[0].to_bits() == 0,
            bad_row: None,
        };
        if self.has_td {
            let (losses, flags) = words[before_td(self.batch)..].split_at(2 * self.batch);
            for bits in losses.as_chunks::<2>().0 {
                let [low, high] = bits.map(|word| u64::from(word.to_bits()));
                status.td_loss += f64::from_bits(low | high << 32);
            }
            status.bad_row = flags.iter().position(|flag| flag.to_bits() != 0);
        }
        Ok(status)
    }
}
