//! Index of past sessions: the items of each session, and the latest sessions of each item.
//!
//! Sessions are numbered in the order of their last event, so a session's number stands for its
//! recency: times are not stored, and a descending list of numbers runs from the latest session
//! back.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;

use prl_dataset::{Dataset, Split};

use crate::Popularity;
use crate::popularity::normalise;

/// Fitted state of a [`SessionKnn`](crate::SessionKnn) as flat arrays. Sessions are in the order of
/// their last event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnnArrays {
    /// Start of each session in `items`, then the length of `items`: `sessions + 1` entries.
    pub offsets: Vec<u64>,
    /// Distinct items of each session, ascending.
    pub items: Vec<u32>,
    /// Number of training events of each item.
    pub popularity: Vec<u32>,
}

/// Arrays that do not form a valid index of past sessions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KnnError {
    /// The offsets do not span the items.
    #[error(
        "the session offsets do not span the {items} items of all sessions; train the run again"
    )]
    Span {
        /// Number of items.
        items: usize,
    },
    /// A session is empty, or its offsets are not ascending.
    #[error("past session {session} is empty or its offsets go back; train the run again")]
    Empty {
        /// Position of the session.
        session: usize,
    },
    /// The items of a session are not strictly ascending.
    #[error("past session {session} holds an item twice or out of order; train the run again")]
    Unsorted {
        /// Position of the session.
        session: usize,
    },
    /// A session contains an item index out of range.
    #[error(
        "past session {session} holds item {item}, but there are {items} items; train the run again"
    )]
    UnknownItem {
        /// Position of the session.
        session: usize,
        /// Item index.
        item: u32,
        /// Number of items.
        items: usize,
    },
}

impl KnnArrays {
    /// Collects the events in these ranges, a session each.
    pub(crate) fn fit_to(data: &Dataset, sessions: &[Range<usize>]) -> Self {
        let items = data.item_indices();
        let mut arrays = Self {
            offsets: vec![0],
            items: Vec::new(),
            popularity: Popularity::fit_to(data, sessions).counts().to_vec(),
        };
        for session in sessions {
            let mut held = items[session.clone()].to_vec();
            held.sort_unstable();
            held.dedup();
            arrays.items.append(&mut held);
            arrays.offsets.push(arrays.items.len() as u64);
        }
        arrays
    }

    /// Checks the invariants that the search relies on.
    pub(crate) fn check(&self) -> Result<(), KnnError> {
        self.check_offsets()?;
        self.check_items(|held| held.windows(2).all(|w| w[0] < w[1]))
    }

    fn check_offsets(&self) -> Result<(), KnnError> {
        if self.offsets.first() != Some(&0)
            || self.offsets.last() != Some(&(self.items.len() as u64))
        {
            return Err(KnnError::Span {
                items: self.items.len(),
            });
        }
        if let Some(session) = self.offsets.windows(2).position(|w| w[0] >= w[1]) {
            return Err(KnnError::Empty { session });
        }
        Ok(())
    }

    /// Checks the sessions of a [`SequenceKnn`](crate::SequenceKnn), whose items are distinct in
    /// any order.
    pub(crate) fn check_sequences(&self) -> Result<(), KnnError> {
        self.check_offsets()?;
        let mut sorted = Vec::new();
        self.check_items(|held| {
            sorted.clear();
            sorted.extend_from_slice(held);
            sorted.sort_unstable();
            sorted.windows(2).all(|w| w[0] < w[1])
        })
    }

    fn check_items(&self, mut is_valid: impl FnMut(&[u32]) -> bool) -> Result<(), KnnError> {
        let items = self.popularity.len();
        for session in 0..self.sessions() {
            let held = self.items_of(session);
            if !is_valid(held) {
                return Err(KnnError::Unsorted { session });
            }
            if let Some(&item) = held.iter().find(|&&item| item as usize >= items) {
                return Err(KnnError::UnknownItem {
                    session,
                    item,
                    items,
                });
            }
        }
        Ok(())
    }

    /// Number of past sessions.
    pub(crate) fn sessions(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.offsets[..])
            + size_of_val(&self.items[..])
            + size_of_val(&self.popularity[..])
    }

    /// Distinct items of a session, ascending.
    pub(crate) fn items_of(&self, session: usize) -> &[u32] {
        &self.items[self.offsets[session] as usize..self.offsets[session + 1] as usize]
    }
}

/// Training events of each session of a dataset, in the order of their last events; what the
/// baselines are fitted to.
pub fn training_sessions(data: &Dataset) -> Vec<Range<usize>> {
    let (splits, times) = (data.splits(), data.times());
    let mut parts = Vec::new();
    for session in data.sessions() {
        let start = session.start;
        let train = splits[session].partition_point(|&split| split == Split::Train);
        if train > 0 {
            parts.push(start..start + train);
        }
    }
    // The sort is stable: of sessions that end at the same time, the later in the log is later.
    parts.sort_by_key(|part| times[part.end - 1]);
    parts
}

/// Number of sessions that contain each item.
pub(crate) fn session_counts(arrays: &KnnArrays) -> Vec<usize> {
    let mut counts = vec![0; arrays.popularity.len()];
    for &item in &arrays.items {
        counts[item as usize] += 1;
    }
    counts
}

/// ln(H / H_i) of each item, where H_i of the H sessions contain it.
pub(crate) fn inverse_frequencies(counts: &[usize], sessions: usize) -> Vec<f64> {
    let mut idf = Vec::with_capacity(counts.len());
    for &n in counts {
        // An item in no session is never scored: max(1) only avoids the division by zero.
        idf.push((sessions as f64 / n.max(1) as f64).ln());
    }
    idf
}

/// Scores of a window without neighbours: negative, by popularity.
pub(crate) fn popularity_scores(popularity: &[u32]) -> Vec<f32> {
    let mut scores = Vec::with_capacity(popularity.len());
    for &n in popularity {
        scores.push(-1.0 / (1.0 + n as f32));
    }
    scores
}

/// Probabilities of a neighbour search's scores: score / sum of the positive scores. All items in
/// no neighbour together have half of the smallest positive score (everything without neighbours),
/// in proportion to their training events plus 1; an item that is left out has none.
pub(crate) fn vote_probabilities(scores: &[f32]) -> Vec<f64> {
    let (mut votes, mut least, mut events) = (0.0, f64::INFINITY, 0.0);
    for &score in scores {
        if score > 0.0 {
            votes += f64::from(score);
            least = least.min(f64::from(score));
        } else if is_by_popularity(score) {
            events -= 1.0 / f64::from(score);
        }
    }
    let floor = if votes > 0.0 { 0.5 * least } else { 1.0 };
    let mut all = Vec::with_capacity(scores.len());
    for &score in scores {
        all.push(if score > 0.0 {
            f64::from(score)
        } else if is_by_popularity(score) {
            -floor / f64::from(score) / events
        } else {
            0.0
        });
    }
    normalise(&mut all);
    all
}

/// Whether a score is one of [`popularity_scores`], -1 / (events + 1).
fn is_by_popularity(score: f32) -> bool {
    (-1.0..0.0).contains(&score)
}

/// Past session that shares items with a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Neighbour {
    pub(crate) session: usize,
    /// Sum of the shared items' weights.
    pub(crate) weight: f64,
    /// Last position in the window of the latest shared item, from 1 for the oldest.
    pub(crate) latest: usize,
}

/// Inverted index: the latest sessions that contain each item.
#[derive(Clone, Debug)]
pub(crate) struct ItemSessions {
    /// Start of each item's list in `sessions`: `items + 1` entries.
    offsets: Vec<usize>,
    /// Sessions, counted from `first`.
    sessions: Vec<u32>,
    /// The oldest session whose number has 32 bits; older ones are not found.
    first: usize,
}

impl ItemSessions {
    /// Keeps the `m` latest sessions of each item. Older ones can never be among the `m` latest
    /// sessions that share an item with a window. `session_counts` is the number of sessions that
    /// contain each item.
    pub(crate) fn new(arrays: &KnnArrays, session_counts: &[usize], m: usize) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        for &n in session_counts {
            end += n.min(m);
            offsets.push(end);
        }
        let mut next = offsets.clone();
        let mut sessions = vec![0; end];
        let first = arrays.sessions().saturating_sub(u32::MAX as usize);
        for session in (first..arrays.sessions()).rev() {
            for &item in arrays.items_of(session) {
                let item = item as usize;
                if next[item] < offsets[item + 1] {
                    sessions[next[item]] = (session - first) as u32;
                    next[item] += 1;
                }
            }
        }
        Self {
            offsets,
            sessions,
            first,
        }
    }

    /// Sessions that contain an item, latest first; empty for an item index out of range.
    fn sessions_with(&self, item: u32) -> &[u32] {
        match self.offsets.get(item as usize..item as usize + 2) {
            Some(at) => &self.sessions[at[0]..at[1]],
            None => &[],
        }
    }

    /// The `k` most similar of the `m` latest sessions that share an item with the window; among
    /// equally similar sessions, the later ones first. `weight` is that of a shared item by its
    /// last position in the window, from 1 for the oldest.
    ///
    /// The lists of sessions are descending, so a k-way merge yields the sessions from the latest
    /// back, each with all of its shared items in a row, and can stop after `m` sessions.
    pub(crate) fn neighbours(
        &self,
        window: &[u32],
        m: usize,
        k: usize,
        weight: impl Fn(usize) -> f64,
    ) -> Vec<Neighbour> {
        let mut heads: BinaryHeap<(u32, usize, &[u32])> = BinaryHeap::new();
        for (position, item) in (1..).zip(window) {
            let is_last = !window[position..].contains(item);
            if is_last && let Some((&latest, older)) = self.sessions_with(*item).split_first() {
                heads.push((latest, position, older));
            }
        }
        let mut found: Vec<Neighbour> = Vec::new();
        while let Some(mut head) = heads.peek_mut() {
            let (number, position, older) = *head;
            let session = self.first + number as usize;
            if found.last().is_none_or(|last| last.session != session) {
                if found.len() == m {
                    break;
                }
                // Entries of one session are taken by descending position: the first is the latest.
                found.push(Neighbour {
                    session,
                    weight: 0.0,
                    latest: position,
                });
            }
            if let Some(last) = found.last_mut() {
                last.weight += weight(position);
            }
            match older.split_first() {
                Some((&next, older)) => *head = (next, position, older),
                None => _ = PeekMut::pop(head),
            }
        }
        found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        found.truncate(k);
        found
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.offsets[..]) + size_of_val(&self.sessions[..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The neighbours by a pass over all sessions.
    fn plain(arrays: &KnnArrays, window: &[u32], m: usize, k: usize) -> Vec<Neighbour> {
        let mut found = Vec::new();
        for session in (0..arrays.sessions()).rev() {
            let held = arrays.items_of(session);
            let (mut weight, mut latest) = (0.0, 0);
            for position in (1..=window.len()).rev() {
                let item = window[position - 1];
                if held.contains(&item) && !window[position..].contains(&item) {
                    weight += 1.0 / position as f64;
                    latest = latest.max(position);
                }
            }
            if latest > 0 && found.len() < m {
                found.push(Neighbour {
                    session,
                    weight,
                    latest,
                });
            }
        }
        found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        found.truncate(k);
        found
    }

    proptest! {
        #[test]
        fn neighbours_are_those_of_a_pass_over_all_sessions(
            sessions in proptest::collection::vec(proptest::collection::btree_set(0_u32..8, 1..5), 1..30),
            window in proptest::collection::vec(0_u32..9, 0..6),
            m in 0_usize..12,
            k in 0_usize..12,
        ) {
            let mut arrays = KnnArrays {
                offsets: vec![0],
                items: Vec::new(),
                popularity: vec![1; 8],
            };
            for session in &sessions {
                arrays.items.extend(session);
                arrays.offsets.push(arrays.items.len() as u64);
            }
            let index = ItemSessions::new(&arrays, &session_counts(&arrays), m);
            let found = index.neighbours(&window, m, k, |position| 1.0 / position as f64);
            prop_assert_eq!(found, plain(&arrays, &window, m, k));
        }
    }
}
