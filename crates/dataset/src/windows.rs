//! Windows: the states that encoders read, the last items before a time step.

use std::ops::Range;

use crate::event::Kind;

/// Batch of windows, one for each session: its last items before the time step to predict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Window length L.
    pub window_len: usize,
    /// Item indices `[B, L]`, oldest first, padded on the **right** with the pad id (the number of
    /// items).
    pub items: Vec<u32>,
    /// Kind of the event at each position `[B, L]`, clicks past the end.
    pub kinds: Vec<Kind>,
    /// Valid positions `[B]`: min(L, t), or 1 for an empty session, whose one position is a pad.
    pub lengths: Vec<u32>,
    /// Time step t `[B]`: the number of earlier events in the session.
    pub time_steps: Vec<u32>,
}

impl Windows {
    /// Empty batch of windows of length `window_len`.
    pub fn new(window_len: usize) -> Self {
        Self {
            window_len,
            ..Self::default()
        }
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether the batch is empty.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The windows in a range.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let positions = rows.start * self.window_len..rows.end * self.window_len;
        Self {
            window_len: self.window_len,
            items: self.items[positions.clone()].to_vec(),
            kinds: self.kinds[positions].to_vec(),
            lengths: self.lengths[rows.clone()].to_vec(),
            time_steps: self.time_steps[rows].to_vec(),
        }
    }

    /// The windows of some rows, in the order given.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut selected = Self::new(self.window_len);
        for &row in rows {
            let positions = row * self.window_len..(row + 1) * self.window_len;
            selected
                .items
                .extend_from_slice(&self.items[positions.clone()]);
            selected.kinds.extend_from_slice(&self.kinds[positions]);
            selected.lengths.push(self.lengths[row]);
            selected.time_steps.push(self.time_steps[row]);
        }
        selected
    }

    /// Appends the window at the end of `history`, the clicks of the whole session so far, oldest
    /// first.
    pub fn push(&mut self, history: &[u32], pad: u32) {
        self.push_events(history, &[], pad);
    }

    /// As [`push`](Self::push), of events whose kinds are `kinds`; events past the end of that
    /// list are clicks.
    pub fn push_events(&mut self, history: &[u32], kinds: &[Kind], pad: u32) {
        let first = history.len().saturating_sub(self.window_len);
        let (tail, end) = (&history[first..], self.items.len() + self.window_len);
        self.items.extend_from_slice(tail);
        self.items.resize(end, pad);
        self.kinds
            .extend_from_slice(kinds.get(first..).unwrap_or_default());
        self.kinds.resize(end, Kind::Click);
        self.lengths.push(tail.len().max(1) as u32);
        self.time_steps.push(history.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Windows};

    #[test]
    fn push_keeps_last_items_and_pads_on_the_right() {
        let mut w = Windows::new(3);
        w.push(&[], 9);
        w.push(&[1, 2], 9);
        let mut kinds = [Kind::Click; 5];
        kinds[1] = Kind::Purchase;
        kinds[3] = Kind::Purchase;
        w.push_events(&[1, 2, 3, 4, 5], &kinds, 9);
        assert_eq!(w.items, [9, 9, 9, 1, 2, 9, 3, 4, 5]);
        assert_eq!(w.lengths, [1, 2, 3]);
        assert_eq!(w.time_steps, [0, 2, 5]);
        let purchased: Vec<usize> = (0..9).filter(|&i| w.kinds[i] == Kind::Purchase).collect();
        assert_eq!(purchased, [7]);
        assert_eq!(w.rows(2..3).kinds, w.kinds[6..]);
        assert_eq!(w.select(&[2]), w.rows(2..3));
        assert_eq!(w.select(&[1, 0]).items, [1, 2, 9, 9, 9, 9]);
    }
}
