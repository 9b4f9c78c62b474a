//! Steps of the protocol in its order, over plain vectors.

use std::collections::{BTreeMap, BTreeSet};

use prl_dataset::Kind;

use crate::LongSessions;

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

/// Options of [`table`]; times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableSteps {
    pub period: (i64, i64),
    pub drop_duplicates: bool,
    pub gap: Option<i64>,
    pub drop_repeats: bool,
    pub least: usize,
    pub until_stable: bool,
    pub max_length: usize,
    pub long: LongSessions,
}

/// Steps of a table whose sessions and items need the same number of events.
pub(super) fn table(rows: &[Row], steps: &TableSteps) -> Plain {
    let (from, until) = steps.period;
    let mut rows = keep(rows, |row| from <= row.2 && row.2 < until);
    if steps.drop_duplicates {
        let mut distinct: Vec<Row> = Vec::new();
        for row in rows {
            if !distinct.contains(&row) {
                distinct.push(row);
            }
        }
        rows = distinct;
    }
    rows.sort_by_key(|&(session, _, time, _)| (session, time));
    // Sessions by their number, which grows with the gaps.
    let mut sessions: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        match sessions.last_mut() {
            Some(session) if continues(session, &row, steps.gap) => session.push(row),
            _ => sessions.push(vec![row]),
        }
    }
    if steps.drop_repeats {
        for session in &mut sessions {
            session.dedup_by(|later, first| later.1 == first.1 && later.3 == first.3);
        }
    }
    loop {
        let before: usize = sessions.iter().map(Vec::len).sum();
        sessions.retain(|session| session.len() >= steps.least);
        let all = sessions.concat();
        for session in &mut sessions {
            session.retain(|row| all.iter().filter(|r| r.1 == row.1).count() >= steps.least);
        }
        sessions.retain(|session| !session.is_empty());
        let after: usize = sessions.iter().map(Vec::len).sum();
        if !steps.until_stable || after == before {
            break;
        }
    }
    let mut items = BTreeSet::new();
    for row in sessions.iter().flatten() {
        items.insert(row.1);
    }
    let rank: BTreeMap<u64, u32> = items.iter().copied().zip(0..).collect();
    let mut cut = Vec::new();
    for session in sessions {
        let mut events = Vec::new();
        for (_, item, time, kind) in session {
            events.push((rank[&item], time, kind));
        }
        match steps.long {
            LongSessions::Drop if events.len() > steps.max_length => {}
            LongSessions::Last => {
                let start = events.len().saturating_sub(steps.max_length);
                cut.push(events.split_off(start));
            }
            _ => cut.extend(events.chunks(steps.max_length).map(<[_]>::to_vec)),
        }
    }
    Plain {
        sessions: cut,
        items: items.iter().map(u64::to_string).collect(),
    }
}

fn continues(session: &[Row], row: &Row, gap: Option<i64>) -> bool {
    let last = &session[session.len() - 1];
    last.0 == row.0 && gap.is_none_or(|gap| row.2 - last.2 <= gap)
}
