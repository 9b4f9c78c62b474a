//! Differentiable fused operations: their candle wrapper and a tape for the backward pass.

mod apply;
mod backward_from;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod op;
mod tape;

pub use tape::{Gradients, Tape, record};
