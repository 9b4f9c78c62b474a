//! The prepared events as one Parquet file, for other tools: raw ids, one row an event, in dataset order.

use std::path::{Path, PathBuf};

use polars::prelude::*;
use prl_dataset::{Arrays, Kind};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::ids::Ids;

/// A Parquet file that is written but not yet in its place; dropped, it is gone.
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

/// Writes the events aside. `sessions` holds each event's rank in `session_ids`. The temporary file lies where one rename
/// brings it to `path`, which may be inside the dataset's directory `out` that does not exist yet.
pub(crate) fn stage(
    path: &Path,
    out: &Path,
    (session_ids, sessions): (&Ids, &[u32]),
    item_ids: &Ids,
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
    let write = || -> PolarsResult<()> {
        let mut frame = frame((session_ids, sessions), item_ids, arrays)?;
        ParquetWriter::new(file.as_file())
            .with_compression(ParquetCompression::Zstd(None))
            .finish(&mut frame)?;
        Ok(file.as_file().sync_all()?)
    };
    write().map_err(|e| Error::file(path, format!("could not be written: {e}")))?;
    Ok(Staged {
        file,
        path: path.to_owned(),
    })
}

/// The directory a path lies in.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .map_or_else(|| ".".into(), Path::to_owned)
}

impl Staged {
    /// Puts the file in its place.
    pub(crate) fn publish(self) -> Result<()> {
        self.file
            .persist(&self.path)
            .map_err(|e| Error::io(&self.path)(e.error))?;
        Ok(())
    }
}

#[cfg(unix)]
fn builder<'a, 'b>() -> tempfile::Builder<'a, 'b> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    // As an ordinary file would have it; temporary ones are closed to others.
    builder.permissions(std::fs::Permissions::from_mode(0o644));
    builder
}

#[cfg(not(unix))]
fn builder<'a, 'b>() -> tempfile::Builder<'a, 'b> {
    tempfile::Builder::new()
}

fn frame(
    (session_ids, sessions): (&Ids, &[u32]),
    item_ids: &Ids,
    arrays: &Arrays,
) -> PolarsResult<DataFrame> {
    let kind = |&kind: &Kind| match kind {
        Kind::Click => "click",
        Kind::Purchase => "purchase",
    };
    let times = Column::new("time".into(), &arrays.times)
        .cast(&DataType::Datetime(TimeUnit::Milliseconds, None))?;
    DataFrame::new(
        arrays.times.len(),
        vec![
            raw("session", session_ids, sessions),
            raw("item", item_ids, &arrays.items),
            Column::new(
                "kind".into(),
                arrays.kinds.iter().map(kind).collect::<Vec<_>>(),
            ),
            times,
            Column::new(
                "split".into(),
                arrays.splits.iter().map(|s| s.name()).collect::<Vec<_>>(),
            ),
        ],
    )
}

/// Raw ids in their own type.
fn raw(name: &str, ids: &Ids, ranks: &[u32]) -> Column {
    let at = |rank: &u32| *rank as usize;
    match ids {
        Ids::Numbers(n) => Column::new(
            name.into(),
            ranks.iter().map(|r| n[at(r)]).collect::<Vec<_>>(),
        ),
        Ids::Texts(t) => Column::new(
            name.into(),
            ranks.iter().map(|r| &*t[at(r)]).collect::<Vec<_>>(),
        ),
    }
}
