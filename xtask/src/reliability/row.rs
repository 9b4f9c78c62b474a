//! The promises, and a line of the table for each thing that was tried.

use serde::{Deserialize, Serialize};

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    Resume,
    Whole,
    Inputs,
    Limits,
    Formats,
    TwoAtOnce,
    Supply,
    Numbers,
}

impl Promise {
    /// All of them.
    pub const ALL: [Promise; 8] = [
        Promise::Resume,
        Promise::Whole,
        Promise::Inputs,
        Promise::Limits,
        Promise::Formats,
        Promise::TwoAtOnce,
        Promise::Supply,
        Promise::Numbers,
    ];

    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Promise::Resume => "Resume is exact",
            Promise::Whole => "A checkpoint is whole or absent",
            Promise::Inputs => "No input panics",
            Promise::Limits => "Limits are limits",
            Promise::Formats => "Formats last",
            Promise::TwoAtOnce => "Two at once",
            Promise::Supply => "Supply chain",
            Promise::Numbers => "Numbers are guarded",
        }
    }

    /// What it does not say.
    pub fn excludes(self) -> &'static str {
        match self {
            Promise::Resume => {
                "a GPU, and another processor than the one the run began on. Steps since the last validation are taken again. \
                 The seconds in `metrics.jsonl` are those that were spent"
            }
            Promise::Whole => {
                "a disk that says it has written what it has not, and power that fails (a kill leaves what the system holds); a \
                 file system that cannot exchange two names, on which a kill between two renames leaves the older checkpoint \
                 aside until the run goes on. An export to Parquet and a settings file of the user's are not checksummed"
            }
            Promise::Inputs => {
                "what minutes a reader under libFuzzer, and seconds without coverage in the smoke, do not reach. Time: a log of \
                 many gigabytes takes its minutes, and a bomb may unpack to 64 GiB. What a Parquet page says inside is believed \
                 by polars: `prl` reads it in a process of its own and makes an error of that one's end; a program that calls the \
                 library has no such process. A file cut short while it is mapped ends the program (SIGBUS)"
            }
            Promise::Limits => {
                "a figure for every log: ids that are text take their own length once each, and the formats other than RC15 keep \
                 every event. There is no flag that bounds memory"
            }
            Promise::Formats => "versions before 1, which nobody has",
            Promise::TwoAtOnce => {
                "file systems without locks (some network ones), and programs that do not ask. Reading a run in training is \
                 allowed, and sees one checkpoint or the next"
            }
            Promise::Supply => {
                "what no advisory names, and two that name the reader of cloud stores that polars brings and nothing here calls \
                 (`deny.toml`); Miri runs no SIMD, no mapped file and no thread pool"
            }
            Promise::Numbers => {
                "the output layer's own gradient, which is never held whole: what it spoils is seen in the next loss, and \
                 before anything is saved"
            }
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Which promise.
    pub promise: Promise,
    /// What was done.
    pub tried: String,
    /// How often.
    pub times: u64,
    /// How often it did not come out as promised.
    pub lost: u64,
}
