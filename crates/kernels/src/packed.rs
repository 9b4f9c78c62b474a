//! Windows of different lengths, their rows one after another without the padding between.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use std::ops::Range;

/// Where each window of a batch lies in a matrix that holds the rows of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqOffsets {
    /// The first row of each window, and the number of all rows.
    starts: Vec<usize>,
    #[cfg(feature = "cuda")]
    cache: gpu::Cache,
}

impl SeqOffsets {
    /// Windows of these lengths.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        starts.extend(lengths.into_iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        Self {
            starts,
            #[cfg(feature = "cuda")]
            cache: Default::default(),
        }
    }

    /// The number of windows.
    pub fn windows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The number of rows of all windows.
    pub fn rows(&self) -> usize {
        self.starts[self.windows()]
    }

    /// The rows of each window.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }

    /// The windows in blocks of so many: the first row of each window, and the end of the last.
    pub(crate) fn blocks(&self, windows: usize) -> impl Iterator<Item = &[usize]> {
        (0..self.windows())
            .step_by(windows)
            .map(move |b| &self.starts[b..=self.windows().min(b + windows)])
    }

    /// The last row of each window. No window may be empty.
    pub fn last(&self) -> Vec<u32> {
        self.starts[1..].iter().map(|&end| end as u32 - 1).collect()
    }

    /// The windows that are left of every `step`-th row, counted from the last of a window back, and of these at most so many a
    /// window.
    ///
    /// # Panics
    /// If `step` is zero.
    pub fn keep_strided(&self, step: usize, most: usize) -> Self {
        let left = |span: Range<usize>| span.len().div_ceil(step).min(most);
        if self.iter().all(|span| left(span.clone()) == span.len()) {
            return self.clone();
        }
        Self::new(self.iter().map(left))
    }

    /// Of each row, the place it has in a matrix where every window takes `length` rows.
    pub fn padded_indices(&self, length: usize) -> Vec<u32> {
        self.iter()
            .enumerate()
            .flat_map(|(b, span)| (0..span.len()).map(move |t| (b * length + t) as u32))
            .collect()
    }

    /// Of each row, its position in its window.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.iter().flat_map(|span| 0..span.len())
    }
}

#[cfg(test)]
mod tests {
    use super::SeqOffsets;

    #[test]
    fn rows_follow_each_other() {
        let spans = SeqOffsets::new([2, 1, 3]);
        assert_eq!((spans.windows(), spans.rows()), (3, 6));
        assert_eq!(spans.iter().collect::<Vec<_>>(), [0..2, 2..3, 3..6]);
        assert_eq!(spans.last(), [1, 2, 5]);
        assert_eq!(spans.padded_indices(4), [0, 1, 4, 8, 9, 10]);
        assert_eq!(spans.positions().collect::<Vec<_>>(), [0, 1, 0, 0, 1, 2]);
        assert_eq!(spans.keep_strided(1, 3), spans);
        assert_eq!(spans.keep_strided(2, 3), SeqOffsets::new([1, 1, 2]));
        assert_eq!(
            SeqOffsets::new([0, 7]).keep_strided(3, 9),
            SeqOffsets::new([0, 3])
        );
        assert_eq!(
            SeqOffsets::new([0, 7]).keep_strided(3, 2),
            SeqOffsets::new([0, 2])
        );
    }
}
