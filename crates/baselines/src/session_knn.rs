//! VMIS-kNN: what the sessions most like this one went on to hold.
//!
//! The method of Kersbergen, Sprangers and Schelter, "Serenade: Low-Latency Session-Based Recommendation in e-Commerce at
//! Scale" (SIGMOD '22), with the weights of their experiments' code. Of the past sessions that share an item with the window
//! s, the `m` latest are compared with it, and the `k` most similar of those vote:
//!
//! - similarity r(h) = sum over the shared items of w / |s|, where w = 1, 2, .., |s| is the place in s, oldest first, at
//!   which the item stands last (the decay is linear);
//! - score(i) = sum over the neighbours h that hold i of lambda(p) r(h) ln(H / H_i), where p = 1, 2, .. is the place, counted
//!   back from the latest, of the latest item that h shares, lambda(p) = 1 - p / 10, and H_i of the H past sessions hold i.
//!
//! Two things differ from that code. The window's own items are not left out, because the protocol counts repeats as cases;
//! and lambda ends at 0, where there it falls below for matches more than ten places back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use prl_dataset::Dataset;
use serde::{Deserialize, Serialize};

use crate::Baseline;
use crate::session_index::{Holders, KnnArrays, KnnError};

/// How neighbours are found. The defaults are those of the public recommender, Serenade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnnOptions {
    /// Past sessions compared with a window: the latest that share an item with it. At 0 only popularity is left.
    pub m: usize,
    /// Neighbours that vote: the most similar of those. At 0 only popularity is left.
    pub k: usize,
    /// Items of the window that count, the latest.
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

/// Scores an item by the past sessions like this one that hold it. What they say nothing of has a score below 0, by its
/// popularity.
#[derive(Clone, Debug)]
pub struct SessionKnn {
    options: KnnOptions,
    arrays: KnnArrays,
    holders: Holders,
    /// ln(H / H_i) of each item.
    idf: Vec<f64>,
    /// The scores of a window without neighbours.
    floor: Vec<f32>,
}

/// A past session that shares items with the window.
struct Neighbour {
    session: usize,
    /// Sum of the shared items' places: |s| times the similarity, exactly.
    places: usize,
    /// The place of the latest shared item, from 1 for the oldest.
    latest: usize,
}

impl SessionKnn {
    /// Remembers the training sessions.
    pub fn fit(data: &Dataset, options: KnnOptions) -> Self {
        Self::new(KnnArrays::of(data), options)
    }

    /// From arrays saved before.
    ///
    /// # Errors
    /// If the arrays describe no sessions.
    pub fn from_arrays(arrays: KnnArrays, options: KnnOptions) -> Result<Self, KnnError> {
        arrays.check()?;
        Ok(Self::new(arrays, options))
    }

    fn new(arrays: KnnArrays, options: KnnOptions) -> Self {
        let mut held_by = vec![0; arrays.popularity.len()];
        arrays
            .items
            .iter()
            .for_each(|&item| held_by[item as usize] += 1);
        let holders = Holders::new(&arrays, &held_by, options.m);
        let all = arrays.sessions() as f64;
        // An item that no session holds is never scored.
        let idf = held_by
            .iter()
            .map(|&n| (all / n.max(1) as f64).ln())
            .collect();
        let floor = arrays
            .popularity
            .iter()
            .map(|&n| -1.0 / (1.0 + n as f32))
            .collect();
        Self {
            options,
            arrays,
            holders,
            idf,
            floor,
        }
    }

    /// What to save.
    pub fn arrays(&self) -> &KnnArrays {
        &self.arrays
    }

    /// How neighbours are found.
    pub fn options(&self) -> KnnOptions {
        self.options
    }

    /// The `k` most similar of the `m` latest sessions that share an item with the window; of equals, the later.
    ///
    /// The lists of holders all run from the latest session back, so merging them meets the sessions in that order, each
    /// with all that it shares, and ends at the m-th.
    fn neighbours(&self, window: &[u32]) -> Vec<Neighbour> {
        let places = (1..=window.len())
            .zip(window)
            .filter(|&(place, item)| !window[place..].contains(item));
        let lists = places.filter_map(|(place, &item)| {
            let (&latest, older) = self.holders.of(item).split_first()?;
            Some((latest, place, older))
        });
        let mut heads: BinaryHeap<(usize, usize, &[usize])> = lists.collect();
        let mut found: Vec<Neighbour> = Vec::new();
        while let Some((session, place, older)) = heads.pop() {
            if let Some(met) = found.last_mut().filter(|met| met.session == session) {
                met.places += place;
            } else if found.len() < self.options.m {
                found.push(Neighbour {
                    session,
                    places: place,
                    latest: place,
                });
            } else {
                break;
            }
            if let Some((&next, older)) = older.split_first() {
                heads.push((next, place, older));
            }
        }
        found.sort_by_key(|n| Reverse(n.places));
        found.truncate(self.options.k);
        found
    }
}

impl Baseline for SessionKnn {
    fn scores(&self, history: &[u32]) -> Vec<f32> {
        let window = &history[history.len().saturating_sub(self.options.window)..];
        let mut scores = self.floor.clone();
        for n in self.neighbours(window) {
            let back = window.len() - n.latest + 1;
            let vote = match_weight(back) * n.places as f64 / window.len() as f64;
            for &item in self.arrays.items_of(n.session) {
                let share = (vote * self.idf[item as usize]) as f32;
                // Nothing said is not a score of 0: popularity then decides.
                if share > 0.0 {
                    let score = &mut scores[item as usize];
                    *score = score.max(0.0) + share;
                }
            }
        }
        scores
    }
}

/// lambda: how much a match counts whose latest item stands `back` places from the end, 1 for the latest.
fn match_weight(back: usize) -> f64 {
    (1.0 - 0.1 * back as f64).max(0.0)
}
