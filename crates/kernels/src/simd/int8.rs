//! Scores of a panel of 64 items in 8 bits: products of unsigned bytes (items) and signed ones
//! (hidden vectors), four to a sum of 32 bits.
//!
//! AVX-512 VNNI multiplies 64 pairs in the time of one multiply-add of 16 `f32`. AVX2 adds two
//! products in 16 bits, which do not overflow for hidden vectors of 7 bits. The matrix engine (AMX)
//! multiplies 16 hidden vectors with 16 items at once; its sums have the bits of VNNI.

use crate::simd::tiles::{Amx, Bf16Level, SIDE, TileScope};

/// Items of a panel.
pub const PANEL: usize = 64;
/// Products that are summed at once.
pub const QUAD: usize = 4;
/// Bytes of items are unsigned: this much is added to the signed value.
pub const OFFSET: i32 = 128;

/// Bytes of a tile's row.
const TILE: usize = 64;

/// Instructions that multiply bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Level {
    /// None in particular.
    Plain,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 VNNI.
    Vnni,
    /// The matrix engine (AMX), and VNNI for a few hidden vectors.
    Amx,
}

impl Int8Level {
    /// Every level.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Avx2, Self::Vnni, Self::Amx];

    /// Whether this processor has the instructions.
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Plain => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Vnni => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
            }
            Self::Amx => Self::Vnni.is_supported() && Amx::detect().is_some(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Plain;
    }

    /// The fastest level of this process; `None` without instructions that make it fast. `Amx` is
    /// left out if the environment variable `PRL_AMX` is `0`.
    pub fn native() -> Option<Self> {
        if Bf16Level::native() == Bf16Level::Amx && Self::Amx.is_supported() {
            return Some(Self::Amx);
        }
        [Self::Vnni, Self::Avx2]
            .into_iter()
            .find(|level| level.is_supported())
    }

    /// Bytes that a row is padded to a multiple of.
    pub(crate) fn row_multiple(self) -> usize {
        match self {
            Self::Amx => TILE,
            Self::Plain | Self::Avx2 | Self::Vnni => QUAD,
        }
    }

    /// The level, ready for use on this thread.
    ///
    /// # Panics
    /// If it is not supported.
    pub(crate) fn engine(self) -> Int8Engine {
        match self {
            Self::Plain => Int8Engine::Plain,
            Self::Avx2 => Int8Engine::Avx2,
            Self::Vnni => Int8Engine::Vnni,
            Self::Amx => Int8Engine::Amx(Amx::detect().expect("level Amx is supported").scope()),
        }
    }

    /// Largest absolute value of a hidden vector's byte.
    pub fn range(self) -> i32 {
        match self {
            // 2 x 255 x 63 is below 2^15.
            Self::Avx2 => 63,
            Self::Plain | Self::Vnni | Self::Amx => 127,
        }
    }
}

/// A level that is ready on one thread.
pub(crate) enum Int8Engine {
    Plain,
    Avx2,
    Vnni,
    /// With configured tile registers.
    Amx(TileScope),
}

/// Items of a panel in 8 bits.
#[derive(Clone, Copy)]
pub(crate) struct Int8Panel<'a> {
    /// `[width / 4, 64, 4]`, with [`OFFSET`].
    pub(crate) bytes: &'a [u8],
    /// Value of one unit of each item's bytes, `[64]`.
    pub(crate) scales: &'a [f32],
    /// `[64]`.
    pub(crate) bias: &'a [f32],
}

/// Hidden vectors in 8 bits.
pub(crate) struct Int8Rows {
    /// `[rows, width]`, zeros beyond the hidden size and, for the matrix engine, up to a multiple
    /// of 16 rows.
    pub(crate) bytes: Vec<i8>,
    /// [`OFFSET`] times the sum of each row's bytes.
    pub(crate) offsets: Vec<i32>,
    /// Value of one unit of each row's bytes.
    pub(crate) scales: Vec<f32>,
    /// Multiple of four.
    pub(crate) width: usize,
}

impl Int8Rows {
    /// Adds the rows of zeros that a level needs.
    pub(crate) fn pad(&mut self, level: Int8Level) {
        if level == Int8Level::Amx {
            let rows = self.scales.len().next_multiple_of(SIDE);
            self.bytes.resize(rows * self.width, 0);
        }
    }

    fn row(&self, row: usize) -> &[i8] {
        &self.bytes[row * self.width..][..self.width]
    }
}

/// Writes `scores` `[rows, 64]`, `scale x scale x products + bias`, and for each row the items, a
/// bit each, whose score is at least `bars[row]`.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn score_panel(
    engine: &Int8Engine,
    rows: &Int8Rows,
    panel: Int8Panel<'_>,
    bars: &[f32],
    (scores, hits): (&mut [f32], &mut [u64]),
) {
    let n = rows.scales.len();
    assert!(rows.width.is_multiple_of(QUAD) && rows.bytes.len() >= n * rows.width);
    assert!(panel.bytes.len() == rows.width * PANEL && rows.offsets.len() == n);
    assert!(panel.scales.len() == PANEL && panel.bias.len() == PANEL);
    assert!(bars.len() == n && hits.len() == n && scores.len() == n * PANEL);
    #[cfg(target_arch = "x86_64")]
    match engine {
        Int8Engine::Amx(tiles) => {
            assert!(rows.width.is_multiple_of(TILE));
            // SAFETY: the lengths are checked above, and a processor with AMX has VNNI.
            return unsafe { native::amx(tiles, rows, panel, bars, (scores, hits)) };
        }
        // SAFETY: the lengths are checked above, and whoever chose the level checked the processor.
        Int8Engine::Vnni => return unsafe { native::vnni(rows, 0, panel, bars, (scores, hits)) },
        // SAFETY: as above.
        Int8Engine::Avx2 => return unsafe { native::avx2(rows, panel, bars, scores, hits) },
        Int8Engine::Plain => {}
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = engine;
    for row in 0..n {
        let out = &mut scores[row * PANEL..][..PANEL];
        let mut sums = [-rows.offsets[row]; PANEL];
        for (quad, hidden) in rows.row(row).chunks_exact(QUAD).enumerate() {
            let items = &panel.bytes[quad * PANEL * QUAD..][..PANEL * QUAD];
            for (sum, item) in sums.iter_mut().zip(items.chunks_exact(QUAD)) {
                for (&x, &h) in item.iter().zip(hidden) {
                    *sum += i32::from(x) * i32::from(h);
                }
            }
        }
        hits[row] = 0;
        for (i, &sum) in sums.iter().enumerate() {
            let scale = rows.scales[row] * panel.scales[i];
            out[i] = sum as f32 * scale + panel.bias[i];
            hits[row] |= u64::from(out[i] >= bars[row]) << i;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use std::arch::x86_64::*;

    use super::{Int8Panel, Int8Rows, PANEL, QUAD};
    use crate::simd::tiles::{SIDE, TileScope};

    /// Rows whose sums are held in registers at once.
    const ROWS: usize = 4;
    /// Rows from which a whole tile of 16 is faster than vectors.
    const TILE_ROWS: usize = 6;

    /// See [`score_panel`](super::score_panel).
    ///
    /// # Safety
    /// AVX-512 VNNI, the lengths that `score_panel` checks, and rows of whole tiles.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn amx(
        tiles: &TileScope,
        rows: &Int8Rows,
        panel: Int8Panel<'_>,
        bars: &[f32],
        (scores, hits): (&mut [f32], &mut [u64]),
    ) {
        let n = rows.scales.len();
        let mut first = 0;
        while n - first >= TILE_ROWS {
            let count = SIDE.min(n - first);
            let bytes = &rows.bytes[first * rows.width..][..SIDE * rows.width];
            let sums = tiles.int8_products(bytes, rows.width, panel.bytes);
            for r in 0..count {
                let row = first + r;
                let offset = _mm512_set1_epi32(-rows.offsets[row]);
                let mut of_row = [offset; PANEL / SIDE];
                for (sum, tile) in of_row.iter_mut().zip(&sums) {
                    // SAFETY: a row of a tile has 64 bytes.
                    let products = unsafe { _mm512_load_si512(tile.0[r * SIDE..].as_ptr().cast()) };
                    *sum = _mm512_add_epi32(*sum, products);
                }
                // SAFETY: there is such a row.
                unsafe { finish_row(rows, row, panel, bars, of_row, (&mut *scores, &mut *hits)) };
            }
            first += count;
        }
        // SAFETY: as of this function.
        unsafe { vnni(rows, first, panel, bars, (scores, hits)) };
    }

    /// See [`score_panel`](super::score_panel); of the rows from `row` on.
    ///
    /// # Safety
    /// AVX-512 VNNI, and the lengths that `score_panel` checks.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn vnni(
        rows: &Int8Rows,
        mut row: usize,
        panel: Int8Panel<'_>,
        bars: &[f32],
        (scores, hits): (&mut [f32], &mut [u64]),
    ) {
        let n = rows.scales.len();
        while row < n {
            let out = (&mut *scores, &mut *hits);
            // SAFETY: there are as many rows.
            unsafe {
                row += match n - row {
                    1 => vnni_rows::<1>(rows, row, panel, bars, out),
                    2 => vnni_rows::<2>(rows, row, panel, bars, out),
                    3 => vnni_rows::<3>(rows, row, panel, bars, out),
                    _ => vnni_rows::<ROWS>(rows, row, panel, bars, out),
                };
            }
        }
    }

    /// R rows from `first` on; returns R.
    ///
    /// # Safety
    /// As of [`vnni`], and there must be so many rows.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn vnni_rows<const R: usize>(
        rows: &Int8Rows,
        first: usize,
        panel: Int8Panel<'_>,
        bars: &[f32],
        (scores, hits): (&mut [f32], &mut [u64]),
    ) -> usize {
        // Vectors of 16 items.
        const V: usize = PANEL / 16;
        let mut sums = [[_mm512_setzero_si512(); V]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [_mm512_set1_epi32(-rows.offsets[first + r]); V];
        }
        let mut hidden = [&[][..]; R];
        for (r, hidden) in hidden.iter_mut().enumerate() {
            *hidden = rows.row(first + r).as_chunks::<QUAD>().0;
        }
        for (quad, items) in panel.bytes.chunks_exact(PANEL * QUAD).enumerate() {
            let mut x = [_mm512_setzero_si512(); V];
            for (v, x) in x.iter_mut().enumerate() {
                // SAFETY: four vectors of 64 bytes are a quad of a panel.
                *x = unsafe { _mm512_loadu_si512(items.as_ptr().add(v * 64).cast()) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let h = _mm512_set1_epi32(i32::from_ne_bytes(hidden[r][quad].map(|x| x as u8)));
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm512_dpbusd_epi32(*sum, x, h);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            // SAFETY: there is such a row.
            unsafe {
                finish_row(
                    rows,
                    first + r,
                    panel,
                    bars,
                    sums,
                    (&mut *scores, &mut *hits),
                )
            };
        }
        R
    }

    /// Scores and hits of a row from its sums.
    ///
    /// # Safety
    /// As of [`vnni`], and there must be such a row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn finish_row(
        rows: &Int8Rows,
        row: usize,
        panel: Int8Panel<'_>,
        bars: &[f32],
        sums: [__m512i; PANEL / 16],
        (scores, hits): (&mut [f32], &mut [u64]),
    ) {
        let scale = _mm512_set1_ps(rows.scales[row]);
        let bar = _mm512_set1_ps(bars[row]);
        let out = &mut scores[row * PANEL..][..PANEL];
        hits[row] = 0;
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: 64 scales, biases and scores.
            unsafe {
                let scales = _mm512_loadu_ps(panel.scales.as_ptr().add(v * 16));
                let bias = _mm512_loadu_ps(panel.bias.as_ptr().add(v * 16));
                let scales = _mm512_mul_ps(scales, scale);
                let score = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, bias);
                _mm512_storeu_ps(out.as_mut_ptr().add(v * 16), score);
                let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, bar);
                hits[row] |= u64::from(mask) << (v * 16);
            }
        }
    }

    /// See [`score_panel`](super::score_panel).
    ///
    /// # Safety
    /// AVX2 and FMA, and the lengths that `score_panel` checks.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(
        rows: &Int8Rows,
        panel: Int8Panel<'_>,
        bars: &[f32],
        scores: &mut [f32],
        hits: &mut [u64],
    ) {
        // Vectors of 8 items.
        const V: usize = PANEL / 8;
        let ones = _mm256_set1_epi16(1);
        for row in 0..rows.scales.len() {
            let mut sums = [_mm256_set1_epi32(-rows.offsets[row]); V];
            let hidden = rows.row(row);
            for quad in 0..rows.width / QUAD {
                let items = &panel.bytes[quad * PANEL * QUAD..][..PANEL * QUAD];
                // SAFETY: four bytes of the row.
                let h = unsafe {
                    hidden
                        .as_ptr()
                        .add(quad * QUAD)
                        .cast::<i32>()
                        .read_unaligned()
                };
                let h = _mm256_set1_epi32(h);
                for (v, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: eight vectors of 32 bytes are a quad of a panel.
                    let x = unsafe { _mm256_loadu_si256(items.as_ptr().add(v * 32).cast()) };
                    let pairs = _mm256_maddubs_epi16(x, h);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
            let scale = _mm256_set1_ps(rows.scales[row]);
            let bar = _mm256_set1_ps(bars[row]);
            let out = &mut scores[row * PANEL..][..PANEL];
            hits[row] = 0;
            for (v, &sum) in sums.iter().enumerate() {
                // SAFETY: 64 scales, biases and scores.
                unsafe {
                    let scales = _mm256_loadu_ps(panel.scales.as_ptr().add(v * 8));
                    let bias = _mm256_loadu_ps(panel.bias.as_ptr().add(v * 8));
                    let scales = _mm256_mul_ps(scales, scale);
                    let score = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scales, bias);
                    _mm256_storeu_ps(out.as_mut_ptr().add(v * 8), score);
                    let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(score, bar));
                    hits[row] |= u64::from(mask as u8) << (v * 8);
                }
            }
        }
    }
}
