//! Attention of one head inside windows.

use crate::spans::Spans;

/// Which keys each query sees: those of its own window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The query rows of each window.
    pub queries: Spans,
    /// The key rows of each window.
    pub keys: Spans,
    /// Whether a query sees no key after its own position.
    pub causal: bool,
}

impl Pattern {
    /// The number of attention weights, a full matrix of queries x keys for each window.
    pub fn weights(&self) -> usize {
        self.queries.iter().zip(self.keys.iter()).map(|(q, k)| q.len() * k.len()).sum()
    }
}
