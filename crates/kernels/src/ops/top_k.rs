//! The best of many (item, score), kept while they go by.

use std::cmp::Ordering;

use crate::Real;

/// Higher scores first, equal ones by lower index. No NaN comes here.
pub(crate) fn order<T: Real>(a: &(u32, T), b: &(u32, T)) -> Ordering {
    b.1.partial_cmp(&a.1)
        .unwrap_or(Ordering::Equal)
        .then(a.0.cmp(&b.0))
}

/// Leaves the `k` best, best first.
pub(crate) fn best<T: Real>(all: &mut Vec<(u32, T)>, k: usize) {
    if 0 < k && k < all.len() {
        all.select_nth_unstable_by(k - 1, order);
    }
    all.truncate(k);
    all.sort_unstable_by(order);
}

/// TopKLists of the `k` best so far, unsorted, in one block of memory. A list takes up to `2 k` before it is cut back to its
/// best, so that a cut is paid for by as many cheap additions.
pub(crate) struct TopKLists<T> {
    entries: Vec<(u32, T)>,
    lengths: Vec<usize>,
    k: usize,
    /// Places of a list.
    room: usize,
}

impl<T: Real> TopKLists<T> {
    /// TopKLists that see `items` items each: however large `k` is, none needs more places.
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

    /// Adds an item. If that made the list be cut, returns its least score: whatever comes later must exceed it, as an equal
    /// score of a higher index is not among the best.
    pub(crate) fn push(&mut self, b: usize, item: u32, score: T) -> Option<T> {
        self.entries[b * self.room + self.lengths[b]] = (item, score);
        self.lengths[b] += 1;
        if self.lengths[b] == self.room {
            self.cut(b)
        } else {
            None
        }
    }

    /// Cuts a list back to its best, and returns the least of their scores, if they are `k`.
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
