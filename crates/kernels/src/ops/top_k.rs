//! Selection of the k highest-scoring items from a stream of (item, score).

use std::cmp::Ordering;

use crate::Real;

/// Higher scores first, equal scores by lower index. Scores must not be NaN.
pub(crate) fn order<T: Real>(a: &(u32, T), b: &(u32, T)) -> Ordering {
    b.1.partial_cmp(&a.1)
        .unwrap_or(Ordering::Equal)
        .then(a.0.cmp(&b.0))
}

/// Truncates to the `k` best, best first.
pub(crate) fn best<T: Real>(all: &mut Vec<(u32, T)>, k: usize) {
    if 0 < k && k < all.len() {
        all.select_nth_unstable_by(k - 1, order);
    }
    all.truncate(k);
    all.sort_unstable_by(order);
}

/// Unsorted running top-k lists in one allocation. A list grows to `2 k` before it is cut back
/// to its `k` best, so a selection is amortised over k insertions.
pub(crate) struct TopKLists<T> {
    entries: Vec<(u32, T)>,
    lengths: Vec<usize>,
    k: usize,
    /// Capacity of a list.
    room: usize,
}

impl<T: Real> TopKLists<T> {
    /// Lists over `items` items each, which bounds their capacity for any `k`.
    pub(crate) fn new(lists: usize, k: usize, items: usize) -> Self {
        let room = k.saturating_mul(2).min(items);
        Self {
            entries: vec![(0, T::zero()); lists * room],
            lengths: vec![0; lists],
            k,
            room,
        }
    }

    pub(crate) fn list(&self, b: usize) -> &[(u32, T)] {
        &self.entries[b * self.room..][..self.lengths[b]]
    }

    /// Adds an item. If the list was cut, returns its smallest score as the new threshold: later
    /// items have higher indices, so an equal score does not qualify.
    pub(crate) fn push(&mut self, b: usize, item: u32, score: T) -> Option<T> {
        self.entries[b * self.room + self.lengths[b]] = (item, score);
        self.lengths[b] += 1;
        if self.lengths[b] == self.room {
            self.cut(b)
        } else {
            None
        }
    }

    /// Cuts a list back to its `k` best and returns the smallest of their scores; `None` if it has
    /// fewer.
    pub(crate) fn cut(&mut self, b: usize) -> Option<T> {
        let list = &mut self.entries[b * self.room..][..self.lengths[b]];
        if list.len() < self.k || self.k == 0 {
            return None;
        }
        let (_, &mut (_, least), _) = list.select_nth_unstable_by(self.k - 1, order);
        self.lengths[b] = self.k;
        Some(least)
    }
}
