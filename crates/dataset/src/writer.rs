//! Atomic writing of a prepared dataset.

use std::collections::BTreeMap;
use std::path::Path;

use prl_fs::{FileEntry, StagedDir, finish_interrupted_rename, parent_dir};
use prl_fs::{read_at_most, sha256_hex};
use safetensors::tensor::{Dtype, TensorView};

use crate::dataset::{Arrays, EVENTS, ITEMS, MANIFEST, MAX_MANIFEST_BYTES};
use crate::details::EventDetails;
use crate::error::{Error, Result};
use crate::event::{Kind, Split};
use crate::items::ItemMap;
use crate::manifest::{
    Counts, FORMAT, ItemProperties, KeptLog, Manifest, ManifestInput, PLAIN_VERSION,
    PropertiesOrigin, VERSION,
};
use crate::plausibility::Plausibility;

/// File of the raw events in a dataset's directory.
pub const LOG_FILE: &str = "log.parquet";

/// File of the items' properties in a dataset's directory.
pub const PROPERTIES_FILE: &str = "properties.safetensors";

/// Writes a prepared dataset to `dir` atomically: all files to a temporary directory, the manifest
/// last, fsynced, then one rename. An older dataset in `dir` is replaced.
///
/// # Errors
/// [`Error::Invalid`] for inconsistent arrays, [`Error::Occupied`] if `dir` holds anything but a
/// dataset, [`Error::Fs`] if an operation fails.
pub fn write(
    dir: &Path,
    arrays: &Arrays,
    items: &ItemMap,
    input: ManifestInput,
) -> Result<Manifest> {
    DatasetWriter::new(arrays, items, input).write(dir)
}

/// Raw events to keep beside the arrays.
#[derive(Clone, Debug, Default)]
pub struct LogToKeep {
    /// Content of [`LOG_FILE`].
    pub bytes: Vec<u8>,
    /// Rows that the reader dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Command-line flags of the preparation, with their values.
    pub arguments: BTreeMap<String, Vec<String>>,
}

/// Properties of items to keep beside the arrays.
#[derive(Clone, Debug, Default)]
pub struct PropertiesToKeep {
    /// Content of [`PROPERTIES_FILE`].
    pub bytes: Vec<u8>,
    /// Description for the manifest.
    pub origin: PropertiesOrigin,
}

/// Dataset to write, with its optional parts.
#[derive(Debug)]
pub struct DatasetWriter<'a> {
    arrays: &'a Arrays,
    items: &'a ItemMap,
    input: ManifestInput,
    details: EventDetails,
    plausibility: Option<Plausibility>,
    log: Option<LogToKeep>,
    properties: Option<PropertiesToKeep>,
    keep_other: bool,
}

impl<'a> DatasetWriter<'a> {
    /// Writer of a dataset without optional parts, which replaces an older dataset.
    pub fn new(arrays: &'a Arrays, items: &'a ItemMap, input: ManifestInput) -> Self {
        Self {
            arrays,
            items,
            input,
            details: EventDetails::default(),
            plausibility: None,
            log: None,
            properties: None,
            keep_other: false,
        }
    }

    /// Adds the log's own event kinds and rewards of single events.
    pub fn details(mut self, details: EventDetails) -> Self {
        self.details = details;
        self
    }

    /// Adds figures and warnings to the manifest.
    pub fn plausibility(mut self, plausibility: Plausibility) -> Self {
        self.plausibility = Some(plausibility);
        self
    }

    /// Keeps the raw events beside the arrays.
    pub fn log(mut self, log: Option<LogToKeep>) -> Self {
        self.log = log;
        self
    }

    /// Keeps properties of the items beside the arrays.
    pub fn properties(mut self, properties: Option<PropertiesToKeep>) -> Self {
        self.properties = properties;
        self
    }

    /// Refuses to replace a dataset with another hash.
    pub fn keep_other(mut self, keep: bool) -> Self {
        self.keep_other = keep;
        self
    }

    /// Writes the dataset to `dir` atomically, as [`write()`](crate::write()).
    ///
    /// # Errors
    /// As [`write()`](crate::write()), and [`Error::OtherDataset`] if the directory holds a dataset
    /// with another hash that is to be kept.
    pub fn write(self, dir: &Path) -> Result<Manifest> {
        let (arrays, items) = (self.arrays, self.items);
        arrays.check(items.len()).map_err(Error::Invalid)?;
        let rewards = self.details.rewards_of(&arrays.kinds);
        rewards.check().map_err(Error::Invalid)?;
        finish_interrupted_rename(dir)?;
        let older = older_dataset(dir)?;
        let parent = parent_dir(dir);
        std::fs::create_dir_all(&parent).map_err(prl_fs::Error::io(&parent))?;
        let staged = StagedDir::create(dir)?;
        let files = vec![
            write_events(&staged, arrays, &self.details)?,
            staged.write(ITEMS, &items.to_bytes()?)?,
        ];
        let dataset = dataset_hash(&files);
        if let Some(older) = older.filter(|older| self.keep_other && *older != dataset) {
            return Err(Error::OtherDataset {
                path: dir.to_owned(),
                older,
                newer: dataset,
            });
        }
        let mut splits = BTreeMap::new();
        for split in Split::ALL {
            let counts = split_counts(arrays, split, items.len());
            splits.insert(split.name().to_owned(), counts);
        }
        let log = match self.log {
            Some(log) => Some(KeptLog {
                file: staged.write(LOG_FILE, &log.bytes)?,
                dropped: log.dropped,
                arguments: log.arguments,
            }),
            None => None,
        };
        let properties = match self.properties {
            Some(properties) => Some(ItemProperties {
                file: staged.write(PROPERTIES_FILE, &properties.bytes)?,
                origin: properties.origin,
            }),
            None => None,
        };
        let is_plain = self.details.is_empty();
        let manifest = Manifest {
            format: FORMAT.into(),
            format_version: if is_plain { PLAIN_VERSION } else { VERSION },
            dataset,
            input: self.input,
            splits,
            files,
            kinds: self.details.kinds,
            plausibility: self.plausibility,
            log,
            properties,
        };
        let mut json =
            serde_json::to_vec_pretty(&manifest).map_err(|e| Error::Invalid(e.to_string()))?;
        json.push(b'\n');
        staged.write(MANIFEST, &json)?;
        staged.publish()?;
        Ok(manifest)
    }
}

/// Hash of the dataset in `dir`; `None` if the directory is absent or empty. A damaged manifest has
/// an empty hash.
fn older_dataset(dir: &Path) -> Result<Option<String>> {
    if !dir.exists() {
        return Ok(None);
    }
    if let Ok(mut entries) = std::fs::read_dir(dir)
        && entries.next().is_none()
    {
        return Ok(None);
    }
    let bytes = read_at_most(&dir.join(MANIFEST), MAX_MANIFEST_BYTES).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if manifest["format"] != FORMAT {
        return Err(Error::Occupied {
            path: dir.to_owned(),
        });
    }
    Ok(Some(manifest["dataset"].as_str().unwrap_or("").to_owned()))
}

fn write_events(staged: &StagedDir, a: &Arrays, details: &EventDetails) -> Result<FileEntry> {
    let mut tensors = vec![
        ("items", tensor(Dtype::U32, &a.items)?),
        ("kinds", tensor(Dtype::U8, &a.kinds)?),
        ("offsets", tensor(Dtype::U64, &a.offsets)?),
        ("splits", tensor(Dtype::U8, &a.splits)?),
        ("times", tensor(Dtype::I64, &a.times)?),
    ];
    if !details.labels.is_empty() {
        tensors.push(("labels", tensor(Dtype::U8, &details.labels)?));
    }
    if !details.rewards.is_empty() {
        tensors.push(("rewards", tensor(Dtype::F32, &details.rewards)?));
    }
    Ok(staged.write_tensors(EVENTS, tensors)?)
}

/// View of a slice as a tensor `[len]`.
fn tensor<T: bytemuck::NoUninit>(dtype: Dtype, values: &[T]) -> Result<TensorView<'_>> {
    let bytes = bytemuck::cast_slice(values);
    TensorView::new(dtype, vec![values.len()], bytes).map_err(|e| Error::Invalid(e.to_string()))
}

fn dataset_hash(files: &[FileEntry]) -> String {
    let mut checksums = String::new();
    for file in files {
        checksums.push_str(&file.sha256);
    }
    sha256_hex(checksums.as_bytes())[..16].to_owned()
}

fn split_counts(a: &Arrays, split: Split, n_items: usize) -> Counts {
    let mut counts = Counts::default();
    let mut seen = vec![false; n_items];
    for bounds in a.offsets.windows(2) {
        let session = bounds[0] as usize..bounds[1] as usize;
        counts.sessions += u64::from(a.splits[session.clone()].contains(&split));
        for e in session {
            if a.splits[e] != split {
                continue;
            }
            match a.kinds[e] {
                Kind::Click => counts.clicks += 1,
                Kind::Purchase => counts.purchases += 1,
            }
            seen[a.items[e] as usize] = true;
        }
    }
    counts.items = seen.into_iter().map(u64::from).sum();
    counts
}
