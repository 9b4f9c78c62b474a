//! The one way from a raw log to a prepared dataset: read, count, filter by length, split, write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use prl_dataset::{Arrays, DatasetCounts, ItemMap, Manifest, ManifestInput, SourceFile};

use crate::dropped::{Dropped, Reason};
use crate::error::{Error, Result};
use crate::export::{self, Staged, parent};
use crate::input::{self, Input};
use crate::log::Log;
use crate::options::{Options, Source};
use crate::split::splits;
use crate::{delimited, parquet, rc15, retailrocket};

/// Prepares the dataset that `options` describe and writes it to the directory `out`, whole or not at all. Equal inputs
/// and options give equal bytes. The manifest that is returned is also beside the arrays.
///
/// # Errors
/// [`Error`] names what is wrong with the options, the raw log (by file, line and column) or the machine.
pub fn prepare(options: &Options, out: &Path) -> Result<Manifest> {
    options.check()?;
    let mut dropped = Dropped::default();
    let (mut log, files) = read(options, out, &mut dropped)?;
    let rows = files.iter().map(|f| f.rows).sum();
    log.reindex_items();
    log.order();
    let before = log.counts();
    if let Some(most) = options.max_length {
        dropped.add(Reason::LongSession, log.drop_long_sessions(most));
    }
    let after = log.counts();
    let dropped = dropped.into_map();
    if log.len() == 0 {
        return Err(Error::NothingLeft {
            rows,
            dropped: dropped.into_iter().collect(),
        });
    }
    let items = ItemMap::new((0..log.item_ids.len() as u32).map(|i| log.item_ids.raw(i)))?;
    let arrays = arrays(options, &mut log);
    let sessions = (&log.session_ids, log.sessions.as_slice());
    let export = options
        .parquet
        .as_ref()
        .map(|path| export::stage(path, out, sessions, &log.item_ids, &arrays));
    let export = export.transpose()?;
    let draft = ManifestInput {
        source: prl_dataset::Source {
            kind: options.source.name().into(),
            synthetic: paths(&options.source).into_iter().any(input::is_synthetic),
            files,
        },
        options: described(options),
        seed: options.seed,
        counts: DatasetCounts {
            before_length_filter: before,
            after_length_filter: after,
            dropped,
        },
    };
    let manifest = prl_dataset::write(out, &arrays, &items, draft)?;
    export.map_or(Ok(()), Staged::publish)?;
    Ok(manifest)
}

/// The paths that a source names.
fn paths(source: &Source) -> Vec<&Path> {
    match source {
        Source::Rc15 { clicks, buys, .. } => vec![clicks, buys],
        Source::RetailRocket { input } => vec![input],
        Source::Csv { input, .. } | Source::Parquet { input, .. } | Source::Inter { input, .. } => {
            vec![input]
        }
    }
}

/// The log by the source's own steps, and what was read. What does not fit memory waits beside `out`.
fn read(options: &Options, out: &Path, dropped: &mut Dropped) -> Result<(Log, Vec<SourceFile>)> {
    let extensions: &[&str] = match options.source {
        Source::Parquet { .. } => &["parquet", "pq"],
        Source::Inter { .. } => &["inter"],
        _ => &["csv", "tsv", "txt", "dat"],
    };
    let list = |path: &Path| input::files(path, extensions, options.max_unpacked);
    let inputs: Vec<Vec<Input>> = paths(&options.source)
        .into_iter()
        .map(list)
        .collect::<Result<_>>()?;
    let all: Vec<&Input> = inputs.iter().flatten().collect();
    input::refuse_same_paths(&all)?;
    let (log, files) = match &options.source {
        Source::RetailRocket { .. } => retailrocket::read(&inputs[0], dropped)?,
        Source::Rc15 { sample, .. } => rc15::read(
            &inputs[0],
            &inputs[1],
            (*sample, options.seed),
            &parent(out),
            dropped,
        )?,
        Source::Csv {
            delimiter, table, ..
        } => delimited::read_csv(&inputs[0], *delimiter, table, dropped)?,
        Source::Parquet { table, .. } => parquet::read(&inputs[0], table, dropped)?,
        Source::Inter { table, .. } => delimited::read_inter(&inputs[0], table, dropped)?,
    };
    input::refuse_same_bytes(&all, &files)?;
    let short = all
        .iter()
        .zip(&files)
        .filter_map(|(input, file)| input::shorter_than_public(input, file.rows));
    short.for_each(|warning| tracing::warn!("{warning}"));
    Ok((log, files))
}

/// The events as the dataset holds them, moved out of the log; its sessions stay.
fn arrays(options: &Options, log: &mut Log) -> Arrays {
    let mut sessions: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for session in log.sessions.chunk_by(|a, b| a == b) {
        sessions.push(start..start + session.len());
        start += session.len();
    }
    let splits = splits(options, &sessions, &log.times);
    Arrays {
        offsets: std::iter::once(0)
            .chain(sessions.iter().map(|s| s.end as u64))
            .collect(),
        items: std::mem::take(&mut log.items),
        kinds: std::mem::take(&mut log.kinds),
        times: std::mem::take(&mut log.times)
            .into_iter()
            .map(|t| t.div_euclid(1_000_000))
            .collect(),
        splits,
    }
}

/// The options as the manifest lists them.
fn described(options: &Options) -> BTreeMap<String, serde_json::Value> {
    match serde_json::to_value(options) {
        Ok(serde_json::Value::Object(map)) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
