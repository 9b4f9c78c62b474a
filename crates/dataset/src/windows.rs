//! Windows: the states that encoders read, the last items before a time step.

use std::ops::Range;

/// Batch of windows, one for each session: its last items before the time step to predict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Window length L.
    pub window_len: usize,
    /// Item indices `[B, L]`, oldest first, padded on the **right** with the pad id (the number of
    /// items).
    pub items: Vec<u32>,
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
        let items = rows.start * self.window_len..rows.end * self.window_len;
        Self {
            window_len: self.window_len,
            items: self.items[items].to_vec(),
            lengths: self.lengths[rows.clone()].to_vec(),
            time_steps: self.time_steps[rows].to_vec(),
        }
    }

    /// Appends the window at the end of `history`, the whole session so far, oldest first.
    pub fn push(&mut self, history: &[u32], pad: u32) {
        let tail = &history[history.len().saturating_sub(self.window_len)..];
        self.items.extend_from_slice(tail);
        self.items
            .extend(std::iter::repeat_n(pad, self.window_len - tail.len()));
        self.lengths.push(tail.len().max(1) as u32);
        self.time_steps.push(history.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::Windows;

    #[test]
    fn push_keeps_last_items_and_pads_on_the_right() {
        let mut w = Windows::new(3);
        w.push(&[], 9);
        w.push(&[1, 2], 9);
        w.push(&[1, 2, 3, 4, 5], 9);
        assert_eq!(w.items, [9, 9, 9, 1, 2, 9, 3, 4, 5]);
        assert_eq!(w.lengths, [1, 2, 3]);
        assert_eq!(w.time_steps, [0, 2, 5]);
    }
}
