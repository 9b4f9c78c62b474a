//! The vectors of single items in the layout for serving, and their lengths.

use std::sync::Arc;

use super::{PANEL, TransposedItemMatrix};
use crate::Real;

impl<T: Real> TransposedItemMatrix<T> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// The same vectors without a bias; they are shared.
    pub fn without_bias(&self) -> Self {
        Self {
            panels: Arc::clone(&self.panels),
            bias: vec![T::zero(); self.bias.len()],
            bias_bound: 0.0,
            int8: self.int8.clone(),
            ..*self
        }
    }

    /// The vector of an item.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn vector(&self, item: u32) -> Vec<T> {
        let item = item as usize;
        assert!(item < self.items, "item {item} of {}", self.items);
        let panel = &self.panels[item / PANEL * PANEL * self.width..][..PANEL * self.width];
        let mut vector = Vec::with_capacity(self.width);
        for row in panel.chunks_exact(PANEL) {
            vector.push(row[item % PANEL]);
        }
        vector
    }

    /// The Euclidean length of each item's vector.
    pub fn norms(&self) -> Vec<T> {
        let mut norms = Vec::with_capacity(self.bias.len());
        for panel in self.panels.chunks_exact((PANEL * self.width).max(1)) {
            let mut squares = [T::zero(); PANEL];
            for row in panel.chunks_exact(PANEL) {
                for (square, &x) in squares.iter_mut().zip(row) {
                    *square += x * x;
                }
            }
            norms.extend(squares.map(T::sqrt));
        }
        norms.truncate(self.items);
        norms
    }
}
