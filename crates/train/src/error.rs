//! What can go wrong while training or asking a model, and what to do about it.

use std::path::{Path, PathBuf};

/// The result of training or asking.
pub type Result<T> = std::result::Result<T, Error>;

/// A run that could not be trained, read or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A prepared dataset could not be read.
    #[error(transparent)]
    Data(#[from] prl_dataset::Error),
    /// A storage operation failed.
    #[error(transparent)]
    Fs(#[from] prl_fs::Error),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// Metrics could not be computed.
    #[error(transparent)]
    Eval(#[from] prl_eval::Error),
    /// Scores that are no numbers.
    #[error("{0}; the model has diverged: train it again with a smaller --lr")]
    NotFinite(#[from] prl_kernels::rank::NotFinite),
    /// Scores of a baseline that are no numbers.
    #[error(transparent)]
    NanScore(#[from] prl_eval::NanScore),
    /// A batch whose parts do not fit.
    #[error(transparent)]
    Uneven(#[from] prl_baselines::LengthMismatch),
    /// A number of training is NaN or infinite.
    #[error(
        "training has diverged at step {step}: {cause}; the last good checkpoint is kept, try a smaller --lr"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// Which number.
        cause: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting that means nothing.
    #[error("configuration: {0}")]
    Config(String),
    /// A run directory that is not there, or not whole.
    #[error("{}: {what}", path.display())]
    Run {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and the mend.
        what: String,
    },
    /// Another rank of this training failed.
    #[error("rank {rank} failed: {what}")]
    Rank {
        /// Which one.
        rank: usize,
        /// What it said.
        what: String,
    },
    /// A dataset that has nothing to learn from, or to be judged by.
    #[error("the {split} split of {} holds no event; prepare more data or another split", path.display())]
    EmptySplit {
        /// The dataset.
        path: PathBuf,
        /// Which split.
        split: &'static str,
    },
    /// Another dataset than the one the run was trained on.
    #[error("{} is dataset {found}, but the run was trained on {expected}; name the right one with --data", path.display())]
    OtherDataset {
        /// The dataset at hand.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash in the run.
        expected: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }

    /// Scores that are no numbers, as the end of a training at a step; any other error as it is.
    pub(crate) fn at(self, step: u64, during: &str) -> Error {
        match self {
            Error::NotFinite(e) => Error::Diverged {
                step,
                cause: format!("{during}, {e}"),
            },
            other => other,
        }
    }

    pub(crate) fn run(path: &Path, what: impl Into<String>) -> Error {
        Error::Run {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}
