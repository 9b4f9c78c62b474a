//! Baseline recommenders, and the losses of two trained baselines.
//!
//! A [`Baseline`] scores all items for a window of a session. [`Popularity`] ranks by training
//! frequency, [`PopularityRecent`] by that of late, [`LastItems`] by recency in the window,
//! [`SessionKnn`] by similar past sessions (VMIS-kNN), [`SequenceKnn`] by the same with a decay by
//! distance, [`LastItemsKnn`] by recency and then by similar sessions. They take no prompt and read
//! the same window as the models.
//!
//! [`DoubleQ`], [`TdLoss`] and [`Critic`] are the losses of SQN (self-supervised Q-learning) and
//! SAC (self-supervised actor-critic).
//!
//! ```
//! use prl_baselines::{Baseline, LastItems, Popularity};
//!
//! let popularity = Popularity::from_counts(vec![5, 9, 0]); // training events of items 0, 1, 2
//! assert_eq!(popularity.scores(&[]), [5.0, 9.0, 0.0]);
//!
//! let scores = LastItems::new(popularity).scores(&[0, 2]); // item 2 is the most recent
//! assert!(scores[2] > scores[0] && scores[0] > scores[1]);
//! ```

mod last_items;
mod last_items_knn;
mod popularity;
mod popularity_recent;
mod q_learning;
mod sequence_knn;
mod session_index;
mod session_knn;
mod votes;

pub use last_items::LastItems;
pub use last_items_knn::LastItemsKnn;
pub use popularity::Popularity;
pub use popularity_recent::PopularityRecent;
pub use q_learning::{Critic, DoubleQ, LengthMismatch, TdLoss, warm_up_steps};
pub use sequence_knn::{SequenceArrays, SequenceKnn};
pub use session_index::{KnnArrays, KnnError, training_sessions};
pub use session_knn::{KnnOptions, SessionKnn};
pub use votes::Votes;

/// Recommender that scores every item for a window.
pub trait Baseline: Send + Sync {
    /// Scores of all items `[items]`, higher is better. `history` is the window's items, oldest
    /// first, without padding.
    fn scores(&self, history: &[u32]) -> Vec<f32>;

    /// The same scores without a pass over all items, if only few differ from one order of them.
    fn votes(&self, history: &[u32]) -> Option<Votes<'_>> {
        _ = history;
        None
    }

    /// Probabilities of all items `[items]`, in the order of their scores; 0 for an item that is
    /// left out of the ranking, and for no other.
    fn probabilities(&self, history: &[u32]) -> Vec<f64>;
}
