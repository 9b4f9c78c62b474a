//! Recommenders that need no training worth the name, for every table.
//!
//! Each scores all items for a window, densely and plainly: what a baseline says should be easy to check. They know nothing
//! of prompts, and see no more of a session than the models do.

mod last_items;
mod popularity;

pub use last_items::LastItems;
pub use popularity::Popularity;

/// A recommender that scores every item for a window.
pub trait Baseline: Send + Sync {
    /// Scores of all items, higher first; `history` is the window's items, oldest first, without padding.
    fn scores(&self, history: &[u32]) -> Vec<f32>;
}
