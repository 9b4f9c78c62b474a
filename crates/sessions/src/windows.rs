//! States as the encoders see them: the last items before a step, padded on the right.

/// A batch of windows: what is known of each session before the step to be predicted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Window length L.
    pub width: usize,
    /// Item indices `[B, L]`, oldest first, padded on the **right** with the pad id (the number of items).
    pub items: Vec<u32>,
    /// Valid positions `[B]`: min(L, t), or 1 when the session is empty (the one position then holds the pad).
    pub lengths: Vec<u32>,
    /// The step t `[B]`: how many events came before.
    pub steps: Vec<u32>,
}

impl Windows {
    /// An empty batch of windows of length `width`.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    /// The number of windows.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Adds the window at the end of `history` (the whole session so far, oldest first).
    pub fn push(&mut self, history: &[u32], pad: u32) {
        let tail = &history[history.len().saturating_sub(self.width)..];
        self.items.extend_from_slice(tail);
        self.items
            .extend(std::iter::repeat_n(pad, self.width - tail.len()));
        self.lengths.push(tail.len().max(1) as u32);
        self.steps.push(history.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::Windows;

    #[test]
    fn windows_keep_the_last_items_and_pad_on_the_right() {
        let mut w = Windows::new(3);
        w.push(&[], 9);
        w.push(&[1, 2], 9);
        w.push(&[1, 2, 3, 4, 5], 9);
        assert_eq!(w.items, [9, 9, 9, 1, 2, 9, 3, 4, 5]);
        assert_eq!(w.lengths, [1, 2, 3]);
        assert_eq!(w.steps, [0, 2, 5]);
    }
}
