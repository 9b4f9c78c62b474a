//! Time spent in the parts of a training step.

use std::time::{Duration, Instant};

use candle_core::Device;

/// Where the time of training steps went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes {
    /// Whether a GPU is waited for at the end of each part: otherwise its time shows where a step waits anyway.
    pub is_exact: bool,
    /// Embedding rows, encoder and prompt block, forward.
    pub encoder: Duration,
    /// The output layers: losses, gradients and their Adam steps.
    pub head: Duration,
    /// Back through prompt block and encoder.
    pub backward: Duration,
    /// Adam on the middle and the embedding.
    pub adam: Duration,
}

/// Says how long it is since it was asked last.
pub(crate) struct Clock {
    last: Instant,
    /// What is waited for.
    device: Option<Device>,
}

impl Clock {
    /// Begins now; laps wait for the device if there is one.
    pub(crate) fn start(device: Option<Device>) -> Self {
        Self {
            last: Instant::now(),
            device,
        }
    }

    pub(crate) fn lap(&mut self, into: &mut Duration) -> candle_core::Result<()> {
        if let Some(device) = &self.device {
            device.synchronize()?;
        }
        *into += std::mem::replace(&mut self.last, Instant::now()).elapsed();
        Ok(())
    }
}
