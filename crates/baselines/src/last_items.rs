//! Items of the session itself, most recent first, then all others by popularity.

use std::collections::HashSet;

use crate::popularity::normalise;
use crate::{Baseline, Popularity};

/// Scores items in the window by recency, and all other items below them by popularity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastItems {
    popularity: Popularity,
}

impl LastItems {
    /// Baseline with this popularity for the items outside the window.
    pub fn new(popularity: Popularity) -> Self {
        Self { popularity }
    }

    /// Popularity of the items outside the window.
    pub fn popularity(&self) -> &Popularity {
        &self.popularity
    }
}

impl Baseline for LastItems {
    fn scores(&self, history: &[u32]) -> Vec<f32> {
        let mut scores = self.popularity.scores(history);
        let top = scores.iter().copied().fold(0.0, f32::max) + 1.0;
        for score in &mut scores {
            *score /= top;
        }
        for (i, &item) in history.iter().enumerate() {
            if let Some(score) = scores.get_mut(item as usize) {
                *score = (i + 1) as f32;
            }
        }
        scores
    }

    fn probabilities(&self, history: &[u32]) -> Vec<f64> {
        own_first(history, self.popularity.probabilities(history))
    }
}

/// Probabilities with the window's distinct items in front: in proportion 1 for the latest, 1/2 for
/// the one before it, and so on, and as much for all others together, by `rest`, as one more
/// own item would have.
pub(crate) fn own_first(history: &[u32], rest: Vec<f64>) -> Vec<f64> {
    let mut all = rest;
    let (mut seen, mut own) = (HashSet::new(), Vec::new());
    for &item in history.iter().rev() {
        if (item as usize) < all.len() && seen.insert(item) {
            all[item as usize] = 0.0;
            own.push(item);
        }
    }
    normalise(&mut all);
    let mut weight = 1.0;
    for _ in &own {
        weight *= 0.5;
    }
    for share in &mut all {
        *share *= weight;
    }
    for item in own.into_iter().rev() {
        weight *= 2.0;
        all[item as usize] = weight;
    }
    normalise(&mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::LastItems;
    use crate::{Baseline, Popularity};

    #[test]
    fn recent_items_precede_popular_items() {
        let last = LastItems::new(Popularity::from_counts(vec![5, 9, 0, 1]));
        let scores = last.scores(&[2, 0, 2]);
        let mut order: Vec<usize> = (0..4).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        assert_eq!(order, [2, 0, 1, 3]);
        // 1 and 1/2 of the own items, 1/4 for the rest as 10 : 2.
        let expected = [0.5, 0.25 * 10.0 / 12.0, 1.0, 0.25 * 2.0 / 12.0].map(|w| w / 1.75);
        for (p, expected) in last.probabilities(&[2, 0, 2]).iter().zip(expected) {
            assert!((p - expected).abs() < 1e-15, "{p} and {expected}");
        }
    }
}
