//! `returns.json`: return statistics of the dataset, and the checksums of the files beside it.

use std::path::Path;

use prl_dataset::ReturnTable;
use prl_fs::{FileEntry, read_at_most, sha256_hex, write_atomic};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{CONFIG, ITEMS, MAX_TEXT, PROPERTIES, PURCHASE_COUNTS};

const NAME: &str = "returns.json";

/// Contents of `returns.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Returns {
    /// Hash of the dataset.
    pub(crate) dataset: String,
    /// The returns of the training sessions by time step.
    pub(crate) table: ReturnTable,
    /// Settings, items, their properties and purchase counts; empty in the first runs.
    #[serde(default)]
    files: Vec<FileEntry>,
    /// SHA-256 of the contents with an empty string here; empty in the first runs.
    #[serde(default)]
    check: String,
}

impl Returns {
    /// Writes it to a run directory.
    pub(crate) fn write(
        dir: &Path,
        dataset: String,
        table: ReturnTable,
        files: Vec<FileEntry>,
    ) -> Result<()> {
        let sealed = Self {
            dataset,
            table,
            files,
            check: String::new(),
        }
        .sealed();
        let json = sealed.and_then(|returns| serde_json::to_vec_pretty(&returns));
        Ok(write_atomic(
            &dir.join(NAME),
            &json.map_err(|e| Error::run(dir, e.to_string()))?,
        )?)
    }

    /// Reads it, and verifies its checksum and those of the files beside it.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let damaged = |what: &str| Error::run(&path, format!("{what}; train the run again"));
        let read: Self = serde_json::from_slice(&read_at_most(&path, MAX_TEXT)?)
            .map_err(|e| damaged(&e.to_string()))?;
        let check = read.check.clone();
        let read = read.sealed().map_err(|e| damaged(&e.to_string()))?;
        if !check.is_empty() && check != read.check {
            return Err(damaged("not what was saved (checksum)"));
        }
        if !read.table.has_valid_shape() {
            return Err(damaged("the table of returns is incomplete"));
        }
        for entry in &read.files {
            if ![CONFIG, ITEMS, PROPERTIES, PURCHASE_COUNTS].contains(&entry.name.as_str()) {
                continue;
            }
            let path = dir.join(&entry.name);
            if sha256_hex(&read_at_most(&path, entry.bytes)?) != entry.sha256 {
                return Err(Error::run(
                    &path,
                    "not the file that was saved (checksum); train the run again",
                ));
            }
        }
        Ok(read)
    }

    /// Sets the checksum.
    fn sealed(mut self) -> serde_json::Result<Self> {
        self.check.clear();
        self.check = sha256_hex(&serde_json::to_vec(&self)?);
        Ok(self)
    }
}
