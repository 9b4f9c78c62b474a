//! Loss and finite check of a training step on a GPU, copied to the host once, at the step's end.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use prl_nn::Backend;

/// Loss of a step and whether it and the gradients are finite, accumulated on the GPU.
///
/// Update kernels read the flag there and change nothing once a value is not finite. On other
/// backends there is nothing to accumulate, since every value is on the host at once.
pub(crate) struct FiniteCheck {
    #[cfg(feature = "cuda")]
    pub(crate) on_gpu: Option<prl_kernels::cuda::FiniteCheck>,
}

/// Result of a [`FiniteCheck`].
pub(crate) struct StepStatus {
    /// Weighted cross-entropy of the batch.
    pub(crate) loss: f64,
    /// Weighted temporal-difference loss, 0 without Q-learning.
    pub(crate) td_loss: f64,
    /// Whether the losses and the gradients are finite.
    pub(crate) is_finite: bool,
    /// The first example with an action value that is not finite.
    pub(crate) bad_row: Option<usize>,
}

impl FiniteCheck {
    /// Starts the check of a step on hidden vectors `[B, width]`, with Q-learning or without.
    pub(crate) fn begin(hidden: &Tensor, is_double: bool) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if Backend::new(hidden.device(), hidden.dtype()) == Backend::Cuda {
            let (device, batch) = (hidden.device(), hidden.dim(0)?);
            let watch = if is_double {
                prl_kernels::cuda::FiniteCheck::with_td(device, batch)?
            } else {
                prl_kernels::cuda::FiniteCheck::new(device, batch)?
            };
            return Ok(Self {
                on_gpu: Some(watch),
            });
        }
        _ = (hidden, is_double);
        Ok(Self::none())
    }

    /// The check of a step on another backend: nothing is accumulated.
    pub(crate) fn none() -> Self {
        Self {
            #[cfg(feature = "cuda")]
            on_gpu: None,
        }
    }

    /// Adds gradients to the check; `false` if the caller must check them itself.
    pub(crate) fn track(&self, tensors: &[&Tensor]) -> Result<bool> {
        #[cfg(feature = "cuda")]
        if let Some(watch) = &self.on_gpu {
            let tensors = tensors
                .iter()
                .map(|tensor| tensor.contiguous())
                .collect::<Result<Vec<_>>>()?;
            watch.track(&tensors.iter().collect::<Vec<_>>())?;
            return Ok(true);
        }
        _ = tensors;
        Ok(false)
    }

    /// Waits for the step's kernels; `None` if nothing was accumulated.
    pub(crate) fn read(&self) -> Result<Option<StepStatus>> {
        #[cfg(feature = "cuda")]
        if let Some(watch) = &self.on_gpu {
            let status = watch.read()?;
            return Ok(Some(StepStatus {
                loss: status.loss,
                td_loss: status.td_loss,
                is_finite: status.is_finite,
                bad_row: status.bad_row,
            }));
        }
        Ok(None)
    }
}
