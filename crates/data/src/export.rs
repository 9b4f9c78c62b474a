//! Export of the prepared events as one Parquet file for other tools: raw ids, one row per event,
//! in dataset order.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use prl_dataset::Arrays;
use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::log::{ITEM, SESSION};

/// Temporary Parquet file before its rename to the final path. Deleted on drop.
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

/// Writes the events to a temporary file that one rename moves to `path`. The path may be inside
/// the dataset's directory `out`, which need not exist yet.
pub(crate) fn stage(
    path: &Path,
    out: &Path,
    events: &DataFrame,
    item_ids: &Column,
    arrays: &Arrays,
) -> Result<Staged> {
    let dir = if path.starts_with(out) {
        parent(out)
    } else {
        parent(path)
    };
    std::fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    let file = builder()
        .prefix(".prl-")
        .suffix(".parquet")
        .tempfile_in(&dir)
        .map_err(Error::io(&dir))?;
    let frame = frame(events, item_ids, arrays)?;
    if let Err(error) = write(file.as_file(), frame) {
        return Err(Error::file(path, format!("could not be written: {error}")));
    }
    Ok(Staged {
        file,
        path: path.to_owned(),
    })
}

fn write(file: &File, mut frame: DataFrame) -> PolarsResult<()> {
    ParquetWriter::new(file)
        .with_compression(ParquetCompression::Zstd(None))
        .finish(&mut frame)?;
    Ok(file.sync_all()?)
}

/// Parent directory of a path.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => ".".into(),
    }
}

impl Staged {
    /// Renames the file to its final path.
    pub(crate) fn publish(self) -> Result<()> {
        match self.file.persist(&self.path) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::io(&self.path)(error.error)),
        }
    }
}

#[cfg(unix)]
fn builder<'a, 'b>() -> tempfile::Builder<'a, 'b> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    // Permissions of an ordinary file; temporary files are private by default.
    builder.permissions(std::fs::Permissions::from_mode(0o644));
    builder
}

#[cfg(not(unix))]
fn builder<'a, 'b>() -> tempfile::Builder<'a, 'b> {
    tempfile::Builder::new()
}

/// Builds the columns `session, item, kind, time, split`, with raw ids.
fn frame(events: &DataFrame, item_ids: &Column, arrays: &Arrays) -> PolarsResult<DataFrame> {
    let mut kinds = Vec::with_capacity(arrays.kinds.len());
    for kind in &arrays.kinds {
        kinds.push(kind.name());
    }
    let mut splits = Vec::with_capacity(arrays.splits.len());
    for split in &arrays.splits {
        splits.push(split.name());
    }
    let times = Column::new("time".into(), &arrays.times);
    let items = item_ids.take(events.column(ITEM)?.idx()?)?;
    let columns = vec![
        raw("session", events.column(SESSION)?)?,
        raw("item", &items)?,
        Column::new("kind".into(), kinds),
        times.cast(&DataType::Datetime(TimeUnit::Milliseconds, None))?,
        Column::new("split".into(), splits),
    ];
    let mut frame = DataFrame::new(arrays.times.len(), columns)?;
    frame.rechunk_mut();
    Ok(frame)
}

/// Raw ids as numbers, or as text.
fn raw(name: &str, ids: &Column) -> PolarsResult<Column> {
    let ids = match ids.dtype() {
        DataType::Enum(..) => ids.cast(&DataType::String)?,
        _ => ids.cast(&DataType::UInt64)?,
    };
    Ok(ids.with_name(name.into()))
}
