//! Errors of the engine.

use std::time::Duration;

/// Result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed request, or a run that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue is full.
    #[error("queue full: {waiting} requests are waiting; retry in a moment")]
    QueueFull {
        /// Number of queued requests.
        waiting: usize,
    },
    /// The request's deadline passed while it was queued.
    #[error(
        "request timed out: no answer within {:.3} s; retry, or send smaller batches",
        timeout.as_secs_f64()
    )]
    Timeout {
        /// Time limit of a request.
        timeout: Duration,
    },
    /// The model cannot answer the request.
    #[error(transparent)]
    InvalidRequest(#[from] prl_runs::InvalidRequest),
    /// The changes of the items' properties cannot be read.
    #[error("changes of the items: {0}")]
    Changes(#[from] prl_items::ChangeStoreError),
    /// The engine is shutting down, or inference panicked on this request's batch.
    #[error("no answer: the engine is stopping, or inference failed on this request")]
    Stopped,
    /// The run cannot be read or the model failed.
    #[error(transparent)]
    Model(#[from] prl_runs::Error),
    /// The inference thread cannot be started.
    #[error("failed to start the inference thread: {0}")]
    Thread(std::io::Error),
}
