//! Packed sequences: windows of different lengths stored back to back without padding.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use std::ops::Range;

/// Offsets of the sequences of a batch in a packed matrix (`cu_seqlens` of flash-attention).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqOffsets {
    /// First row of each window, then the total number of rows.
    starts: Vec<usize>,
    #[cfg(feature = "cuda")]
    cache: cuda::Cache,
}

impl SeqOffsets {
    /// Offsets of windows of the given lengths.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let (mut starts, mut end) = (vec![0], 0);
        for length in lengths {
            end += length;
            starts.push(end);
        }
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

    /// The total number of rows.
    pub fn rows(&self) -> usize {
        self.starts[self.windows()]
    }

    /// The row range of each window.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }

    /// Blocks of up to `windows` windows: the first row of each, and the end of the last.
    pub(crate) fn blocks(&self, windows: usize) -> impl Iterator<Item = &[usize]> {
        (0..self.windows())
            .step_by(windows)
            .map(move |b| &self.starts[b..=self.windows().min(b + windows)])
    }

    /// The last row of each window. No window may be empty.
    pub fn last(&self) -> Vec<u32> {
        self.starts[1..].iter().map(|&end| end as u32 - 1).collect()
    }

    /// Offsets after keeping every `step`-th row of each window, counted back from its last row,
    /// and at most `most` rows per window.
    ///
    /// # Panics
    /// If `step` is zero.
    pub fn keep_strided(&self, step: usize, most: usize) -> Self {
        let left = |span: Range<usize>| span.len().div_ceil(step).min(most);
        if self.iter().all(|span| left(span.clone()) == span.len()) {
            // A clone shares the table on the GPU.
            return self.clone();
        }
        Self::new(self.iter().map(left))
    }

    /// Index of each row in a padded matrix with `length` rows per window.
    pub fn padded_indices(&self, length: usize) -> Vec<u32> {
        let mut indices = Vec::with_capacity(self.rows());
        for (b, span) in self.iter().enumerate() {
            for t in 0..span.len() {
                indices.push((b * length + t) as u32);
            }
        }
        indices
    }

    /// Position of each row in its window.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.iter().flat_map(|span| 0..span.len())
    }
}

#[cfg(test)]
mod tests {
    use super::SeqOffsets;

    #[test]
    fn seq_offsets_ranges_are_contiguous() {
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
