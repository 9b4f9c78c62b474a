//! Steps of the protocol in its order, over plain vectors.

use std::collections::{BTreeMap, BTreeSet};

use prl_dataset::Kind;

/// Row of a log: session, item, milliseconds, kind.
pub(super) type Row = (u64, u64, i64, Kind);

/// Expected arrays: the events of each session, in order, and the raw ids of the items.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub sessions: Vec<Vec<(u32, i64, Kind)>>,
    pub items: Vec<String>,
}

/// Steps of RetailRocket after the removal of transactions.
pub(super) fn retailrocket(rows: &[Row], max_length: usize) -> Plain {
    let rows = keep(rows, |row| rows.iter().filter(|r| r.0 == row.0).count() > 2);
    let rows = keep(&rows, |row| {
        rows.iter().filter(|r| r.1 == row.1).count() > 2
    });
    let items = rows.iter().map(|r| r.1).collect();
    index(&rows, &items, max_length)
}

/// Steps of RC15 for a given sample of the sessions.
pub(super) fn rc15(
    clicks: &[Row],
    buys: &[Row],
    sample: &BTreeSet<u64>,
    max_length: usize,
) -> Plain {
    let clicks = keep(clicks, |row| sample.contains(&row.0));
    let items = clicks.iter().map(|r| r.1).collect();
    let buys = keep(buys, |row| sample.contains(&row.0));
    index(&[clicks, buys].concat(), &items, max_length)
}

/// Sessions from which RC15 is sampled.
pub(super) fn rc15_sessions(clicks: &[Row]) -> BTreeSet<u64> {
    clicks
        .iter()
        .map(|row| row.0)
        .filter(|&s| clicks.iter().filter(|r| r.0 == s).count() > 2)
        .collect()
}

fn keep(rows: &[Row], test: impl Fn(&Row) -> bool) -> Vec<Row> {
    rows.iter().filter(|row| test(row)).copied().collect()
}

fn index(rows: &[Row], items: &BTreeSet<u64>, max_length: usize) -> Plain {
    let mut rows = keep(rows, |row| items.contains(&row.1));
    rows.sort_by_key(|&(session, _, time, _)| (session, time));
    let rank: BTreeMap<u64, u32> = items.iter().copied().zip(0..).collect();
    let mut sessions: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for (session, item, time, kind) in rows {
        sessions
            .entry(session)
            .or_default()
            .push((rank[&item], time, kind));
    }
    let sessions = sessions
        .into_values()
        .filter(|s| s.len() <= max_length)
        .collect();
    Plain {
        sessions,
        items: items.iter().map(u64::to_string).collect(),
    }
}
