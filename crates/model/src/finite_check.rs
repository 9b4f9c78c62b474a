//! What a step on a GPU is asked once it is over, so that nothing waits for the GPU before.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use crate::device::is_on_gpu;

/// Where the kernels of a GPU run, the loss of a step, and whether that and the gradients are finite: updates see to it there
/// that nothing moves otherwise. Elsewhere there is nothing to watch, as everything is known at once.
pub(crate) struct FiniteCheck {
    #[cfg(feature = "cuda")]
    pub(crate) on_gpu: Option<prl_kernels::cuda::FiniteCheck>,
}

/// What was seen.
pub(crate) struct StepStatus {
    /// The sum of the cross-entropies.
    pub(crate) loss: f64,
    /// Whether it and the gradients are finite.
    pub(crate) is_finite: bool,
}

impl FiniteCheck {
    /// Over a step of a batch of hidden vectors `[B, width]`.
    pub(crate) fn over(hidden: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if is_on_gpu(hidden) {
            return Ok(Self {
                on_gpu: Some(prl_kernels::cuda::FiniteCheck::new(
                    hidden.device(),
                    hidden.dim(0)?,
                )?),
            });
        }
        _ = hidden;
        Ok(Self::none())
    }

    /// None.
    pub(crate) fn none() -> Self {
        Self {
            #[cfg(feature = "cuda")]
            on_gpu: None,
        }
    }

    /// Looks at gradients; whether it does, and [`read`](Self::read) will tell.
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

    /// Waits for the step; nothing if there was nothing to watch.
    pub(crate) fn read(&self) -> Result<Option<StepStatus>> {
        #[cfg(feature = "cuda")]
        if let Some(watch) = &self.on_gpu {
            let (loss, is_finite) = watch.read()?;
            return Ok(Some(StepStatus { loss, is_finite }));
        }
        Ok(None)
    }
}
