//! Session-kNN tuned for accuracy: a longer window than the published VMIS-kNN, a decay by distance
//! inside the neighbour, and the session's own items left out where a log never repeats them.
//!
//! For a window s of n items (positions 1..n, oldest first), over the `k` most similar of the `m`
//! latest past sessions h that share an item with it:
//!
//! ```text
//! sim(h)   = sum over the shared items of exp((p - n) / 2)      p: last position of the item in s
//! score(i) = sum over h of sim(h) ln(H / H_i) exp(-|q_i - q_h| / 5) / |h|^(1/4)      i in h
//! ```
//!
//! q_i is the position of i in h, q_h that of the shared item with the largest p; H_i of the H past
//! sessions contain i. The constants were chosen on the validation split of a slice of
//! RetailRocket.

use std::ops::Range;

use prl_dataset::Dataset;

use crate::session_index::{
    ItemSessions, KnnArrays, KnnError, inverse_frequencies, popularity_scores, session_counts,
    training_sessions, vote_probabilities,
};
use crate::votes::{Floor, Sums, Votes};
use crate::{Baseline, Popularity};

/// Past sessions compared with a window, and neighbours: the latest and the most similar.
const M: usize = 500;
const K: usize = 500;
/// Items of the window that are used.
const WINDOW: usize = 10;
/// Decay of a shared item's weight by its distance from the end of the window.
const POSITION_DECAY: f64 = 2.0;
/// Decay of an item's score by its distance from the shared item in the neighbour.
const DISTANCE_DECAY: f64 = 5.0;
/// Distances whose decay is computed once.
const DISTANCES: usize = 64;
/// Exponent of the neighbour's length.
const LENGTH_EXPONENT: f64 = 0.25;
/// Score of an own item that is left out: below every other.
const LEFT_OUT: f32 = -2.0;

/// Fitted state of a [`SequenceKnn`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceArrays {
    /// Sessions in the order of their last event; the distinct items of each in the order of their
    /// latest events.
    pub sessions: KnnArrays,
    /// Whether the items of the window are left out of the ranking.
    pub leaves_own_out: bool,
}

impl SequenceArrays {
    /// Collects the training events of a dataset. Own items are left out if the sessions do not
    /// repeat items ([`Dataset::repeats_items`]).
    fn fit_to(data: &Dataset, parts: &[Range<usize>]) -> Self {
        let items = data.item_indices();
        let mut sessions = KnnArrays {
            offsets: vec![0],
            items: Vec::new(),
            popularity: Popularity::fit_to(data, parts).counts().to_vec(),
        };
        for part in parts {
            let held = &items[part.clone()];
            for (at, item) in held.iter().enumerate() {
                if !held[at + 1..].contains(item) {
                    sessions.items.push(*item);
                }
            }
            sessions.offsets.push(sessions.items.len() as u64);
        }
        Self {
            sessions,
            leaves_own_out: !data.repeats_items(),
        }
    }
}

/// Scores an item by the similar past sessions that contain it, and by its place in them. Items in
/// none of them have a negative score, ordered by popularity.
#[derive(Clone, Debug)]
pub struct SequenceKnn {
    arrays: SequenceArrays,
    index: ItemSessions,
    /// ln(H / H_i) of each item.
    idf: Vec<f64>,
    /// Scores of a window without neighbours.
    floor: Floor,
    /// [`decay`] of the smaller distances.
    decay: Vec<f64>,
}

impl SequenceKnn {
    /// Indexes the training sessions of a dataset.
    pub fn fit(data: &Dataset) -> Self {
        Self::fit_to(data, &training_sessions(data))
    }

    /// Collects the events in these ranges, a session each, the later ones later in time.
    pub fn fit_to(data: &Dataset, sessions: &[Range<usize>]) -> Self {
        Self::new(SequenceArrays::fit_to(data, sessions))
    }

    /// Restores the baseline from saved arrays.
    ///
    /// # Errors
    /// [`KnnError`] if the arrays do not form sessions of distinct items of the catalogue.
    pub fn from_arrays(arrays: SequenceArrays) -> Result<Self, KnnError> {
        arrays.sessions.check_sequences()?;
        Ok(Self::new(arrays))
    }

    fn new(arrays: SequenceArrays) -> Self {
        let counts = session_counts(&arrays.sessions);
        Self {
            index: ItemSessions::new(&arrays.sessions, &counts, M),
            idf: inverse_frequencies(&counts, arrays.sessions.sessions()),
            floor: Floor::new(popularity_scores(&arrays.sessions.popularity)),
            decay: (0..DISTANCES).map(decay).collect(),
            arrays,
        }
    }

    /// Fitted arrays, for saving.
    pub fn arrays(&self) -> &SequenceArrays {
        &self.arrays
    }

    /// Size of the search's arrays in bytes.
    pub fn bytes(&self) -> usize {
        self.arrays.sessions.bytes()
            + self.index.bytes()
            + self.floor.bytes()
            + size_of_val(&self.idf[..])
    }
}

impl SequenceKnn {
    /// Scores of the items of the neighbours.
    pub(crate) fn search(&self, history: &[u32]) -> Votes<'_> {
        let window = &history[history.len().saturating_sub(WINDOW)..];
        let mut sums = Sums::new(self.idf.len());
        let weight = |position| (-((window.len() - position) as f64) / POSITION_DECAY).exp();
        for neighbour in self.index.neighbours(window, M, K, weight) {
            let items = self.arrays.sessions.items_of(neighbour.session);
            let latest = window[neighbour.latest - 1];
            let place = items.iter().position(|&item| item == latest).unwrap_or(0);
            let vote = neighbour.weight / (items.len() as f64).powf(LENGTH_EXPONENT);
            for (at, &item) in items.iter().enumerate() {
                let near = match self.decay.get(at.abs_diff(place)) {
                    Some(near) => *near,
                    None => decay(at.abs_diff(place)),
                };
                let share = (vote * near * self.idf[item as usize]) as f32;
                // A share of 0 keeps the item at its popularity score, below all neighbours' items.
                if share > 0.0 {
                    sums.add(item, share);
                }
            }
        }
        let votes = Votes::new(sums.finish(), &self.floor);
        match self.arrays.leaves_own_out {
            true => votes.leave_out(history, LEFT_OUT),
            false => votes,
        }
    }
}

/// exp(-distance / 5): weight of an item by its distance from the shared item in the neighbour.
fn decay(distance: usize) -> f64 {
    (-(distance as f64) / DISTANCE_DECAY).exp()
}

impl Baseline for SequenceKnn {
    fn scores(&self, history: &[u32]) -> Vec<f32> {
        self.search(history).dense()
    }

    fn votes(&self, history: &[u32]) -> Option<Votes<'_>> {
        Some(self.search(history))
    }

    fn probabilities(&self, history: &[u32]) -> Vec<f64> {
        vote_probabilities(&self.scores(history))
    }
}

#[cfg(test)]
mod tests {
    use super::{KnnArrays, LEFT_OUT, SequenceArrays, SequenceKnn};
    use crate::Baseline;

    fn knn(leaves_own_out: bool) -> SequenceKnn {
        let sessions = KnnArrays {
            offsets: vec![0, 3, 5, 6],
            items: vec![0, 1, 2, 1, 3, 4],
            popularity: vec![1, 2, 1, 1, 1],
        };
        SequenceKnn::from_arrays(SequenceArrays {
            sessions,
            leaves_own_out,
        })
        .unwrap()
    }

    #[test]
    fn scores_match_hand_computation() {
        // Both sessions with item 1 are neighbours of the window [0, 1]; session 0 shares both.
        let scores = knn(false).scores(&[0, 1]);
        let (first, second) = (1.0 + (-0.5_f64).exp(), 1.0);
        let (rare, common) = (3.0_f64.ln(), 1.5_f64.ln());
        let near = (-0.2_f64).exp();
        let by_length = |n: f64| n.powf(0.25);
        let expected = [
            first * rare * near / by_length(3.0),
            first * common / by_length(3.0) + second * common / by_length(2.0),
            first * rare * near / by_length(3.0),
            second * rare * near / by_length(2.0),
            -0.5,
        ];
        for (score, expected) in scores.iter().zip(expected) {
            assert!((f64::from(*score) - expected).abs() < 1e-6, "{scores:?}");
        }
        let scores = knn(true).scores(&[0, 1]);
        assert_eq!(scores[..2], [LEFT_OUT, LEFT_OUT]);
        assert!((f64::from(scores[3]) - expected[3]).abs() < 1e-6);
        assert_eq!(knn(true).scores(&[]), [-0.5, -1.0 / 3.0, -0.5, -0.5, -0.5]);
        for (p, events) in knn(true)
            .probabilities(&[])
            .iter()
            .zip([1.0, 2.0, 1.0, 1.0, 1.0])
        {
            assert!((p - (events + 1.0) / 11.0).abs() < 1e-7, "{p}");
        }
        // Item 4 is in no neighbour: it has half of the smallest of the others' scores.
        let (least, sum) = (expected[3], expected[2] + expected[3]);
        let all = [0.0, 0.0, expected[2], expected[3], 0.5 * least];
        for (p, score) in knn(true).probabilities(&[0, 1]).iter().zip(all) {
            assert!((p - score / (sum + 0.5 * least)).abs() < 1e-6, "{p}");
        }
    }

    #[test]
    fn damaged_arrays_are_refused() {
        let with = |items: Vec<u32>| {
            let mut arrays = knn(false).arrays().clone();
            arrays.sessions.items = items;
            SequenceKnn::from_arrays(arrays)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert!(with(vec![0, 1, 2, 1, 3, 4]).is_ok());
        assert!(
            with(vec![0, 1, 0, 1, 3, 4])
                .unwrap_err()
                .contains("session 0")
        );
        assert!(with(vec![0, 1, 2, 1, 3, 9]).unwrap_err().contains("item 9"));
        assert!(with(vec![0, 1, 2]).unwrap_err().contains("offsets"));
    }
}
