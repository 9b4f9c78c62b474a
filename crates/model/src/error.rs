//! Errors of a model's construction, training step and inference.

/// The result of an operation of a model.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed construction, training step or inference of a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A score is NaN or infinite.
    #[error("{0}; the model has diverged: train it again with a smaller --lr")]
    NotFinite(#[from] prl_kernels::ops::rank::NonFiniteScore),
    /// The parts of a batch differ in length.
    #[error(transparent)]
    Uneven(#[from] prl_baselines::LengthMismatch),
    /// A loss, gradient, weight or moment is NaN or infinite.
    #[error(
        "training has diverged at step {step}: {cause}; the last good checkpoint is kept, try a smaller --lr"
    )]
    Diverged {
        /// The training step.
        step: u64,
        /// The value that is not finite.
        cause: String,
    },
    /// A setting is invalid.
    #[error("configuration: {0}")]
    Config(String),
    /// Another process of the group failed.
    #[error("rank {rank} failed: {what}")]
    Rank {
        /// The rank of that process.
        rank: usize,
        /// Its error message.
        what: String,
    },
}

impl Error {
    /// Turns non-finite scores into the divergence of a training at `step`; other errors are
    /// returned unchanged.
    pub fn at_step(self, step: u64, during: &str) -> Error {
        match self {
            Error::NotFinite(e) => Error::Diverged {
                step,
                cause: format!("{during}, {e}"),
            },
            other => other,
        }
    }
}
