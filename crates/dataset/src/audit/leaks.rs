//! Leaks between splits: overlap in time, duplicate sessions, ties.
//!
//! A session's *part* in a split is the sequence of its events that are targets there; in a random
//! split or a split by time it is the whole session.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use serde::Serialize;

use super::share;
use crate::dataset::Dataset;
use crate::event::Split;

/// Information that leaks from one split to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leaks {
    /// Overlap in time of each pair of splits that both have targets.
    pub overlaps: Vec<Overlap>,
    /// Duplicates of training sessions in val and in test.
    #[serde(rename = "twins")]
    pub duplicates: Vec<DuplicateSessions>,
    /// Share of events with the same time as the previous event of their session, among those that
    /// have a previous event. Their order is the order of the file.
    pub tied_share: f64,
}

/// Overlap in time of two splits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// Earlier split: train or val.
    pub earlier: Split,
    /// Later split, which is predicted.
    pub later: Split,
    /// Number of parts in the later split that begin before the last event of the earlier one: the
    /// model was then trained on events of their future.
    pub sessions: u64,
    /// Share of these among the parts in the later split: 0 in a split by time, near 1 in a random
    /// split.
    pub share: f64,
}

/// Sessions with the same item sequence as a training session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DuplicateSessions {
    /// Val or test.
    pub split: Split,
    /// Number of parts of at least two events with the same items in the same order as a part in
    /// train. Compared by a 64-bit hash: among ten million sessions, the probability of a false
    /// duplicate is below 1e-5.
    pub sessions: u64,
    /// Share of these among the parts of at least two events.
    pub share: f64,
}

impl Leaks {
    pub(super) fn new(data: &Dataset) -> Self {
        Self {
            overlaps: overlaps(data),
            duplicates: duplicates(data),
            tied_share: tied_share(data),
        }
    }
}

/// Parts of all sessions in `split`.
fn parts(data: &Dataset, split: Split) -> impl Iterator<Item = Range<usize>> + '_ {
    let splits = data.splits();
    data.sessions().filter_map(move |session| {
        // Splits are ascending along a session.
        let splits = &splits[session.clone()];
        let start = session.start + splits.partition_point(|&s| s < split);
        let end = session.start + splits.partition_point(|&s| s <= split);
        (start < end).then_some(start..end)
    })
}

fn overlaps(data: &Dataset) -> Vec<Overlap> {
    let times = data.times();
    let pairs = [
        (Split::Train, Split::Val),
        (Split::Train, Split::Test),
        (Split::Val, Split::Test),
    ];
    let mut overlaps = Vec::new();
    for (earlier, later) in pairs {
        let ends = parts(data, earlier).map(|part| times[part.end - 1]);
        let Some(last) = ends.max() else {
            continue;
        };
        let (mut sessions, mut all) = (0, 0);
        for part in parts(data, later) {
            all += 1;
            sessions += usize::from(times[part.start] < last);
        }
        if all > 0 {
            overlaps.push(Overlap {
                earlier,
                later,
                sessions: sessions as u64,
                share: share(sessions, all),
            });
        }
    }
    overlaps
}

fn duplicates(data: &Dataset) -> Vec<DuplicateSessions> {
    let mut train: Vec<u64> = hashes(data, Split::Train).collect();
    train.sort_unstable();
    train.dedup();
    let mut duplicates = Vec::new();
    for split in [Split::Val, Split::Test] {
        let (mut sessions, mut all) = (0, 0);
        for hash in hashes(data, split) {
            all += 1;
            sessions += usize::from(train.binary_search(&hash).is_ok());
        }
        duplicates.push(DuplicateSessions {
            split,
            sessions: sessions as u64,
            share: share(sessions, all),
        });
    }
    duplicates
}

/// Hash of the item sequence of each part of at least two events in `split`.
fn hashes(data: &Dataset, split: Split) -> impl Iterator<Item = u64> + '_ {
    let items = data.item_indices();
    let long = parts(data, split).filter(|part| part.len() >= 2);
    long.map(|part| {
        let mut hasher = DefaultHasher::new();
        items[part].hash(&mut hasher);
        hasher.finish()
    })
}

fn tied_share(data: &Dataset) -> f64 {
    let times = data.times();
    let (mut ties, mut all) = (0, 0);
    for session in data.sessions() {
        let times = &times[session];
        all += times.len() - 1;
        ties += times.windows(2).filter(|w| w[0] == w[1]).count();
    }
    share(ties, all)
}
