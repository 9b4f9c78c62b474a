//! Items of the session itself, most recent first, then all others by popularity.

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
    }
}
