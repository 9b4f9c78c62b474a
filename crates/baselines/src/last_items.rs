//! The items of the session itself, the latest first; after them the popular ones.

use crate::{Baseline, Popularity};

/// Scores an item of the window by how late it stands, every other item by its popularity, below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastItems {
    popularity: Popularity,
}

impl LastItems {
    /// On top of a popularity.
    pub fn new(popularity: Popularity) -> Self {
        Self { popularity }
    }

    /// The popularity below.
    pub fn popularity(&self) -> &Popularity {
        &self.popularity
    }
}

impl Baseline for LastItems {
    fn scores(&self, history: &[u32]) -> Vec<f32> {
        let mut scores = self.popularity.scores(history);
        let top = scores.iter().copied().fold(0.0, f32::max) + 1.0;
        scores.iter_mut().for_each(|s| *s /= top);
        for (i, &item) in history.iter().enumerate() {
            if let Some(score) = scores.get_mut(item as usize) {
                *score = (i + 1) as f32;
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::LastItems;
    use crate::{Baseline, Popularity};

    #[test]
    fn the_latest_item_leads_and_popularity_follows() {
        let last = LastItems::new(Popularity::from_counts(vec![5, 9, 0, 1]));
        let scores = last.scores(&[2, 0, 2]);
        let mut order: Vec<usize> = (0..4).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        assert_eq!(order, [2, 0, 1, 3]);
    }
}
