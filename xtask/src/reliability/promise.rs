//! The guarantees, their limits, and the rows of the page.

use serde::{Deserialize, Serialize};

/// A guarantee, in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    Resume,
    #[serde(rename = "whole")]
    Atomic,
    Inputs,
    Limits,
    Formats,
    #[serde(rename = "two-at-once")]
    Locks,
    Supply,
    Numbers,
}

impl Promise {
    /// All promises.
    pub const ALL: [Promise; 8] = [
        Promise::Resume,
        Promise::Atomic,
        Promise::Inputs,
        Promise::Limits,
        Promise::Formats,
        Promise::Locks,
        Promise::Supply,
        Promise::Numbers,
    ];

    /// Title in the page.
    pub fn title(self) -> &'static str {
        match self {
            Promise::Resume => "Resume is exact",
            Promise::Atomic => "Checkpoints are atomic",
            Promise::Inputs => "No input panics",
            Promise::Limits => "Memory is bounded",
            Promise::Formats => "Formats stay readable",
            Promise::Locks => "Concurrent writers are excluded",
            Promise::Supply => "Supply chain",
            Promise::Numbers => "Numbers are checked",
        }
    }

    /// Cases that the promise does not cover.
    pub fn limits(self) -> &'static str {
        match self {
            Promise::Resume => {
                "a GPU, and another processor than the one the run started on. Steps since the last \
                 validation are repeated. The seconds in `metrics.jsonl` are wall time"
            }
            Promise::Atomic => {
                "a disk that reports data as written too early, and a power failure (a kill leaves the \
                 system's cache intact); a file system that cannot exchange two names, on which a kill \
                 between two renames leaves the older checkpoint aside until the run is resumed. A \
                 Parquet export and the user's settings file are not checksummed"
            }
            Promise::Inputs => {
                "inputs that minutes per reader under libFuzzer, and seconds without coverage in the \
                 smoke test, do not reach. Time: a log of many gigabytes takes minutes, and a \
                 compressed file may unpack to 64 GiB. polars trusts the contents of a Parquet page: \
                 `prl` reads it in a child process and turns an abort of that process into an error; a \
                 program that calls the library has no such process. A file that is truncated while \
                 mapped ends the program (SIGBUS)"
            }
            Promise::Limits => {
                "one figure for every log: textual ids take their own length once each, and formats \
                 other than RC15 hold every event. No flag bounds memory"
            }
            Promise::Formats => "versions before 1, which were never released",
            Promise::Locks => {
                "file systems without locks (some network ones), and programs that do not take the \
                 lock. Reading a run during training is allowed, and returns one checkpoint or the next"
            }
            Promise::Supply => {
                "vulnerabilities without an advisory, and two advisories on the cloud-store reader that \
                 polars links and nothing here calls (`deny.toml`); Miri runs no SIMD, no mapped file \
                 and no thread pool"
            }
            Promise::Numbers => {
                "the output layer's own gradient, which is never materialised: a non-finite value in it \
                 is detected in the next loss, and before anything is saved"
            }
        }
    }
}

/// A row of the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The tested promise.
    pub promise: Promise,
    /// Description of the trial.
    pub tried: String,
    /// Number of trials.
    pub times: u64,
    /// Number of trials that broke the promise.
    pub lost: u64,
}

impl Trial {
    /// A row.
    pub fn new(promise: Promise, tried: impl Into<String>, times: u64, lost: u64) -> Self {
        Self {
            promise,
            tried: tried.into(),
            times,
            lost,
        }
    }
}
