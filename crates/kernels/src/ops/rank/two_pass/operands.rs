//! Operands of the first pass: hidden vectors and weight rows in two parts of bfloat16.

use bytemuck::Zeroable;
use pulp::Simd;

use super::{ENLARGED, MAX_MAGNITUDE, Query};
use crate::Real;
use crate::simd::bf16::Bf16Pair;
use crate::simd::operand::GemmOperand;
use crate::simd::slices::{dot, load, store};
use crate::simd::tiles::{GROUP, Tile, TileEngine, pack_columns, pack_rows};

/// The hidden vectors in parts, as columns of operand B: first part, second part, first part.
pub(super) struct SplitQuery {
    pub(super) columns: Vec<Tile>,
    /// The hidden vectors transposed, `[width, batch]` padded to whole groups.
    pub(super) transposed: Vec<f32>,
    /// Euclidean norms, enlarged.
    pub(super) norms: Vec<f32>,
    /// Bound of the error of a score per unit of the product of the norms.
    pub(super) relative: f32,
}

impl SplitQuery {
    /// `None` if a value is not finite or too large.
    pub(super) fn new(query: Query<'_>) -> Option<Self> {
        let width = query.width;
        let depth = width.div_ceil(GROUP);
        let mut norms = Vec::with_capacity(query.hidden.len() / width);
        for row in query.hidden.chunks_exact(width) {
            let mut squares = 0.0;
            for &x in row {
                squares += f64::from(x) * f64::from(x);
            }
            let norm = squares.sqrt();
            if norm.is_nan() || norm >= MAX_MAGNITUDE.sqrt() {
                return None;
            }
            // Parts that are subnormal are lost in products: the constant stands for them.
            norms.push((norm * ENLARGED + 1e-18) as f32);
        }
        let padded = norms.len().next_multiple_of(GROUP);
        let mut transposed = vec![0.0; width * padded];
        for (b, row) in query.hidden.chunks_exact(width).enumerate() {
            for (k, &x) in row.iter().enumerate() {
                transposed[k * padded + b] = x;
            }
        }
        let mut rest = Vec::with_capacity(query.hidden.len());
        rest.extend(query.hidden.iter().map(|&x| x - bf16_part(x)));
        let first = pack_columns(query.hidden, width);
        let second = pack_columns(&rest, width);
        let mut columns = Vec::with_capacity(3 * first.len());
        for (first, second) in first.chunks_exact(depth).zip(second.chunks_exact(depth)) {
            columns.extend_from_slice(first);
            columns.extend_from_slice(second);
            columns.extend_from_slice(first);
        }
        // Eight more: of the bias, of the bounds and of terms of second order.
        let operations = (width + 1 + 17 + 3 * depth + 8) as f64;
        let relative = 3.0 / f64::from(1 << 18) + operations * f64::from(f32::EPSILON) / 2.0;
        Some(Self {
            columns,
            transposed,
            norms,
            relative: (relative * ENLARGED) as f32,
        })
    }
}

/// A value rounded to bfloat16.
pub(super) fn bf16_part(x: f32) -> f32 {
    Bf16Pair::rounded(x)
}

/// Groups of 32 items whose operands stay in the first-level cache with those of 32 hidden vectors.
pub(super) const TILE_GROUPS: usize = 2;

/// Weight rows of a tile in parts, as the rows of operand A: first part, first part, second part.
pub(super) struct Parts {
    pub(super) width: usize,
    pub(super) tiles: Vec<Tile>,
    pub(super) first: Vec<Tile>,
    pub(super) second: Vec<Tile>,
    pub(super) rest: Vec<f32>,
}

impl Parts {
    pub(super) fn new(width: usize) -> Self {
        let depth = width.div_ceil(GROUP);
        let tiles = |n: usize| vec![Tile::zeroed(); n];
        Self {
            width,
            tiles: tiles(TILE_GROUPS * 2 * 3 * depth),
            first: tiles(2 * depth),
            second: tiles(2 * depth),
            rest: vec![0.0; GROUP * width],
        }
    }

    /// The operand of a group.
    pub(super) fn group(&self, g: usize) -> &[Tile] {
        let size = self.tiles.len() / TILE_GROUPS;
        &self.tiles[g * size..][..size]
    }

    /// Packs a group's rows.
    #[inline(always)]
    pub(super) fn pack<S: Simd, E: TileEngine>(
        &mut self,
        (simd, engine): (S, E),
        g: usize,
        rows: &[f32],
    ) {
        let depth = self.first.len() / 2;
        let rest = &mut self.rest[..rows.len()];
        split_rows(simd, rows, rest);
        pack_rows((simd, engine), rows, self.width, &mut self.first);
        pack_rows((simd, engine), rest, self.width, &mut self.second);
        let size = self.tiles.len() / TILE_GROUPS;
        let group = &mut self.tiles[g * size..][..size];
        for (row, out) in group.chunks_exact_mut(3 * depth).enumerate() {
            let range = row * depth..(row + 1) * depth;
            out[..depth].copy_from_slice(&self.first[range.clone()]);
            out[depth..2 * depth].copy_from_slice(&self.first[range.clone()]);
            out[2 * depth..].copy_from_slice(&self.second[range]);
        }
    }
}

/// Largest norm of the rows and largest absolute bias, enlarged; `None` if one is not finite or
/// too large.
#[inline(always)]
pub(super) fn norms_of<S: Simd>(
    simd: S,
    rows: &[f32],
    width: usize,
    bias: &[f32],
) -> Option<[f32; 2]> {
    let mut largest = 0.0_f32;
    let mut is_bounded = true;
    for row in rows.chunks_exact(width) {
        let squares = dot(simd, row, row);
        is_bounded &= squares < 1e30;
        largest = largest.max(squares);
    }
    let mut bias_norm = 0.0_f32;
    for &b in bias {
        is_bounded &= b.abs() < 1e29;
        bias_norm = bias_norm.max(b.abs());
    }
    // Squares below the range of f32 are lost: the constant stands for them.
    let norm = f64::from(largest).sqrt() * ENLARGED * (1.0 + width as f64 * 1e-7) + 1e-18;
    is_bounded.then_some([norm as f32, bias_norm])
}

/// Subtracts from each value its rounding to bfloat16.
#[inline(always)]
pub(super) fn split_rows<S: Simd>(simd: S, values: &[f32], rest: &mut [f32]) {
    let rounding = simd.splat_u32s(0x7fff);
    let lanes = f32::lanes::<S>();
    let whole = values.len() / lanes * lanes;
    for at in (0..whole).step_by(lanes) {
        let x = load::<f32, S>(&values[at..]);
        let bits = simd.transmute_u32s_f32s(x);
        // To nearest, ties to even, as the packing rounds.
        let is_odd = simd.and_u32s(
            simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(16)),
            simd.splat_u32s(1),
        );
        let up = simd.add_u32s(bits, simd.add_u32s(is_odd, rounding));
        let part = simd.and_u32s(up, simd.splat_u32s(0xffff_0000));
        let part = simd.transmute_f32s_u32s(part);
        store::<f32, S>(&mut rest[at..], simd.sub_f32s(x, part));
    }
    for (&x, rest) in values[whole..].iter().zip(&mut rest[whole..]) {
        *rest = x - bf16_part(x);
    }
}
