//! Errors of exports and imports.

use std::path::{Path, PathBuf};

/// The result of an export or import.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed export or import; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A run that has no network of its own.
    #[error(
        "{}: a run of method {method} has no network to export; export the run of an encoder{hint}",
        path.display()
    )]
    NoNetwork {
        /// The run.
        path: PathBuf,
        /// Its method.
        method: &'static str,
        /// Another way to use the run.
        hint: &'static str,
    },
    /// A run that is not finished.
    #[error(
        "{}: the run is not finished (manifest.json is missing); continue it with `prl train --resume`",
        path.display()
    )]
    Unfinished {
        /// The run.
        path: PathBuf,
    },
    /// A network that does not fit into one ONNX file.
    #[error(
        "the weights have {bytes} bytes, and an ONNX file holds less than 2147483648; export them \
         with --format safetensors"
    )]
    TooLarge {
        /// Size of the weights.
        bytes: u64,
    },
    /// The network has no tensor that the format needs.
    #[error("the network has no tensor {name}; update this program to the version of the run")]
    NoTensor {
        /// Its name.
        name: String,
    },
    /// An encoder that the graph has no formulas for.
    #[error("the encoder {name} has no ONNX graph; export its weights with --format safetensors")]
    NoGraph {
        /// Its name.
        name: &'static str,
    },
    /// The directory to write exists.
    #[error("{}: the directory exists and is not an export; name another --to", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// The tensors of a file are not those of the network.
    #[error("{}: not the weights of this network:{}", path.display(), list(problems))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One problem a tensor.
        problems: Vec<String>,
    },
    /// A file of weights, settings, names or metrics cannot be read.
    #[error("{}: {what}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// The problem and its remedy.
        what: String,
    },
    /// A run could not be read or written.
    #[error(transparent)]
    Run(#[from] prl_runs::Error),
    /// A prepared dataset could not be read.
    #[error(transparent)]
    Data(#[from] prl_dataset::Error),
    /// A storage operation failed.
    #[error(transparent)]
    Fs(#[from] prl_fs::Error),
    /// The network could not be made.
    #[error(transparent)]
    Model(#[from] prl_model::Error),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A file could not be written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Most problems that a message lists.
const MAX_LISTED: usize = 20;

/// The problems, one a line.
fn list(problems: &[String]) -> String {
    let mut text = String::new();
    for problem in problems.iter().take(MAX_LISTED) {
        text += "\n  ";
        text += problem;
    }
    if problems.len() > MAX_LISTED {
        text += &format!("\n  and {} more", problems.len() - MAX_LISTED);
    }
    text
}

impl Error {
    /// A problem of an input file.
    pub(crate) fn input(path: &Path, what: impl Into<String>) -> Self {
        Self::Input {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}
