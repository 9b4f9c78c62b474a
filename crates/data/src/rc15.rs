//! RC15, the RecSys Challenge 2015: the steps of the protocol (section 1), and the reader, which
//! samples the sessions while it streams.

use std::collections::BTreeMap;
use std::path::Path;

use polars::prelude::*;
use prl_dataset::SourceFile;
use rand::seq::index;

use crate::delimited_reader::{self, Batch, Header};
use crate::dropped::{Dropped, Reason};
use crate::error::Result;
use crate::ids::IdColumn;
use crate::input::Input;
use crate::log::{CLICK, EventColumns, ITEM, Log, PURCHASE, is_kind};
use crate::records::Dialect;
use crate::spool::{BLOCK, Row, Spool};
use crate::times::from_iso;
use crate::values::{Cell, Wanted};

/// Reads the log and samples it: the clicks of the sampled sessions, then their buys,
/// each in file order. All clicks are kept in temporary files on the disk of `dir`; memory holds a
/// part of them, and the sample.
pub(crate) fn read(
    clicks: &[Input],
    buys: &[Input],
    (sample, seed): (usize, u64),
    dir: &Path,
) -> Result<(Log, Vec<SourceFile>)> {
    let mut dropped = Dropped::default();
    let mut files = Vec::with_capacity(clicks.len() + buys.len());
    let mut spool = Spool::new(dir)?;
    for input in clicks {
        files.push(read_rows(input, CLICKS, |rows| spool.push(&rows))?);
    }
    // 1. "keep sessions with > 2 clicks (no upper bound, no item filter)"
    // 2. "sample 200,000 sessions without replacement"
    // Both in the reader, part by part: the clicks of all sessions need not fit memory.
    let mut sampled = sampled_clicks(spool, (sample, seed), &mut dropped)?;
    // 4. "take all buys of those sessions [..]; append them after the clicks"
    for input in buys {
        let append = |rows: Vec<Row>| {
            dropped.add(Reason::NotSampled, sampled.append_buys(&rows));
            Ok(())
        };
        files.push(read_rows(input, BUYS, append)?);
    }
    let mut log = sampled.into_log()?;
    log.dropped = dropped;
    Ok((log, files))
}

/// Steps after sampling (protocol, section 1, RC15).
pub(crate) fn steps(log: &mut Log) -> Result<()> {
    // 3. "re-index the items of the sampled clicks by sorted raw id", 4. "take all buys [..] (same
    //    index)": a buy of an item that no sampled session clicked has no index.
    let is_clicked = is_kind(CLICK).any(true).over([col(ITEM)])?;
    log.keep(is_clicked, Reason::BuyOfUnclickedItem)
    // 3., 4. "sort by (session, timestamp), stable, so clicks come before buys at equal times":
    //    `Log::reindex_items`, `Log::order`.
}

const CLICKS: Header = Header::Fixed(&["session", "timestamp", "item", "category"]);
const BUYS: Header = Header::Fixed(&["session", "timestamp", "item", "price", "quantity"]);
/// Minimum number of clicks per session.
const LEAST_CLICKS: usize = 3;

/// Events of the sampled sessions.
struct Sampled {
    /// Sorted ids of the sampled sessions.
    session_ids: Vec<u64>,
    sessions: Vec<u64>,
    items: Vec<u64>,
    kinds: Vec<u8>,
    times: Vec<i64>,
}

impl Sampled {
    fn push(&mut self, row: &Row, kind: u8) {
        self.sessions.push(row.session);
        self.items.push(row.item);
        self.kinds.push(kind);
        self.times.push(row.time);
    }

    /// Appends the buys of sampled sessions; returns the number of other buys.
    fn append_buys(&mut self, rows: &[Row]) -> u64 {
        let mut others = 0;
        for row in rows {
            if self.session_ids.binary_search(&row.session).is_ok() {
                self.push(row, PURCHASE);
            } else {
                others += 1;
            }
        }
        others
    }

    fn into_log(self) -> Result<Log> {
        let columns = EventColumns {
            sessions: IdColumn::from_numbers(self.sessions),
            items: IdColumn::from_numbers(self.items),
            kinds: self.kinds,
            times: self.times,
        };
        Log::new(columns, Vec::new())
    }
}

/// Clicks of a sample of the sessions that have enough of them. The position of a session among the
/// eligible ones is their number in earlier blocks of ids, plus their number before it in its
/// block.
fn sampled_clicks(
    mut spool: Spool,
    (sample, seed): (usize, u64),
    dropped: &mut Dropped,
) -> Result<Sampled> {
    let (mut blocks, mut clicks, mut long_enough) = (BTreeMap::<u64, usize>::new(), 0, 0);
    let count = |rows: &[Row]| {
        let (sessions, kept) = long_sessions(rows);
        let blocks = sessions.chunk_by(|a, b| a / BLOCK == b / BLOCK);
        (
            blocks
                .map(|block| (block[0] / BLOCK, block.len()))
                .collect::<Vec<_>>(),
            rows.len(),
            kept,
        )
    };
    spool.for_each_part(count, |(counts, rows, kept)| {
        blocks.extend(counts);
        (clicks, long_enough) = (clicks + rows, long_enough + kept);
    })?;
    let mut next = 0;
    for count in blocks.values_mut() {
        next += std::mem::replace(count, next);
    }
    let sampled = sample_sessions(next, sample, seed);

    let mut taken = Sampled {
        session_ids: Vec::new(),
        sessions: Vec::new(),
        items: Vec::new(),
        kinds: Vec::new(),
        times: Vec::new(),
    };
    let sampled_rows = |rows: &[Row]| {
        let (long, _) = long_sessions(rows);
        let blocks_here = long.chunk_by(|a, b| a / BLOCK == b / BLOCK);
        let places = blocks_here
            .filter_map(|block| Some(block.iter().zip(*blocks.get(&(block[0] / BLOCK))?..)))
            .flatten();
        let wanted: Vec<u64> = places
            .filter(|(_, place)| sampled[*place])
            .map(|(session, _)| *session)
            .collect();
        let mut kept = Vec::new();
        // Clicks of a session are mostly adjacent.
        for run in rows.chunk_by(|a, b| a.session == b.session) {
            if wanted.binary_search(&run[0].session).is_ok() {
                kept.extend_from_slice(run);
            }
        }
        (wanted, kept)
    };
    spool.for_each_part(sampled_rows, |(wanted, rows)| {
        taken.session_ids.extend(wanted);
        for row in &rows {
            taken.push(row, CLICK);
        }
    })?;
    taken.session_ids.sort_unstable();
    dropped.add(Reason::ShortSession, (clicks - long_enough) as u64);
    dropped.add(Reason::NotSampled, (long_enough - taken.times.len()) as u64);
    Ok(taken)
}

/// Sessions of enough clicks, sorted, and their number of clicks.
fn long_sessions(rows: &[Row]) -> (Vec<u64>, usize) {
    let mut ids: Vec<u64> = rows.iter().map(|row| row.session).collect();
    ids.sort_unstable();
    let long = ids
        .chunk_by(|a, b| a == b)
        .filter(|session| session.len() >= LEAST_CLICKS);
    long.fold((Vec::new(), 0), |(mut sessions, clicks), session| {
        sessions.push(session[0]);
        (sessions, clicks + session.len())
    })
}

/// Reads rows and passes them to `take` in batches.
fn read_rows(
    input: &Input,
    header: Header,
    take: impl FnMut(Vec<Row>) -> Result<()>,
) -> Result<SourceFile> {
    let choose = |names: &[String]| {
        let cells = [Cell::Unsigned, Cell::Text, Cell::Unsigned];
        Ok((0..)
            .zip(cells)
            .map(|(field, cell)| Wanted {
                field,
                name: names[field].clone(),
                cell,
            })
            .collect())
    };
    let rows = |batch: Batch| {
        let ids = batch.unsigned(0)?.zip(batch.unsigned(2)?);
        let rows = batch
            .texts(1)?
            .zip(ids)
            .enumerate()
            .map(|(row, (time, (session, item)))| {
                let time = from_iso(time.unwrap_or_default())
                    .map_err(|expected| batch.fault(row, 1, expected))?;
                Ok(Row {
                    session,
                    item,
                    time,
                })
            });
        rows.collect::<Result<Vec<_>>>()
    };
    delimited_reader::read(input, Dialect::CSV, header, choose, rows, take)
}

/// Samples `sample` of `there` sessions without replacement; marks the sampled positions.
fn sample_sessions(there: usize, sample: usize, seed: u64) -> Vec<bool> {
    if there < sample {
        tracing::warn!(
            "{there} sessions have more than two clicks, fewer than the {sample} to sample: all are taken"
        );
    }
    let mut sampled = vec![false; there];
    let mut rng = prl_seed::stream(seed, "sample", 0);
    index::sample(&mut rng, there, sample.min(there))
        .into_iter()
        .for_each(|i| sampled[i] = true);
    sampled
}
