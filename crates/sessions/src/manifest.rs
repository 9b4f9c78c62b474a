//! `manifest.json`: where a prepared dataset comes from, how it was made, what it counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::files::sha256_hex;

/// The name that opens every manifest.
pub(crate) const FORMAT: &str = "prl-prepared";
/// The version of the format this build writes and reads.
pub(crate) const VERSION: u32 = 1;

/// Sessions, items and events: one column of the paper's Table 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sessions.
    pub sessions: u64,
    /// Distinct items.
    pub items: u64,
    /// Events that are clicks.
    pub clicks: u64,
    /// Events that are purchases.
    pub purchases: u64,
}

/// The counts of a dataset before and after sessions are dropped for their length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetCounts {
    /// As the paper's Table 1 counts them.
    pub before_length_filter: Counts,
    /// What the arrays hold.
    pub after_length_filter: Counts,
    /// Rows of the source that were left out, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// One raw file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// File name without its directory.
    pub name: String,
    /// Size in bytes, as stored (compressed if it is).
    pub bytes: u64,
    /// SHA-256 of those bytes, hexadecimal.
    pub sha256: String,
    /// Data rows in it.
    pub rows: u64,
}

/// Where the events come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `retailrocket`, `rc15`, `csv`, `parquet` or `inter`.
    pub kind: String,
    /// Made by `prl synth`, not by people.
    pub synthetic: bool,
    /// The raw files, in the order they were read.
    pub files: Vec<SourceFile>,
}

/// One file of the prepared dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// File name in the dataset's directory.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl FileEntry {
    /// Of a file of these bytes.
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.len() as u64,
            sha256: sha256_hex(bytes),
        }
    }
}

/// What whoever prepares a dataset knows about it; [`write`](crate::write) adds the rest of the [`Manifest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// Where the events come from.
    pub source: Source,
    /// Every option that shaped the dataset.
    pub options: BTreeMap<String, serde_json::Value>,
    /// The seed of sampling and splitting.
    pub seed: u64,
    /// Table 1.
    pub counts: DatasetCounts,
}

/// The whole of `manifest.json`. It names no directory and no time, so equal inputs give equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `prl-prepared`.
    pub format: String,
    /// The version of the format.
    pub format_version: u32,
    /// The dataset's hash: SHA-256 over the checksums of its files, first 16 hexadecimal digits.
    pub dataset: String,
    /// Origin, options and counts.
    #[serde(flatten)]
    pub draft: Draft,
    /// Sessions with a target in each split, and those targets.
    pub splits: BTreeMap<String, Counts>,
    /// The files beside the manifest.
    pub files: Vec<FileEntry>,
}
