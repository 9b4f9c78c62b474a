//! Recommenders that need no training worth the name, for every table.
//!
//! Each scores all items for a window, densely and plainly: what a baseline says should be easy to check. They count and
//! remember: how often an item was seen ([`Popularity`]), which the window holds ([`LastItems`]), which past sessions are
//! like it ([`SessionKnn`]). They know nothing of prompts, and see no more of a session than the models do.
//!
//! Of the trained baselines SQN and SAC, here is the arithmetic of their losses ([`DoubleQ`], [`Td`], [`Critic`]).

mod double_q;
mod last_items;
mod popularity;
mod session_index;
mod session_knn;

pub use double_q::{Critic, DoubleQ, Td, Uneven, warm_up_steps};
pub use last_items::LastItems;
pub use popularity::Popularity;
pub use session_index::{KnnArrays, KnnError};
pub use session_knn::{KnnOptions, SessionKnn};

/// A recommender that scores every item for a window.
pub trait Baseline: Send + Sync {
    /// Scores of all items, higher first; `history` is the window's items, oldest first, without padding.
    fn scores(&self, history: &[u32]) -> Vec<f32>;
}
