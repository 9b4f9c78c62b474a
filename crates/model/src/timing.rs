//! Time spent in the parts of a training step.

use std::time::{Duration, Instant};

use candle_core::Device;

/// Time spent in each part of one or more training steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes {
    /// Whether the device is synchronized after each part. Without it, the time of a GPU's kernels
    /// is counted in the part that first waits for them.
    pub is_exact: bool,
    /// Embedding lookup, encoder and prompt block, forward pass.
    pub encoder: Duration,
    /// Output layers: losses, gradients and their Adam updates.
    pub head: Duration,
    /// Backward pass of the prompt block and the encoder.
    pub backward: Duration,
    /// Adam updates of the backbone and the item embedding.
    pub adam: Duration,
}

/// Part of a training step.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    SessionEncoder,
    Head,
    Backward,
    Adam,
}

/// Timer of one training step.
pub(crate) struct StepTimer<'a> {
    times: &'a mut StepTimes,
    device: &'a Device,
    last: Instant,
}

impl<'a> StepTimer<'a> {
    /// Starts the first part.
    pub(crate) fn start(times: &'a mut StepTimes, device: &'a Device) -> Self {
        Self {
            times,
            device,
            last: Instant::now(),
        }
    }

    /// Adds the time since the previous call to `part`.
    pub(crate) fn lap(&mut self, part: Part) -> candle_core::Result<()> {
        if self.times.is_exact {
            self.device.synchronize()?;
        }
        let total = match part {
            Part::SessionEncoder => &mut self.times.encoder,
            Part::Head => &mut self.times.head,
            Part::Backward => &mut self.times.backward,
            Part::Adam => &mut self.times.adam,
        };
        *total += self.last.elapsed();
        self.last = Instant::now();
        Ok(())
    }
}
