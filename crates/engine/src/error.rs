//! Why a question was not answered.

use std::time::Duration;

/// The result of asking the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// A question that was not answered, or a run that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As many questions wait as may.
    #[error("{waiting} questions are waiting already; ask again in a moment")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// The question's time ran out before its turn came.
    #[error("no answer within {:.3} s; ask again, or ask less at once", timeout.as_secs_f64())]
    Late {
        /// The time it had.
        timeout: Duration,
    },
    /// A kept session that holds as many events as it may.
    #[error(
        "the session would hold {events} events, {most} are the most; delete it and begin anew"
    )]
    LongSession {
        /// With those that were to be added.
        events: usize,
        /// The limit.
        most: usize,
    },
    /// The engine has stopped, or the thread that infers was lost with this question.
    #[error("the engine gave no answer; it is stopping, or failed on this question")]
    Stopped,
    /// The run or the model failed.
    #[error(transparent)]
    Model(#[from] prl_runs::Error),
    /// The system gave no thread.
    #[error("failed to start the thread that infers: {0}")]
    Thread(std::io::Error),
}
