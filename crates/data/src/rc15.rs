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

/// Eligible sessions of a part of the clicks: those that have enough of them.
struct Eligible {
    /// Sorted ids of the sessions.
    sessions: Vec<u64>,
    /// Number of their clicks.
    clicks: usize,
}

impl Eligible {
    fn new(rows: &[Row]) -> Self {
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            ids.push(row.session);
        }
        ids.sort_unstable();
        let mut eligible = Self {
            sessions: Vec::new(),
            clicks: 0,
        };
        for session in ids.chunk_by(u64::eq) {
            if session.len() >= LEAST_CLICKS {
                eligible.sessions.push(session[0]);
                eligible.clicks += session.len();
            }
        }
        eligible
    }

    /// Runs of the sessions whose ids are in one block, with the block.
    fn blocks(&self) -> Vec<(u64, &[u64])> {
        let mut blocks = Vec::new();
        let mut rest = self.sessions.as_slice();
        while let Some(first) = rest.first() {
            let block = first / BLOCK;
            let end = rest.partition_point(|id| id / BLOCK == block);
            let (here, after) = rest.split_at(end);
            blocks.push((block, here));
            rest = after;
        }
        blocks
    }
}

/// Sessions and clicks of a part, counted.
struct PartCounts {
    /// Number of eligible sessions in each block of ids.
    blocks: Vec<(u64, usize)>,
    clicks: usize,
    eligible_clicks: usize,
}

impl PartCounts {
    fn new(rows: &[Row]) -> Self {
        let eligible = Eligible::new(rows);
        let mut blocks = Vec::new();
        for (block, sessions) in eligible.blocks() {
            blocks.push((block, sessions.len()));
        }
        Self {
            blocks,
            clicks: rows.len(),
            eligible_clicks: eligible.clicks,
        }
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
    spool.for_each_part(PartCounts::new, |part| {
        blocks.extend(part.blocks);
        clicks += part.clicks;
        long_enough += part.eligible_clicks;
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
    let of_part = |rows: &[Row]| sampled_rows(rows, &blocks, &sampled);
    spool.for_each_part(of_part, |(wanted, rows)| {
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

/// Sampled sessions of a part, and their clicks. `blocks` has the number of eligible sessions
/// before each block of ids.
fn sampled_rows(
    rows: &[Row],
    blocks: &BTreeMap<u64, usize>,
    sampled: &[bool],
) -> (Vec<u64>, Vec<Row>) {
    let mut wanted = Vec::new();
    for (block, sessions) in Eligible::new(rows).blocks() {
        let Some(&start) = blocks.get(&block) else {
            continue;
        };
        for (session, is_sampled) in sessions.iter().zip(&sampled[start..]) {
            if *is_sampled {
                wanted.push(*session);
            }
        }
    }
    let mut kept = Vec::new();
    // Clicks of a session are mostly adjacent.
    for run in rows.chunk_by(|a, b| a.session == b.session) {
        if wanted.binary_search(&run[0].session).is_ok() {
            kept.extend_from_slice(run);
        }
    }
    (wanted, kept)
}

/// Reads rows and passes them to `take` in batches.
fn read_rows(
    input: &Input,
    header: Header,
    take: impl FnMut(Vec<Row>) -> Result<()>,
) -> Result<SourceFile> {
    delimited_reader::read(input, Dialect::CSV, header, wanted, rows_of, take)
}

/// Columns to read: session, time and item.
fn wanted(names: &[String]) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    let cells = [Cell::Unsigned, Cell::Text, Cell::Unsigned];
    for (field, cell) in cells.into_iter().enumerate() {
        wanted.push(Wanted {
            field,
            name: names[field].clone(),
            cell,
        });
    }
    Ok(wanted)
}

fn rows_of(batch: Batch) -> Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(batch.rows());
    let ids = batch.unsigned(0)?.zip(batch.unsigned(2)?);
    for (row, (time, (session, item))) in batch.texts(1)?.zip(ids).enumerate() {
        let time = match from_iso(time.unwrap_or_default()) {
            Ok(time) => time,
            Err(expected) => return Err(batch.fault(row, 1, expected)),
        };
        rows.push(Row {
            session,
            item,
            time,
        });
    }
    Ok(rows)
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
    for position in index::sample(&mut rng, there, sample.min(there)) {
        sampled[position] = true;
    }
    sampled
}
