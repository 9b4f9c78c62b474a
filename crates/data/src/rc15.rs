//! RC15, the RecSys Challenge 2015, by the steps of the SQN code: a seeded sample of the sessions with more than two
//! clicks, and their buys as extra events.

use std::collections::BTreeMap;
use std::path::Path;

use prl_dataset::{Kind, SourceFile};
use rand::seq::index;

use crate::dropped::{Dropped, Reason};
use crate::error::Result;
use crate::ids::IdColumn;
use crate::input::Input;
use crate::log::Log;
use crate::records::Dialect;
use crate::spool::{BLOCK, Row, Spool};
use crate::text::{self, Batch, Header};
use crate::times::from_iso;
use crate::values::{Cell, Wanted};

const DIALECT: Dialect = Dialect {
    delimiter: b',',
    quote: Some(b'"'),
};
const CLICKS: Header = Header::Fixed(&["session", "timestamp", "item", "category"]);
const BUYS: Header = Header::Fixed(&["session", "timestamp", "item", "price", "quantity"]);
/// Sessions of fewer clicks are left out.
const LEAST_CLICKS: usize = 3;

/// The log after the steps: the sampled sessions' clicks, then their buys, each session's in file order. All clicks wait on
/// the disk of `dir`; memory holds a part of them, and what is sampled.
pub(crate) fn read(
    clicks: &[Input],
    buys: &[Input],
    (sample, seed): (usize, u64),
    dir: &Path,
    dropped: &mut Dropped,
) -> Result<(Log, Vec<SourceFile>)> {
    let mut spool = Spool::new(dir)?;
    let spooled = clicks
        .iter()
        .map(|input| read_rows(input, CLICKS, |rows| spool.push(&rows)));
    let mut files = spooled.collect::<Result<Vec<_>>>()?;
    let mut log = sampled_clicks(spool, (sample, seed), dropped)?;
    for input in buys {
        files.push(read_rows(input, BUYS, |rows| {
            for row in rows {
                match (
                    log.session_ids.rank_of(row.session),
                    log.item_ids.rank_of(row.item),
                ) {
                    (None, _) => dropped.add(Reason::NotSampled, 1),
                    (_, None) => dropped.add(Reason::BuyOfUnclickedItem, 1),
                    (Some(session), Some(item)) => {
                        log.push(session, item, Kind::Purchase, row.time)
                    }
                }
            }
            Ok(())
        })?);
    }
    Ok((log, files))
}

/// The clicks of a sample of the sessions that have enough of them. A session's place among those is the number of them in
/// the blocks of ids before its own, and before it in its block.
fn sampled_clicks(
    mut spool: Spool,
    (sample, seed): (usize, u64),
    dropped: &mut Dropped,
) -> Result<Log> {
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

    let (mut sessions, mut items, mut times) =
        (IdColumn::default(), IdColumn::default(), Vec::new());
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
        // The clicks of a session mostly stand together.
        let runs = rows.chunk_by(|a, b| a.session == b.session);
        runs.filter(|run| wanted.binary_search(&run[0].session).is_ok())
            .flatten()
            .copied()
            .collect::<Vec<_>>()
    };
    spool.for_each_part(sampled_rows, |rows| {
        for row in rows {
            sessions.push_number(row.session);
            items.push_number(row.item);
            times.push(row.time);
        }
    })?;
    dropped.add(Reason::ShortSession, (clicks - long_enough) as u64);
    dropped.add(Reason::NotSampled, (long_enough - times.len()) as u64);
    let kinds = vec![Kind::Click; times.len()];
    Ok(Log::new(sessions, items, kinds, times))
}

/// The sessions of enough clicks, sorted, and how many clicks they have.
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

/// Hands the rows to `take`, many at a time.
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
    text::read(input, DIALECT, header, choose, rows, take)
}

/// Which of `there` sessions are sampled: `sample` of them, without replacement.
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
