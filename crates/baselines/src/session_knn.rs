//! VMIS-kNN: scores items by the past sessions most similar to the window.
//!
//! Method of Kersbergen, Sprangers and Schelter, "Serenade: Low-Latency Session-Based
//! Recommendation in e-Commerce at Scale" (SIGMOD '22), with the weights of their experiments'
//! code. The `m` latest past sessions that share an item with the window s are compared with it,
//! and the `k` most similar of them are the neighbours:
//!
//! - similarity r(h) = sum over the shared items of w / |s|, where w = 1, 2, .., |s| is the last
//!   position of the item in s, oldest first (linear decay);
//! - score(i) = sum over the neighbours h that contain i of lambda(p) r(h) ln(H / H_i), where
//!   p = 1, 2, .. is the position, counted back from the end of s, of the latest shared item,
//!   lambda(p) = 1 - p / 10, and H_i of the H past sessions contain i.
//!
//! Two differences from that code: items of the window are not excluded, because the protocol
//! counts repeats as cases; and lambda is clamped at 0, while theirs is negative for matches more
//! than ten positions back.

use std::ops::Range;

use prl_dataset::Dataset;
use serde::{Deserialize, Serialize};

use crate::session_index::{
    ItemSessions, KnnArrays, KnnError, inverse_frequencies, popularity_scores, session_counts,
    vote_probabilities,
};
use crate::votes::{Floor, Sums, Votes};
use crate::{Baseline, training_sessions};

/// Options of the neighbour search. The defaults are those of Serenade, the published recommender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnnOptions {
    /// Number of past sessions compared with a window: the latest that share an item with it. With
    /// 0 the ranking is by popularity.
    pub m: usize,
    /// Number of neighbours: the most similar of those. With 0 the ranking is by popularity.
    pub k: usize,
    /// Number of the window's latest items that are used.
    pub window: usize,
}

impl Default for KnnOptions {
    fn default() -> Self {
        Self {
            m: 500,
            k: 500,
            window: 2,
        }
    }
}

/// Scores an item by the similar past sessions that contain it. Items in none of them have a
/// negative score, ordered by popularity.
#[derive(Clone, Debug)]
pub struct SessionKnn {
    options: KnnOptions,
    arrays: KnnArrays,
    index: ItemSessions,
    /// ln(H / H_i) of each item.
    idf: Vec<f64>,
    /// Scores of a window without neighbours.
    floor: Floor,
}

impl SessionKnn {
    /// Indexes the training sessions of a dataset.
    pub fn fit(data: &Dataset, options: KnnOptions) -> Self {
        Self::fit_to(data, &training_sessions(data), options)
    }

    /// Collects the events in these ranges, a session each, the later ones later in time.
    pub fn fit_to(data: &Dataset, sessions: &[Range<usize>], options: KnnOptions) -> Self {
        Self::new(KnnArrays::fit_to(data, sessions), options)
    }

    /// Restores the baseline from saved arrays.
    ///
    /// # Errors
    /// [`KnnError`] if the arrays violate an invariant of [`KnnArrays`].
    pub fn from_arrays(arrays: KnnArrays, options: KnnOptions) -> Result<Self, KnnError> {
        arrays.check()?;
        Ok(Self::new(arrays, options))
    }

    fn new(arrays: KnnArrays, options: KnnOptions) -> Self {
        let counts = session_counts(&arrays);
        Self {
            options,
            index: ItemSessions::new(&arrays, &counts, options.m),
            idf: inverse_frequencies(&counts, arrays.sessions()),
            floor: Floor::new(popularity_scores(&arrays.popularity)),
            arrays,
        }
    }

    /// Fitted arrays, for saving.
    pub fn arrays(&self) -> &KnnArrays {
        &self.arrays
    }

    /// Options of the neighbour search.
    pub fn options(&self) -> KnnOptions {
        self.options
    }

    /// Size of the search's arrays in bytes.
    pub fn bytes(&self) -> usize {
        self.arrays.bytes() + self.index.bytes() + self.floor.bytes() + size_of_val(&self.idf[..])
    }
}

impl SessionKnn {
    /// Scores of the items of the neighbours.
    fn search(&self, history: &[u32]) -> Votes<'_> {
        let window = &history[history.len().saturating_sub(self.options.window)..];
        let mut sums = Sums::new(self.idf.len());
        let KnnOptions { m, k, .. } = self.options;
        for n in self
            .index
            .neighbours(window, m, k, |position| position as f64)
        {
            let back = window.len() - n.latest + 1;
            let vote = match_weight(back) * n.weight / window.len() as f64;
            for &item in self.arrays.items_of(n.session) {
                let share = (vote * self.idf[item as usize]) as f32;
                // A share of 0 keeps the item at its popularity score, below all neighbours' items.
                if share > 0.0 {
                    sums.add(item, share);
                }
            }
        }
        Votes::new(sums.finish(), &self.floor)
    }
}

impl Baseline for SessionKnn {
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

/// lambda(p): weight of a match whose latest shared item is `back` positions from the end, from 1.
fn match_weight(back: usize) -> f64 {
    (1.0 - 0.1 * back as f64).max(0.0)
}
