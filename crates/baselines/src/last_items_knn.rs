//! Items of the session itself, most recent first, then all others by the tuned session-kNN.

use crate::last_items::own_first;
use crate::{Baseline, SequenceKnn, Votes};

/// Scores items in the window by recency, and all other items below them by similar sessions, then
/// by popularity.
#[derive(Clone, Debug)]
pub struct LastItemsKnn {
    knn: SequenceKnn,
}

impl LastItemsKnn {
    /// Baseline with this order of the items outside the window.
    pub fn new(knn: SequenceKnn) -> Self {
        Self { knn }
    }

    fn search(&self, history: &[u32]) -> Votes<'_> {
        self.knn.search(history).put_first(history)
    }
}

impl Baseline for LastItemsKnn {
    fn scores(&self, history: &[u32]) -> Vec<f32> {
        self.search(history).dense()
    }

    fn votes(&self, history: &[u32]) -> Option<Votes<'_>> {
        Some(self.search(history))
    }

    fn probabilities(&self, history: &[u32]) -> Vec<f64> {
        own_first(history, self.knn.probabilities(history))
    }
}

#[cfg(test)]
mod tests {
    use super::LastItemsKnn;
    use crate::{Baseline, KnnArrays, SequenceArrays, SequenceKnn};

    #[test]
    fn own_items_precede_neighbours_items_precede_popular_items() {
        let sessions = KnnArrays {
            offsets: vec![0, 3, 5, 6, 7],
            items: vec![0, 1, 2, 1, 3, 4, 5],
            popularity: vec![1, 2, 1, 1, 1, 8],
        };
        for leaves_own_out in [true, false] {
            let arrays = SequenceArrays {
                sessions: sessions.clone(),
                leaves_own_out,
            };
            let knn = SequenceKnn::from_arrays(arrays).unwrap();
            let last = LastItemsKnn::new(knn);
            let (scores, shares) = (last.scores(&[0, 1]), last.probabilities(&[0, 1]));
            let mut order: Vec<usize> = (0..6).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            assert_eq!(order, [1, 0, 2, 3, 5, 4]);
            assert!(order.windows(2).all(|w| shares[w[0]] > shares[w[1]]));
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}
