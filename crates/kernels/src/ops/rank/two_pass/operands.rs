//! Operands of the first pass: hidden vectors and weight rows in two parts of bfloat16, with the
//! norms that bound the errors of their products.

use bytemuck::Zeroable;
use pulp::Simd;
use rayon::prelude::*;

use super::Query;
use crate::Real;
use crate::runtime::use_huge_pages;
use crate::simd::bf16::Bf16Pair;
use crate::simd::operand::GemmOperand;
use crate::simd::slices::{add, load, store, sum_all};
use crate::simd::tiles::{
    Bf16Level, GROUP, MatrixEngine, SIDE, Tile, TileEngine, TileWork, load_padded, pack_columns,
};

/// Scores up to this magnitude, and all partial sums, are finite.
const MAX_MAGNITUDE: f64 = 1e30;
/// Norms are enlarged by this factor, which exceeds the rounding of their computation.
const ENLARGED: f64 = 1.0 + 1e-5;

/// Unit roundoff of `f32`.
const ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;
/// Added to norms: squares below the range of `f32` are lost, and so are subnormal operands.
const TINY: f64 = 1e-18;

/// The hidden vectors `h = b + d + ..` as columns of operand B in two parts, padded to whole
/// groups.
pub(super) struct HiddenColumns {
    tiles: Vec<Tile>,
    /// Tiles of a group: two columns in two parts.
    group_tiles: usize,
    /// Number of hidden vectors.
    pub(super) batch: usize,
    /// `|h|`, `|h - b|` and `|h - b - d|`.
    pub(super) norms: [Vec<f32>; 3],
    /// `m h`, of the mean weight row, by which a score exceeds that of the first pass.
    pub(super) shifts: Vec<f64>,
    pub(super) roundings: Roundings,
}

/// Bounds of the roundings in a score, per unit of the norms' products or of the bias.
#[derive(Clone, Copy)]
pub(super) struct Roundings {
    /// Of the sweep in `f32`: a chain of multiply-adds.
    chain: f32,
    /// Of the first pass' product.
    product: f32,
    /// Of the sweep, and of a sum in vectors.
    pub(super) sum: f32,
}

impl Roundings {
    fn new(width: usize) -> Self {
        // Of the bias, the shift and the bound itself.
        const OTHERS: usize = 4;
        let bound = |operations: usize| ((operations + OTHERS) as f64 * ROUNDOFF * 1.01) as f32;
        Self {
            chain: bound(width + 1),
            product: bound(17 + 3 * width.div_ceil(GROUP)),
            sum: bound(2 * width + 2),
        }
    }
}

impl HiddenColumns {
    /// `None` if a value is not finite or too large.
    pub(super) fn new(query: Query<'_>, packed: &PackedItems) -> Option<Self> {
        let width = query.width;
        let batch = query.hidden.len() / width;
        let padded = batch.next_multiple_of(GROUP);
        let mut norms = [(); 3].map(|()| Vec::with_capacity(padded));
        let mut shifts = Vec::with_capacity(batch);
        let mut rest = Vec::with_capacity(query.hidden.len());
        for row in query.hidden.chunks_exact(width) {
            let (mut squares, mut shift) = ([0.0; 3], 0.0);
            for (&x, &mean) in row.iter().zip(&packed.mean) {
                let first = x - Bf16Pair::rounded(x);
                let second = first - Bf16Pair::rounded(first);
                for (square, x) in squares.iter_mut().zip([x, first, second]) {
                    *square += f64::from(x) * f64::from(x);
                }
                shift += f64::from(x) * f64::from(mean);
                rest.push(first);
            }
            if squares[0].is_nan() || squares[0] >= MAX_MAGNITUDE {
                return None;
            }
            for (norms, square) in norms.iter_mut().zip(squares) {
                norms.push((square.sqrt() * ENLARGED + TINY) as f32);
            }
            shifts.push(shift);
        }
        for norms in &mut norms {
            norms.resize(padded, 0.0);
        }
        let depth = width.div_ceil(GROUP);
        let (first, second) = rayon::join(
            || pack_columns(query.hidden, width),
            || pack_columns(&rest, width),
        );
        let mut tiles = Vec::with_capacity(2 * first.len());
        for (first, second) in first.chunks_exact(depth).zip(second.chunks_exact(depth)) {
            tiles.extend_from_slice(first);
            tiles.extend_from_slice(second);
        }
        Some(Self {
            tiles,
            group_tiles: 4 * depth,
            batch,
            norms,
            shifts,
            roundings: Roundings::new(width),
        })
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.norms[0].len() / GROUP
    }

    /// Bounds of the errors of scores in the first pass, of the items with these norms for the
    /// vector of hidden vectors at `row`.
    #[inline(always)]
    pub(super) fn error<S: Simd>(&self, simd: S, norms: ItemNorms, row: usize) -> S::f32s {
        let Roundings { chain, product, .. } = self.roundings;
        let [whole, first, second] = &self.norms;
        // The parts are at most as much longer than what they round.
        const LONGER: f32 = 1.0 + 1.0 / 128.0;
        let slopes = [
            norms.residuals[1] + norms.centred * product + norms.weight * chain,
            norms.residuals[0] * LONGER,
            norms.centred * LONGER,
        ];
        // Of the bias's part, and of products below the range of f32.
        let mut error = simd.splat_f32s(norms.bias * chain + 1e-30);
        for (slope, norms) in slopes.into_iter().zip([whole, first, second]) {
            let norms = load::<f32, S>(&norms[row..]);
            error = simd.mul_add_e_f32s(simd.splat_f32s(slope), norms, error);
        }
        error
    }

    /// The operand of a group.
    pub(super) fn group(&self, j: usize) -> &[Tile] {
        &self.tiles[j * self.group_tiles..][..self.group_tiles]
    }
}

/// Largest norms of a group of up to 32 items.
#[derive(Clone, Copy, Default)]
pub(super) struct ItemNorms {
    /// `|w|`
    pub(super) weight: f32,
    /// `|w - m|`, less the mean row.
    centred: f32,
    /// `|w - m - a|` and `|w - m - a - c|`, of the roundings to bfloat16.
    residuals: [f32; 2],
    /// `|bias|`
    pub(super) bias: f32,
}

impl ItemNorms {
    /// The largest of both.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            weight: self.weight.max(other.weight),
            centred: self.centred.max(other.centred),
            residuals: [0, 1].map(|i| self.residuals[i].max(other.residuals[i])),
            bias: self.bias.max(other.bias),
        }
    }

    /// With the largest magnitude of some biases; `None` if one is not finite or too large.
    #[inline(always)]
    pub(super) fn with_bias(mut self, bias: &[f32]) -> Option<Self> {
        let mut is_bounded = true;
        for &b in bias {
            is_bounded &= b.abs() < 1e29;
            self.bias = self.bias.max(b.abs());
        }
        is_bounded.then_some(self)
    }
}

/// A layer's weight rows, less their mean row, in two parts of bfloat16, packed in groups of 32
/// items for the first pass of rankings. As large as the weight; packed once, they serve any number
/// of batches.
///
/// All items' rows share a direction after training, which no ranking depends on: without it the
/// values are smaller, and so are the errors of their rounding.
pub struct PackedItems {
    engine: MatrixEngine,
    items: usize,
    /// Values of a row.
    width: usize,
    /// The mean row `m`.
    mean: Vec<f32>,
    tiles: Vec<Tile>,
    /// Of each group, without the biases.
    norms: Vec<ItemNorms>,
}

impl PackedItems {
    /// Packs `[items, width]` for the [native level](Bf16Level::native); `None` where a sweep in
    /// the elements' type is as fast (without a matrix engine, and for few items) or has to decide:
    /// elements are not `f32`, or a value is not finite or too large.
    pub fn new<T: Real>(weight: &[T], width: usize) -> Option<Self> {
        if weight.len() < MIN_ITEMS * width {
            return None;
        }
        Self::at_level(Bf16Level::native(), weight, width)
    }

    /// As [`new`](Self::new) with the given instructions, for any number of items.
    ///
    /// # Panics
    /// If this process cannot use the level.
    pub fn at_level<T: Real>(level: Bf16Level, weight: &[T], width: usize) -> Option<Self> {
        let engine = level.engine()?;
        if width == 0 || size_of::<T>() != size_of::<f32>() {
            return None;
        }
        let weight: &[f32] = bytemuck::cast_slice(weight);
        let group_tiles = 4 * width.div_ceil(GROUP);
        let groups = weight.len().div_ceil(GROUP * width);
        let mean = mean_row(weight, width);
        let mut tiles = vec![Tile::zeroed(); groups * group_tiles];
        use_huge_pages(&mut tiles);
        // One piece of work for some groups, for which the tile registers are configured once.
        let packed: Option<Vec<Vec<ItemNorms>>> = weight
            .par_chunks(PACKED_TOGETHER * GROUP * width)
            .zip(tiles.par_chunks_mut(PACKED_TOGETHER * group_tiles))
            .map(|(rows, tiles)| {
                engine.run(Pack {
                    rows,
                    mean: &mean,
                    tiles,
                })
            })
            .collect();
        Some(Self {
            engine,
            width,
            items: weight.len() / width,
            mean,
            tiles,
            norms: packed?.concat(),
        })
    }

    /// Whether the shape and the type of the elements are those of a weight.
    pub(in super::super) fn is_of<T>(&self, items: usize, width: usize) -> bool {
        size_of::<T>() == size_of::<f32>() && [self.items, self.width] == [items, width]
    }

    pub(super) fn engine(&self) -> MatrixEngine {
        self.engine
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.norms.len()
    }

    /// Norms of a group, without the biases.
    pub(super) fn norms(&self, g: usize) -> ItemNorms {
        self.norms[g]
    }

    /// The operand of a group, empty past the last.
    pub(super) fn group(&self, g: usize) -> &[Tile] {
        let size = 4 * self.width.div_ceil(GROUP);
        self.tiles.get(g * size..(g + 1) * size).unwrap_or_default()
    }
}

/// Items from which two passes are faster than one sweep.
const MIN_ITEMS: usize = 4096;
/// Groups that are packed in one piece of work.
const PACKED_TOGETHER: usize = 16;

/// Packs some groups of rows as operand A, and bounds their norms; `None` if a value is not finite
/// or too large.
struct Pack<'a> {
    rows: &'a [f32],
    mean: &'a [f32],
    tiles: &'a mut [Tile],
}

impl TileWork for Pack<'_> {
    type Output = Option<Vec<ItemNorms>>;

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Self::Output {
        let width = self.mean.len();
        let depth = width.div_ceil(GROUP);
        let mut norms = Vec::new();
        let groups = self.rows.chunks(GROUP * width);
        for (rows, tiles) in groups.zip(self.tiles.chunks_exact_mut(4 * depth)) {
            norms.push(pack_group((simd, engine), rows, self.mean, tiles)?);
        }
        Some(norms)
    }
}

/// Mean of rows of `width` values, summed in `f32`.
fn mean_row(rows: &[f32], width: usize) -> Vec<f32> {
    const ROWS: usize = 512;
    let sums = rows.par_chunks(ROWS * width).map(|rows| {
        let mut sum = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            add(&mut sum, row);
        }
        sum
    });
    let sums: Vec<Vec<f32>> = sums.collect();
    let mut mean = sum_all(width, sums);
    for x in &mut mean {
        *x *= width as f32 / rows.len() as f32;
    }
    mean
}

/// Packs up to 32 rows as operand A, and bounds their norms.
#[inline(always)]
fn pack_group<S: Simd, E: TileEngine>(
    (simd, engine): (S, E),
    rows: &[f32],
    mean: &[f32],
    tiles: &mut [Tile],
) -> Option<ItemNorms> {
    let width = mean.len();
    let depth = width.div_ceil(GROUP);
    let mut largest = [0.0_f32; 4];
    let mut is_bounded = true;
    for (r, row) in rows.chunks_exact(width).enumerate() {
        let mut squares = [simd.splat_f32s(0.0); 4];
        let tiles = &mut tiles[r / SIDE * 2 * depth..][..2 * depth];
        for k in 0..depth {
            for at in (0..SIDE).step_by(f32::lanes::<S>()) {
                let mut pair = [simd.splat_f32s(0.0); 2];
                for (half, rest) in pair.iter_mut().enumerate() {
                    let at = k * GROUP + half * SIDE + at;
                    let x = load_padded(simd, row, at);
                    *rest = simd.sub_f32s(x, load_padded(simd, mean, at));
                    squares[0] = simd.mul_add_e_f32s(x, x, squares[0]);
                }
                for part in 0..2 {
                    add_squares(simd, &mut squares[1 + part], pair);
                    let joined = engine.join(simd, pair[0], pair[1]);
                    let tile = &mut tiles[part * depth + k];
                    store::<f32, S>(&mut tile.sums_mut()[r % SIDE * SIDE + at..], joined);
                    // What the rounding leaves.
                    let bits = simd.transmute_u32s_f32s(joined);
                    let rounded = [
                        simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(16)),
                        simd.and_u32s(bits, simd.splat_u32s(0xffff_0000)),
                    ];
                    for (rest, rounded) in pair.iter_mut().zip(rounded) {
                        *rest = simd.sub_f32s(*rest, simd.transmute_f32s_u32s(rounded));
                    }
                }
                add_squares(simd, &mut squares[3], pair);
            }
        }
        for (largest, squares) in largest.iter_mut().zip(squares) {
            let squares = simd.reduce_sum_f32s(squares);
            is_bounded &= squares < 1e30;
            *largest = largest.max(squares);
        }
    }
    let norms = largest.map(|squares| {
        (f64::from(squares).sqrt() * ENLARGED * (1.0 + width as f64 * 1e-7) + TINY) as f32
    });
    is_bounded.then(|| ItemNorms {
        weight: norms[0],
        centred: norms[1],
        residuals: [norms[2], norms[3]],
        bias: 0.0,
    })
}

/// Adds the squares of two vectors.
#[inline(always)]
fn add_squares<S: Simd>(simd: S, sum: &mut S::f32s, pair: [S::f32s; 2]) {
    for x in pair {
        *sum = simd.mul_add_e_f32s(x, x, *sum);
    }
}
