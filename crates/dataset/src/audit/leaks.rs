//! What one split tells of another: overlap in time, twin sessions, ties.
//!
//! A session's *part* in a split is the run of its events that are targets there; in a random or a time split that is the
//! whole session.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use serde::Serialize;

use super::share;
use crate::dataset::Dataset;
use crate::event::Split;

/// What one split tells of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leaks {
    /// For each pair of splits that both have targets.
    pub overlaps: Vec<Overlap>,
    /// For val and test.
    #[serde(rename = "twins")]
    pub duplicates: Vec<DuplicateSessions>,
    /// The share of events that carry the same time as the event before them in their session, among those that have one
    /// before them. Their order is the file's, not the clock's.
    pub tied_share: f64,
}

/// How far two splits overlap in time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// The split learned from first.
    pub earlier: Split,
    /// The split predicted with it.
    pub later: Split,
    /// Parts in the later split that begin before the last event of the earlier one: a model has then seen their future.
    pub sessions: u64,
    /// Their share of the parts in the later split. None in a split by time; nearly all in a random one.
    pub share: f64,
}

/// Sessions met in training item for item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DuplicateSessions {
    /// The split.
    pub split: Split,
    /// Its parts of two events or more that have the same items in the same order as a part in training. Counted by a 64-bit
    /// hash: among ten million sessions a false twin is less likely than one in a hundred thousand.
    pub sessions: u64,
    /// Their share of its parts of two events or more.
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

/// The parts of all sessions in `split`.
fn parts(data: &Dataset, split: Split) -> impl Iterator<Item = Range<usize>> + '_ {
    data.sessions().filter_map(move |session| {
        // Splits never go back along a session.
        let splits = &data.splits()[session.clone()];
        let start = session.start + splits.partition_point(|&s| s < split);
        let end = session.start + splits.partition_point(|&s| s <= split);
        (start < end).then_some(start..end)
    })
}

fn overlaps(data: &Dataset) -> Vec<Overlap> {
    let times = data.times();
    let last = |split| parts(data, split).map(|part| times[part.end - 1]).max();
    let pairs = [
        (Split::Train, Split::Val),
        (Split::Train, Split::Test),
        (Split::Val, Split::Test),
    ];
    let overlap = |(earlier, later)| {
        let last = last(earlier)?;
        let (mut sessions, mut all) = (0, 0);
        for part in parts(data, later) {
            all += 1;
            sessions += usize::from(times[part.start] < last);
        }
        (all > 0).then(|| Overlap {
            earlier,
            later,
            sessions: sessions as u64,
            share: share(sessions, all),
        })
    };
    pairs.into_iter().filter_map(overlap).collect()
}

fn duplicates(data: &Dataset) -> Vec<DuplicateSessions> {
    let items = data.item_indices();
    let hashes = |split| {
        parts(data, split)
            .filter(|part| part.len() >= 2)
            .map(|part| {
                let mut hasher = DefaultHasher::new();
                items[part].hash(&mut hasher);
                hasher.finish()
            })
    };
    let mut train: Vec<u64> = hashes(Split::Train).collect();
    train.sort_unstable();
    train.dedup();
    let count = |split| {
        let (mut sessions, mut all) = (0, 0);
        for hash in hashes(split) {
            all += 1;
            sessions += usize::from(train.binary_search(&hash).is_ok());
        }
        DuplicateSessions {
            split,
            sessions: sessions as u64,
            share: share(sessions, all),
        }
    };
    [Split::Val, Split::Test].map(count).to_vec()
}

fn tied_share(data: &Dataset) -> f64 {
    let (mut ties, mut all) = (0, 0);
    for session in data.sessions() {
        let times = &data.times()[session];
        all += times.len() - 1;
        ties += times.windows(2).filter(|w| w[0] == w[1]).count();
    }
    share(ties, all)
}
