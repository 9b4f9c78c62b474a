//! Kept raw events, and appending further ones to them.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use polars::prelude::*;
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;
use prl_dataset::{KeptLog, LOG_FILE, LogToKeep, Manifest};

use crate::dropped::Dropped;
use crate::error::{Error, Result};
use crate::ids::IdColumn;
use crate::log::{ITEM, Log, SESSION};
use crate::options::{Options, Source};
use crate::prepare::{described, raw_ids};

/// Raw events as a Parquet file, with what the reader dropped.
pub(crate) fn log_to_keep(options: &Options, log: &Log) -> Result<LogToKeep> {
    let mut frame = log.events.clone();
    for name in [SESSION, ITEM] {
        let ids = frame.column(name)?;
        let ids = match ids.dtype() {
            DataType::Enum(..) => ids.cast(&DataType::String)?,
            _ => ids.cast(&DataType::UInt64)?,
        };
        frame.replace(name, ids)?;
    }
    frame.rechunk_mut();
    let mut bytes = Vec::new();
    ParquetWriter::new(Cursor::new(&mut bytes))
        .with_compression(ParquetCompression::Zstd(None))
        .finish(&mut frame)?;
    Ok(LogToKeep {
        bytes,
        dropped: log.dropped.clone().into_map(),
        arguments: options.output.arguments.clone(),
    })
}

/// Rejects options under which raw events cannot be appended to.
pub(crate) fn check(options: &Options) -> Result<()> {
    let why = match &options.source {
        Source::Rc15 { .. } => "rc15 samples its sessions while it is read",
        source => match source.table().and_then(|table| table.columns.as_ref()) {
            Some(columns) if columns.time.is_none() => "its events have no times",
            _ => return Ok(()),
        },
    };
    Err(Error::Options(format!(
        "the raw events of this log cannot be kept to append others to them: {why}"
    )))
}

/// Raw events that the dataset in `dir` keeps; `options` are to be those that it was prepared with.
pub(crate) fn kept_log(dir: &Path, manifest: &Manifest, options: &Options) -> Result<Log> {
    let kept = kept(dir, manifest)?;
    refuse_other_options(dir, manifest, options)?;
    let path = dir.join(LOG_FILE);
    let damaged = || {
        let why =
            "is not the file that the manifest names; prepare the dataset again with --keep-log";
        Error::file(&path, why)
    };
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    if kept.file != prl_dataset::FileEntry::new(LOG_FILE, &bytes) {
        return Err(damaged());
    }
    let file = File::open(&path).map_err(Error::io(&path))?;
    Ok(Log {
        events: ParquetReader::new(file).finish()?,
        dropped: Dropped::of_map(kept.dropped.clone()),
        ..Log::default()
    })
}

/// Manifest entry of the raw events of the dataset in `dir`.
pub(crate) fn kept<'a>(dir: &Path, manifest: &'a Manifest) -> Result<&'a KeptLog> {
    manifest.log.as_ref().ok_or_else(|| {
        Error::Options(format!(
            "{}: keeps no raw events to append others to; prepare it again from all its files with --keep-log",
            dir.display()
        ))
    })
}

/// Fails if an option differs from the dataset's, since filters and splits are of the whole log.
fn refuse_other_options(dir: &Path, manifest: &Manifest, options: &Options) -> Result<()> {
    let (old, new) = (&manifest.input.options, described(options));
    let mut other = Vec::new();
    for key in old.keys().chain(new.keys()) {
        if old.get(key) != new.get(key) && !other.contains(&key.as_str()) {
            other.push(key);
        }
    }
    if options.seed != manifest.input.seed {
        other.push("seed");
    }
    if other.is_empty() {
        return Ok(());
    }
    Err(Error::Options(format!(
        "{}: was prepared with other options: {}; leave them out, since --append takes the dataset's, or prepare \
         all files again",
        dir.display(),
        other.join(", ")
    )))
}

/// The events of `earlier`, then those of `later`.
pub(crate) fn join(earlier: Log, later: Log) -> Result<Log> {
    let mut dropped = earlier.dropped;
    dropped.merge(later.dropped);
    let (earlier, later_events) = (earlier.events, later.events);
    if earlier.get_column_names() != later_events.get_column_names() {
        return Err(Error::Options(format!(
            "the kept events have the columns {:?}, the new ones {:?}; prepare all files again",
            earlier.get_column_names(),
            later_events.get_column_names()
        )));
    }
    let rows = earlier.height() + later_events.height();
    let mut columns = Vec::new();
    for (first, second) in earlier.columns().iter().zip(later_events.columns()) {
        let name = first.name().as_str();
        if [SESSION, ITEM].contains(&name) {
            // Together the ids may be of another type than apart: numbers among text are text.
            let mut ids = IdColumn::default();
            for part in [first, second] {
                for id in raw_ids(part)? {
                    ids.push(&id).map_err(|why| Error::Options(why.into()))?;
                }
            }
            columns.push(ids.finish(name)?);
            continue;
        }
        let mut column = first.clone();
        column.append(second)?;
        columns.push(column.rechunk());
    }
    Ok(Log {
        events: DataFrame::new(rows, columns)?,
        dropped,
        findings: later.findings,
        is_timeless: false,
    })
}
