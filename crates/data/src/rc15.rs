//! RC15, the RecSys Challenge 2015, by the steps of the SQN code: a seeded sample of the sessions with more than two
//! clicks, and their buys as extra events.

use prl_sessions::{Kind, SourceFile};
use rand::seq::index;

use crate::dropped::{Dropped, Reason};
use crate::error::Result;
use crate::ids::IdColumn;
use crate::input::Input;
use crate::log::Log;
use crate::records::Dialect;
use crate::text::{self, Batch, Cell, Header, Wanted};
use crate::times::from_iso;

const DIALECT: Dialect = Dialect { delimiter: b',', quote: Some(b'"') };
const CLICKS: Header = Header::Fixed(&["session", "timestamp", "item", "category"]);
const BUYS: Header = Header::Fixed(&["session", "timestamp", "item", "price", "quantity"]);
/// Sessions of fewer clicks are left out.
const LEAST_CLICKS: usize = 3;

/// The log after the steps: the sampled sessions' clicks, then their buys, each in file order. All clicks are held at
/// once, at 25 bytes each.
pub(crate) fn read(
    clicks: &[Input],
    buys: &[Input],
    sample: usize,
    seed: u64,
    dropped: &mut Dropped,
) -> Result<(Log, Vec<SourceFile>)> {
    let (mut log, mut files) = read_clicks(clicks)?;
    dropped.add(Reason::ShortSession, log.drop_short_sessions(LEAST_CLICKS));
    let sampled = sample_sessions(&log, sample, seed);
    dropped.add(Reason::NotSampled, log.retain(|session, _| sampled[session as usize]));
    log.reindex_items();
    for input in buys {
        files.push(each_row(input, BUYS, |session, time, item| {
            let session = log.session_ids.rank_of(session).filter(|&s| sampled[s as usize]);
            match (session, log.item_ids.rank_of(item)) {
                (None, _) => dropped.add(Reason::NotSampled, 1),
                (_, None) => dropped.add(Reason::BuyOfUnclickedItem, 1),
                (Some(session), Some(item)) => log.push(session, item, Kind::Purchase, time),
            }
        })?);
    }
    Ok((log, files))
}

fn read_clicks(clicks: &[Input]) -> Result<(Log, Vec<SourceFile>)> {
    let (mut sessions, mut items, mut times) = (IdColumn::default(), IdColumn::default(), Vec::new());
    let mut files = Vec::with_capacity(clicks.len());
    for input in clicks {
        files.push(each_row(input, CLICKS, |session, time, item| {
            sessions.push_number(session);
            items.push_number(item);
            times.push(time);
        })?);
    }
    let kinds = vec![Kind::Click; times.len()];
    Ok((Log::new(sessions, items, kinds, times), files))
}

/// Hands `(session, time, item)` of every row to `take`.
fn each_row(input: &Input, header: Header, mut take: impl FnMut(u64, i64, u64)) -> Result<SourceFile> {
    let choose = |names: &[String]| {
        let cells = [Cell::Unsigned, Cell::Text, Cell::Unsigned];
        Ok((0..).zip(cells).map(|(field, cell)| Wanted { field, name: names[field].clone(), cell }).collect())
    };
    text::read(input, DIALECT, header, choose, |batch: &Batch<'_>| {
        let ids = batch.unsigned(0)?.zip(batch.unsigned(2)?);
        for (row, (time, (session, item))) in batch.texts(1)?.zip(ids).enumerate() {
            let time = from_iso(time.unwrap_or_default()).map_err(|expected| batch.fault(row, 1, expected))?;
            take(session, time, item);
        }
        Ok(())
    })
}

/// Which session ranks are sampled: `sample` of those that have events, without replacement.
fn sample_sessions(log: &Log, sample: usize, seed: u64) -> Vec<bool> {
    let sizes = log.session_sizes();
    let kept: Vec<usize> = (0..sizes.len()).filter(|&s| sizes[s] > 0).collect();
    if kept.len() < sample {
        tracing::warn!(
            "{} sessions have more than two clicks, fewer than the {sample} to sample: all are taken",
            kept.len()
        );
    }
    let mut sampled = vec![false; sizes.len()];
    let mut rng = prl_seed::stream(seed, "sample", 0);
    index::sample(&mut rng, kept.len(), sample.min(kept.len())).into_iter().for_each(|i| sampled[kept[i]] = true);
    sampled
}
