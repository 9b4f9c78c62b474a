//! Preparation of a raw log: read, apply the steps, split, write.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use polars::prelude::*;
use prl_dataset::{Arrays, DatasetCounts, DatasetWriter, EventDetails, ItemMap, Kind};
use prl_dataset::{Manifest, ManifestInput, SourceFile};

use crate::error::{Error, Result};
use crate::export::{self, parent};
use crate::input::{self, Input};
use crate::jsonl::Lines;
use crate::log::{ITEM, KIND, LABEL, Log, PURCHASE, TIME, VALUE};
use crate::options::{Inputs, Options, Source};
use crate::plausibility::Checks;
use crate::split::{session_sizes, sessions, splits};
use crate::{
    delimited, frame, item_file, jsonl, kept_log, parquet, rc15, retailrocket, steps, table,
};

/// Prepares the dataset that `options` describe and writes it to the directory `out`, atomically.
/// Equal inputs and options give equal bytes. The returned manifest is also written beside the
/// arrays.
///
/// # Errors
/// [`Error`] names what is wrong with the options, the raw log (by file, line and column) or the
/// machine. [`Error::Write`] if the directory holds another dataset that is not to be replaced.
pub fn prepare(options: &Options, out: &Path) -> Result<Manifest> {
    options.check()?;
    let (log, files) = read(options, out)?;
    finish(options, log, origin(options, files), out)
}

/// Prepares the dataset in the directory `from` again, with the further files that `options` name
/// after its own, and writes it to `out`, which may be `from`. The result has the bytes of a
/// preparation of all files at once. The dataset keeps its raw events ([`Output::keep_log`]).
///
/// # Errors
/// [`Error::Options`] if the dataset keeps no raw events or other options than the dataset's are
/// given; otherwise as [`prepare()`].
///
/// [`Output::keep_log`]: crate::Output::keep_log
pub fn append(options: &Options, from: &Path, out: &Path) -> Result<Manifest> {
    options.check()?;
    let mut options = options.clone();
    options.output.keep_log = true;
    kept_log::check(&options)?;
    let manifest = Manifest::read(from)?;
    options.output.arguments = kept_log::kept(from, &manifest)?.arguments.clone();
    let kept = kept_log::kept_log(from, &manifest, &options)?;
    let (log, new_files) = read(&options, out)?;
    let earlier = manifest.input.source;
    for file in &new_files {
        if earlier.files.iter().any(|old| old.sha256 == file.sha256) {
            return Err(Error::Options(format!(
                "{}: the dataset in {} has this file's events already; name files with further ones",
                file.name,
                from.display()
            )));
        }
    }
    let mut files = earlier.files;
    files.extend(new_files);
    let mut origin = origin(&options, files);
    origin.synthetic |= earlier.synthetic;
    options.output.replace |= out == from;
    options.output.items_of = Some(from.to_owned());
    finish(&options, kept_log::join(kept, log)?, origin, out)
}

/// Origin of the events of these files.
fn origin(options: &Options, files: Vec<SourceFile>) -> prl_dataset::Source {
    prl_dataset::Source {
        kind: options.source.name().into(),
        synthetic: paths(&options.source).into_iter().any(input::is_synthetic),
        files,
    }
}

/// Prepares the dataset of a frame in memory: one row per event, columns as [`Source::Frame`] maps
/// them, equal times in the order of the rows. Only the mapped columns are computed. The manifest
/// lists no source file.
///
/// # Errors
/// [`Error::Options`] if the source of `options` is not [`Source::Frame`]; [`Error::Frame`] if the
/// frame cannot be computed; otherwise as [`prepare()`], with rows counted from 1.
pub fn prepare_frame(frame: LazyFrame, options: &Options, out: &Path) -> Result<Manifest> {
    options.check()?;
    let Source::Frame { table } = &options.source else {
        let why = format!(
            "a frame is prepared with the source \"frame\", not {:?}",
            options.source.name()
        );
        return Err(Error::Options(why));
    };
    let (log, rows) = frame::read(frame, table)?;
    let origin = prl_dataset::Source {
        kind: options.source.name().into(),
        synthetic: false,
        files: Vec::new(),
    };
    finish_rows(options, log, rows, origin, out)
}

/// Applies the steps to the events of files, splits, and writes the dataset.
fn finish(
    options: &Options,
    log: Log,
    origin: prl_dataset::Source,
    out: &Path,
) -> Result<Manifest> {
    let mut rows = 0;
    for file in &origin.files {
        rows += file.rows;
    }
    finish_rows(options, log, rows, origin, out)
}

/// Applies the steps to the events of `rows` rows, splits, and writes the dataset.
fn finish_rows(
    options: &Options,
    mut log: Log,
    rows: u64,
    origin: prl_dataset::Source,
    out: &Path,
) -> Result<Manifest> {
    let log_to_keep = match options.output.keep_log {
        true => {
            kept_log::check(options)?;
            Some(kept_log::log_to_keep(options, &log)?)
        }
        false => None,
    };
    let mut checks = Checks::of_raw(&log)?;
    apply_steps(options, &mut log)?;
    let item_ids = log.reindex_items()?;
    log.order()?;
    // Two passes over the same events, side by side.
    let before = thread::scope(|scope| {
        let counts = scope.spawn(|| log.counts());
        checks.figures(&log, item_ids.len())?;
        match counts.join() {
            Ok(counts) => counts,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    if let Some(max) = options.max_length {
        steps::limit_length(&mut log, max, options.steps.long_sessions)?;
    }
    let after = log.counts()?;
    let Log {
        events, dropped, ..
    } = log;
    let dropped = dropped.into_map();
    if events.height() == 0 {
        return Err(Error::NothingLeft {
            rows,
            dropped: dropped.into_iter().collect(),
        });
    }
    checks.check_loss(options, &dropped, rows);
    let plausibility = checks.report(options.output.strict)?;
    let items = ItemMap::new(raw_ids(&item_ids)?)?;
    let arrays = arrays(options, &events)?;
    let details = details(options, &events)?;
    let export = match &options.parquet {
        Some(path) => Some(export::stage(path, out, &events, &item_ids, &arrays)?),
        None => None,
    };
    let draft = ManifestInput {
        source: origin,
        options: described(options),
        seed: options.seed,
        counts: DatasetCounts {
            before_length_filter: before,
            after_length_filter: after,
            dropped,
        },
    };
    // The arrays hold all the data; writing them needs as much memory again.
    drop(events);
    let properties = match (&options.output.items, &options.output.items_of) {
        (Some(file), _) => Some(item_file::read(file, &items, options.max_unpacked)?),
        (None, Some(dir)) => item_file::of_dataset(dir, &items)?,
        (None, None) => None,
    };
    let manifest = DatasetWriter::new(&arrays, &items, draft)
        .properties(properties)
        .details(details)
        .plausibility(plausibility)
        .log(log_to_keep)
        .keep_other(!options.output.replace)
        .write(out)?;
    if let Some(export) = export {
        export.publish()?;
    }
    Ok(manifest)
}

/// Applies the steps of the source.
fn apply_steps(options: &Options, log: &mut Log) -> Result<()> {
    match (&options.source, options.source.table()) {
        (_, Some(table)) => table::steps(log, table, &options.steps),
        (Source::Rc15 { .. }, _) => rc15::steps(log),
        _ => retailrocket::steps(log, &options.steps),
    }
}

/// Event kinds and rewards of the log's own, from ordered events.
fn details(options: &Options, events: &DataFrame) -> Result<EventDetails> {
    let mut details = EventDetails::default();
    let Some(table) = options.source.table() else {
        return Ok(details);
    };
    if let Ok(labels) = events.column(LABEL) {
        details.kinds = match options.source.inputs() {
            Some(inputs) => table.with_kinds_of(inputs).named_kinds(),
            None => table.named_kinds(),
        };
        details.labels = labels.u8()?.into_no_null_iter().collect();
    }
    if let Ok(values) = events.column(VALUE) {
        details.rewards = values.f32()?.into_no_null_iter().collect();
    }
    Ok(details)
}

/// Paths of a source.
fn paths(source: &Source) -> Vec<&Path> {
    match source {
        Source::Rc15 { clicks, buys, .. } => vec![clicks, buys],
        Source::RetailRocket { input } => vec![input],
        Source::Csv { input, .. }
        | Source::Parquet { input, .. }
        | Source::Inter { input, .. }
        | Source::Jsonl { input, .. }
        | Source::ArmsLog { input, .. } => input.paths(),
        Source::Frame { .. } => Vec::new(),
    }
}

/// Reads the log with the source's own steps; returns it and the files read. Clicks that exceed
/// memory are kept in temporary files beside `out`.
fn read(options: &Options, out: &Path) -> Result<(Log, Vec<SourceFile>)> {
    let extensions: &[&str] = match options.source {
        Source::Parquet { .. } => &["parquet", "pq"],
        Source::Inter { .. } => &["inter"],
        Source::Jsonl { .. } => &["jsonl", "ndjson", "json"],
        Source::ArmsLog { .. } => &["jsonl"],
        _ => &["csv", "tsv", "txt", "dat"],
    };
    let mut inputs: Vec<Vec<Input>> = Vec::new();
    for path in paths(&options.source) {
        inputs.push(input::files(path, extensions, options.max_unpacked)?);
    }
    if let Some(parts) = options.source.inputs() {
        inputs = vec![of_table(inputs, parts)];
    }
    let all: Vec<&Input> = inputs.iter().flatten().collect();
    input::refuse_same_paths(&all)?;
    let (log, files) = match &options.source {
        Source::RetailRocket { .. } => retailrocket::read(&inputs[0])?,
        Source::Rc15 { sample, .. } => {
            let sample = (*sample, options.seed);
            rc15::read(&inputs[0], &inputs[1], sample, &parent(out))?
        }
        Source::Csv {
            input,
            delimiter,
            table,
        } => delimited::read_csv(&inputs[0], *delimiter, &table.with_kinds_of(input))?,
        Source::Parquet { input, table } => parquet::read(&inputs[0], &table.with_kinds_of(input))?,
        Source::Inter {
            input,
            delimiter,
            table,
        } => delimited::read_inter(&inputs[0], *delimiter, &table.with_kinds_of(input))?,
        Source::Jsonl { input, table } => {
            jsonl::read(&inputs[0], &table.with_kinds_of(input), Lines::All)?
        }
        Source::ArmsLog { input, table } => {
            jsonl::read(&inputs[0], &table.with_kinds_of(input), Lines::Events)?
        }
        Source::Frame { .. } => {
            return Err(Error::Options(
                "a frame has no file to read; prepare it with prepare_frame".into(),
            ));
        }
    };
    let columns = options.source.table().and_then(|t| t.columns.as_ref());
    input::refuse_same_bytes(&all, &files, columns)?;
    // A table of one's own may have any name.
    if options.source.table().is_none() {
        for (input, file) in all.iter().zip(&files) {
            if let Some(warning) = input::shorter_than_public(input, file.rows)
                && !input::is_synthetic(&input.path)
            {
                tracing::warn!("{warning}");
            }
        }
    }
    Ok((log, files))
}

/// Files of all inputs of a table, with what the inputs give to their rows.
fn of_table(files: Vec<Vec<Input>>, parts: &Inputs) -> Vec<Input> {
    let mut all = Vec::new();
    for (files, part) in files.into_iter().zip(&parts.0) {
        for mut file in files {
            file.shared.split = part.split;
            file.shared.kind = part.kind.clone();
            if parts.has_kinds() && part.kind.is_none() {
                file.shared.kind = Some("click".into());
            }
            all.push(file);
        }
    }
    all
}

/// Raw ids as text.
pub(crate) fn raw_ids(ids: &Column) -> Result<Vec<String>> {
    let texts = ids.cast(&DataType::String)?;
    let mut raw = Vec::with_capacity(texts.len());
    for id in texts.str()?.iter().flatten() {
        raw.push(id.to_owned());
    }
    Ok(raw)
}

/// Builds the arrays of the dataset from ordered events.
fn arrays(options: &Options, events: &DataFrame) -> Result<Arrays> {
    let sessions = sessions(events)?;
    let splits = splits(options, events, &sessions)?;
    let mut offsets = vec![0];
    let mut end = 0;
    for size in session_sizes(&sessions)?.into_no_null_iter() {
        end += u64::from(size);
        offsets.push(end);
    }
    let mut kinds = Vec::with_capacity(events.height());
    for kind in events.column(KIND)?.u8()?.into_no_null_iter() {
        kinds.push(if kind == PURCHASE {
            Kind::Purchase
        } else {
            Kind::Click
        });
    }
    let mut times = Vec::with_capacity(events.height());
    for nanos in events.column(TIME)?.i64()?.into_no_null_iter() {
        times.push(nanos.div_euclid(1_000_000));
    }
    Ok(Arrays {
        offsets,
        items: events.column(ITEM)?.u32()?.into_no_null_iter().collect(),
        kinds,
        times,
        splits,
    })
}

/// Options as listed in the manifest.
pub(crate) fn described(options: &Options) -> BTreeMap<String, serde_json::Value> {
    match serde_json::to_value(options) {
        Ok(serde_json::Value::Object(map)) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
