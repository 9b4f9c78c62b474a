//! A batch of windows, padded to one length.

use candle_core::{Result, Tensor, bail};
use prl_kernels::ops::index_select::index_select;
use prl_kernels::packed::SeqOffsets;

/// A batch of windows of embedded items, padded on the right.
pub struct PaddedBatch<'a> {
    /// Embedded items `[B, L, d]`, the oldest first. What stands past a session's end must not
    /// influence its state.
    pub xs: &'a Tensor,
    /// Valid positions of each window `[B]`, each in 1..=L.
    pub lengths: &'a [u32],
}

impl PaddedBatch<'_> {
    /// Checks the lengths.
    ///
    /// # Errors
    /// If there are not B lengths in 1..=L.
    pub fn check(&self) -> Result<()> {
        let (batch, window, _) = self.xs.dims3()?;
        let is_valid = |&n: &u32| n >= 1 && n as usize <= window;
        if self.lengths.len() != batch || !self.lengths.iter().all(is_valid) {
            bail!(
                "{batch} windows of {window} positions: the lengths are {:?}; expected one in \
                 1..={window} for each window",
                self.lengths
            );
        }
        Ok(())
    }

    /// Offsets of the sessions in a matrix of rows without padding.
    ///
    /// # Errors
    /// As of [`check`](Self::check).
    pub fn offsets(&self) -> Result<SeqOffsets> {
        self.check()?;
        Ok(SeqOffsets::new(self.lengths.iter().map(|&n| n as usize)))
    }

    /// The embedded items without padding, `[rows, d]`, for the fused kernels.
    pub fn packed_rows(&self, offsets: &SeqOffsets) -> Result<Tensor> {
        index_select(self.xs, &offsets.padded_indices(self.xs.dim(1)?))
    }

    /// Whether position `t` of each window is valid: `[B, 1]`, u8.
    pub fn is_valid(&self, t: usize) -> Result<Tensor> {
        let mut valid = Vec::with_capacity(self.lengths.len());
        for &n in self.lengths {
            valid.push(u8::from(t < n as usize));
        }
        Tensor::from_vec(valid, (self.lengths.len(), 1), self.xs.device())
    }

    /// `ys` `[B, L, width]` with zeros past each session's end.
    pub fn mask(&self, ys: &Tensor) -> Result<Tensor> {
        let mut columns = Vec::new();
        for t in 0..ys.dim(1)? {
            columns.push(self.is_valid(t)?);
        }
        let valid = Tensor::stack(&columns, 1)?; // [B, L, 1]
        valid
            .broadcast_as(ys.shape())?
            .where_cond(ys, &ys.zeros_like()?)
    }

    /// The embedded items with zeros past each session's end.
    pub fn masked(&self) -> Result<Tensor> {
        self.mask(self.xs)
    }

    /// `ys` `[B, L, width]` at the last valid position of each window: `[B, width]`.
    pub fn last(&self, ys: &Tensor) -> Result<Tensor> {
        let (batch, window, width) = ys.dims3()?;
        let mut rows = Vec::with_capacity(batch);
        for (b, &n) in self.lengths.iter().enumerate() {
            rows.push((b * window) as u32 + n - 1);
        }
        let rows = Tensor::from_vec(rows, batch, ys.device())?;
        ys.reshape((batch * window, width))?.index_select(&rows, 0)
    }
}
