//! Errors of run directories, training and inference.

use std::path::{Path, PathBuf};

/// The result of an operation on a run.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed training, evaluation or recommendation, or an unreadable run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A prepared dataset could not be read.
    #[error(transparent)]
    Data(#[from] prl_dataset::Error),
    /// A storage operation failed.
    #[error(transparent)]
    Fs(#[from] prl_fs::Error),
    /// The model could not be built, trained or evaluated.
    #[error(transparent)]
    Model(#[from] prl_model::Error),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// Metrics could not be computed.
    #[error(transparent)]
    Eval(#[from] prl_eval::Error),
    /// A score of a baseline is NaN.
    #[error(transparent)]
    NanScore(#[from] prl_eval::NanScore),
    /// The scores of a recommender cannot be tilted.
    #[error("tilt: {0}")]
    NoTilt(#[from] crate::recommender::NoTilt),
    /// A request that the run cannot answer.
    #[error("invalid request: {0}")]
    InvalidRequest(#[from] crate::request::InvalidRequest),
    /// A receiver of an evaluation's cases failed.
    #[error(transparent)]
    Sink(Box<dyn std::error::Error + Send + Sync>),
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Runs cannot be blended.
    #[error("blend: {0}")]
    Blend(String),
    /// A setting is invalid.
    #[error("configuration: {0}")]
    Config(String),
    /// A run directory is missing, incomplete or damaged.
    #[error("{}: {what}", path.display())]
    Run {
        /// The file or directory.
        path: PathBuf,
        /// The problem and its remedy.
        what: String,
    },
    /// A training needs more memory than the process can have.
    #[error("too little memory: {what} need at least {:.1} GB, and this process can have {:.1} GB; lower --dim, raise the item filter of `prl prepare`, or use a larger machine", *needed as f64 / 1e9, *limit as f64 / 1e9)]
    Memory {
        /// Bytes that are needed at least.
        needed: u64,
        /// Bytes that the process can have.
        limit: u64,
        /// What needs them.
        what: String,
    },
    /// A split of the dataset has no examples.
    #[error("the {split} split of {} holds no event; {}", path.display(), other_split(split))]
    EmptySplit {
        /// The dataset.
        path: PathBuf,
        /// The split's name.
        split: &'static str,
    },
    /// A directory holds no dataset.
    #[error("{}: {}", path.display(), no_dataset(expected.as_deref()))]
    NoDataset {
        /// The directory.
        path: PathBuf,
        /// The hash in the run, if it has one already.
        expected: Option<String>,
    },
    /// The dataset is not the one that the run was trained on.
    #[error("{} is dataset {found}, but the run was trained on {expected}; name the right one with --data, or evaluate on another log with --other-log", path.display())]
    OtherDataset {
        /// The dataset that was opened.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash in the run.
        expected: String,
    },
}

/// Remedy of an empty split.
fn other_split(split: &str) -> &'static str {
    if split == prl_dataset::Split::Train.name() {
        "prepare more data, or a larger training split"
    } else {
        "name another --split, or prepare the log with a share for this one"
    }
}

/// Cause and remedy where no dataset is.
fn no_dataset(expected: Option<&str>) -> String {
    match expected {
        Some(hash) => format!(
            "dataset {hash}, on which the run was trained, is not here; name its directory with --data"
        ),
        None => {
            "no prepared dataset here (manifest.json is missing); name one with --data, or make \
                 one with `prl prepare --out`"
                .into()
        }
    }
}

impl Error {
    /// Adds the hash of the run's dataset, if it has one, to the error of a directory without a
    /// dataset.
    pub fn of_dataset(error: prl_dataset::Error, expected: Option<&str>) -> Error {
        match error {
            prl_dataset::Error::Missing { path } => Error::NoDataset {
                path,
                expected: expected.map(str::to_owned),
            },
            other => Error::Data(other),
        }
    }

    /// Adds the path to an error of the operating system.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }

    /// A problem of a run's file or directory.
    pub fn run(path: &Path, what: impl Into<String>) -> Error {
        Error::Run {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    /// Turns non-finite scores into the divergence of a training at `step`; other errors are
    /// returned unchanged.
    pub fn at_step(self, step: u64, during: &str) -> Error {
        match self {
            Error::Model(e) => Error::Model(e.at_step(step, during)),
            other => other,
        }
    }
}
