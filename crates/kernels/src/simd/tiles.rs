//! Products of bfloat16 matrices in blocks of 2 x 2 tiles of 16 x 16 sums: the matrix engine of x86
//! processors (AMX), and an emulation of its instructions for tests on any processor.
//!
//! A [`Tile`] has 16 rows of 64 bytes: 16 sums of 32 bits, or 16 pairs of bfloat16 values. A
//! product multiplies rows of pairs along the inner dimension (operand A) with pairs of rows
//! (operand B).
//! Matrices are stored as tiles that are padded with zeros, so no product has ragged edges. Any
//! pairing of the inner dimension will do if both operands use the same one: all packing functions
//! here join values that lie 16 apart within groups of 32.

pub(crate) mod amx;
pub(crate) mod emulator;

use bytemuck::{Pod, Zeroable};
use pulp::{Scalar, Simd, WithSimd};

use crate::Real;
use crate::simd::bf16::Bf16Pair;
use crate::simd::operand::GemmOperand;
use crate::simd::slices::{load, store};

pub use amx::Amx;
pub(crate) use amx::TileScope;
pub(crate) use emulator::Emulator;

/// Rows of a tile, and sums or pairs of one row.
pub(crate) const SIDE: usize = 16;
/// Rows or columns of a block of 2 x 2 tiles; values of an operand's row in one tile.
pub(crate) const GROUP: usize = 2 * SIDE;

/// The contents of a tile register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(crate) [u32; SIDE * SIDE]);

impl Tile {
    /// Row `r` as sums.
    #[inline(always)]
    pub(crate) fn sums(&self, r: usize) -> &[f32] {
        bytemuck::cast_slice(&self.0[r * SIDE..][..SIDE])
    }

    /// All rows as sums.
    #[inline(always)]
    pub(crate) fn sums_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Four tiles of sums of 32 rows and 32 columns: upper left, upper right, lower left, lower right.
pub(crate) type Block = [Tile; 4];

/// Sum at a row and a column of a block.
#[inline(always)]
pub(crate) fn sum_at(block: &mut Block, row: usize, column: usize) -> &mut f32 {
    let tile = &mut block[row / SIDE * 2 + column / SIDE];
    &mut tile.sums_mut()[row % SIDE * SIDE + column % SIDE]
}

/// Instructions on tiles, available while the tile registers of the thread are configured.
///
/// Sums are those of `TDPBF16PS`: first and second members of the pairs of a tile are summed by
/// multiply-adds in two chains from zero, and the sum of both is added to C. Operands and results
/// that are subnormal count as zero; all roundings are to nearest, ties to even.
pub(crate) trait TileEngine: Copy {
    /// `C += A B` if `accumulates`, `C = A B` otherwise. `a` holds two rows of tiles and `b` two
    /// columns of tiles, one after the other, each as long as the inner dimension.
    ///
    /// # Panics
    /// If `a` and `b` differ in length, or are empty or odd.
    fn multiply(self, a: &[Tile], b: &[Tile], c: &mut Block, accumulates: bool);

    /// Step `k` of `C = A B + A B' + A' B` of operands in two parts: each of the two rows of tiles
    /// in `a`, and each of the two columns in `b`, is a first part, as long as the inner dimension,
    /// and then a second. A step adds the three products of one tile of the inner dimension in this
    /// order.
    ///
    /// The steps of one product follow each other from 0 on, with the same operands and without
    /// another product between them; `c` holds the product after the last. Other code between them
    /// runs beside the matrix engine.
    ///
    /// # Panics
    /// If `a` and `b` differ in length, are not four parts each, or have no step `k`.
    fn multiply_parts(self, a: &[Tile], b: &[Tile], k: usize, c: &mut Block);

    /// Values rounded to bfloat16, each of `first` joined with that of `second`.
    fn join<S: Simd>(self, simd: S, first: S::f32s, second: S::f32s) -> S::f32s;

    /// The transposed tile.
    fn transpose(self, tile: &Tile) -> Tile;

    /// Compares the sums of a vector of columns from `at` on.
    #[inline(always)]
    fn compare<S: Simd>(
        self,
        simd: S,
        tile: &Tile,
        at: usize,
        bias: &[f32; SIDE],
        thresholds: [S::f32s; 2],
    ) -> Compared<S> {
        let one = simd.splat_u32s(1);
        let mut found = Compared::none(simd);
        for (r, &bias) in bias.iter().enumerate() {
            let sums = load::<f32, S>(&tile.sums(r)[at..]);
            let score = simd.add_f32s(sums, simd.splat_f32s(bias));
            for (count, threshold) in found.counts.iter_mut().zip(thresholds) {
                let reaches = simd.greater_than_or_equal_f32s(score, threshold);
                *count = simd.select_u32s(reaches, simd.add_u32s(*count, one), *count);
            }
            found.largest = simd.max_f32s(found.largest, score);
        }
        found
    }
}

/// The sums of a tile, with a bias added to each row, against thresholds.
pub(crate) struct Compared<S: Simd> {
    /// In each column, the numbers of sums that reach either threshold.
    pub(crate) counts: [S::u32s; 2],
    /// The largest sum of each column.
    pub(crate) largest: S::f32s,
}

impl<S: Simd> Compared<S> {
    /// Of no rows.
    #[inline(always)]
    fn none(simd: S) -> Self {
        Self {
            counts: [simd.splat_u32s(0); 2],
            largest: simd.splat_f32s(f32::NEG_INFINITY),
        }
    }
}

/// Code that runs on a thread with configured tile registers. It must not wait for other work of
/// the thread pool: a piece of such work that runs meanwhile on the same thread would release them.
pub(crate) trait TileWork {
    /// Its result.
    type Output;
    /// Runs it.
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Self::Output;
}

/// Instructions that multiply pairs of bfloat16 values in the softmax head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16Level {
    /// Vectors: AVX-512 BF16, or pairs that are unpacked.
    Vector,
    /// The matrix engine, emulated: for tests.
    Emulated,
    /// The matrix engine (AMX).
    Amx,
}

impl Bf16Level {
    /// Every level.
    pub const ALL: [Self; 3] = [Self::Vector, Self::Emulated, Self::Amx];

    /// Whether this process can use the level.
    pub fn is_supported(self) -> bool {
        self != Self::Amx || Amx::detect().is_some()
    }

    /// The fastest level of this process: [`Amx`](Self::Amx) where the processor has it and the
    /// system permits it, unless the environment variable `PRL_AMX` is `0`.
    pub fn native() -> Self {
        if Amx::detect().is_some() && !amx::is_disabled() {
            Self::Amx
        } else {
            Self::Vector
        }
    }

    /// The matrix engine of the level, if it is one.
    ///
    /// # Panics
    /// If the level is not supported.
    pub(crate) fn engine(self) -> Option<MatrixEngine> {
        match self {
            Self::Vector => None,
            Self::Emulated => Some(MatrixEngine::Emulated),
            Self::Amx => Some(MatrixEngine::Amx(
                Amx::detect().expect("level Amx is supported"),
            )),
        }
    }
}

/// The matrix engine, or its emulation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MatrixEngine {
    Emulated,
    Amx(Amx),
}

impl MatrixEngine {
    /// Runs work on the calling thread.
    pub(crate) fn run<W: TileWork>(self, work: W) -> W::Output {
        struct Emulated<W>(W);
        impl<W: TileWork> WithSimd for Emulated<W> {
            type Output = W::Output;
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> W::Output {
                self.0.run(simd, Emulator)
            }
        }
        match self {
            // With the vectors of AMX processors or plain code: other sets are not compiled.
            #[cfg(target_arch = "x86_64")]
            Self::Emulated => match pulp::x86::V4::try_new() {
                Some(simd) => Simd::vectorize(simd, Emulated(work)),
                None => Emulated(work).with_simd(Scalar),
            },
            #[cfg(not(target_arch = "x86_64"))]
            Self::Emulated => Emulated(work).with_simd(Scalar),
            Self::Amx(amx) => amx.run(work),
        }
    }
}

/// Vector `at` of a row, zero past its end.
#[inline(always)]
pub(crate) fn load_padded<S: Simd>(simd: S, row: &[f32], at: usize) -> S::f32s {
    match row.get(at..at + f32::lanes::<S>()) {
        Some(whole) => load::<f32, S>(whole),
        None => f32::load_part(simd, row.get(at..).unwrap_or_default()),
    }
}

/// Packs up to 32 rows of `width` values as the rows of operand A: two rows of tiles, each as long
/// as the width, zero past the last row.
#[inline(always)]
pub(crate) fn pack_rows<S: Simd, E: TileEngine>(
    (simd, engine): (S, E),
    rows: &[f32],
    width: usize,
    tiles: &mut [Tile],
) {
    let depth = width.div_ceil(GROUP);
    if rows.len() < GROUP * width {
        tiles.fill(Tile::zeroed());
    }
    for (r, row) in rows.chunks_exact(width).enumerate() {
        for k in 0..depth {
            let tile = &mut tiles[r / SIDE * depth + k];
            let out = &mut tile.sums_mut()[r % SIDE * SIDE..][..SIDE];
            for at in (0..SIDE).step_by(f32::lanes::<S>()) {
                let first = load_padded(simd, row, k * GROUP + at);
                let second = load_padded(simd, row, k * GROUP + SIDE + at);
                store::<f32, S>(&mut out[at..], engine.join(simd, first, second));
            }
        }
    }
}

/// The tile of operand B that has the columns from `column` on of up to 32 rows: pairs of rows.
#[inline(always)]
pub(crate) fn pack_pairs_of_rows<S: Simd, E: TileEngine>(
    (simd, engine): (S, E),
    rows: &[f32],
    width: usize,
    column: usize,
) -> Tile {
    let mut tile = Tile::zeroed();
    let row = |r: usize| {
        let row = rows.get(r * width..(r + 1) * width);
        row.and_then(|row| row.get(column..)).unwrap_or_default()
    };
    for (r, out) in tile.sums_mut().chunks_exact_mut(SIDE).enumerate() {
        let (first, second) = (row(r), row(r + SIDE));
        for at in (0..SIDE).step_by(f32::lanes::<S>()) {
            let first = load_padded(simd, first, at);
            let second = load_padded(simd, second, at);
            store::<f32, S>(&mut out[at..], engine.join(simd, first, second));
        }
    }
    tile
}

/// Rows of `width` values as the columns of operand B: per group of 32 rows two columns of tiles,
/// each as long as the width.
pub(crate) fn pack_columns(rows: &[f32], width: usize) -> Vec<Tile> {
    let depth = width.div_ceil(GROUP);
    let count = rows.len() / width;
    let mut tiles = vec![Tile::zeroed(); count.div_ceil(GROUP) * 2 * depth];
    for (c, row) in rows.chunks_exact(width).enumerate() {
        for (k, values) in row.chunks(GROUP).enumerate() {
            let tile = &mut tiles[c / SIDE * depth + k];
            for p in 0..SIDE.min(values.len()) {
                let second = values.get(p + SIDE).copied().unwrap_or(0.0);
                tile.0[p * SIDE + c % SIDE] = pair(values[p], second);
            }
        }
    }
    tiles
}

/// Two values rounded to bfloat16 and joined.
fn pair(first: f32, second: f32) -> u32 {
    bytemuck::cast(Bf16Pair::pack(Scalar, first, second))
}

/// `e^x`, clamped to the range of `f32`. The relative error is under 4e-7 for `DEGREE` 5 and |x| up
/// to 20, and under 4e-6 for 4; both grow by 2e-8 |x|. `e^0` is exactly 1.
#[inline(always)]
pub(crate) fn exp<S: Simd, const DEGREE: usize>(simd: S, x: S::f32s) -> S::f32s {
    // (2^f - 1) / f for |f| <= 1/2, of the least relative error of 2^f.
    const FOUR: [f32; 4] = [0.009_582_886, 0.055_906_51, 0.240_240_99, 0.693_124_2];
    const FIVE: [f32; 5] = [
        0.001_326_475,
        0.009_671_52,
        0.055_507_336,
        0.240_222_42,
        std::f32::consts::LN_2,
    ];
    let c = |v: f32| simd.splat_f32s(v);
    // The order of the operands keeps NaN on x86.
    let x = simd.min_f32s(c(88.3), simd.max_f32s(c(-87.3), x));
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    let magic = c(12_582_912.0);
    let shifted = simd.mul_add_e_f32s(x, c(std::f32::consts::LOG2_E), magic);
    let minus_n = simd.sub_f32s(magic, shifted);
    let f = simd.mul_add_e_f32s(x, c(std::f32::consts::LOG2_E), minus_n);
    let coefficients: &[f32] = const { if DEGREE == 4 { &FOUR } else { &FIVE } };
    let mut p = c(coefficients[0]);
    for &k in &coefficients[1..] {
        p = simd.mul_add_e_f32s(p, f, c(k));
    }
    p = simd.mul_add_e_f32s(p, f, c(1.0));
    let n = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(p), n))
}

/// Rate of products on the matrix engine, in FLOP/s summed over the threads of the current rayon
/// pool; `None` without AMX. Operands stay in the first-level cache, and every thread repeats
/// blocks of 32 x 32 sums over an inner dimension of 256 for some milliseconds. It is the peak that
/// the softmax head's sweeps are compared with.
pub fn measured_peak() -> Option<f64> {
    let engine = MatrixEngine::Amx(Amx::detect()?);
    let rates = rayon::broadcast(|_| engine.run(PeakWork));
    Some(rates.into_iter().sum())
}

/// Best rate of several laps on one thread, in FLOP/s.
struct PeakWork;

impl TileWork for PeakWork {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, _: S, engine: E) -> f64 {
        const DEPTH: usize = 8;
        const LAPS: usize = 40;
        const BLOCKS: usize = 1000;
        let operand = vec![Tile([pair(0.5, 0.25); SIDE * SIDE]); 2 * DEPTH];
        let mut sums: Block = [Tile::zeroed(); 4];
        let mut least = std::time::Duration::MAX;
        for _ in 0..LAPS {
            let start = std::time::Instant::now();
            for _ in 0..BLOCKS {
                engine.multiply(&operand, &operand, &mut sums, false);
            }
            least = least.min(start.elapsed());
            std::hint::black_box(&sums);
        }
        let flops = 2 * BLOCKS * GROUP * GROUP * DEPTH * GROUP;
        flops as f64 / least.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests;
