//! The instructions of the matrix engine as plain functions.

use bytemuck::Zeroable;
use pulp::Simd;

use super::{Block, SIDE, Tile, TileEngine};
use crate::simd::bf16::Bf16Pair;
use crate::simd::operand::GemmOperand;

/// Emulation of AMX, with the bits of its sums.
///
/// A sum just below the smallest normal number, which the processor rounds to zero or up depending
/// on bits beyond the range of `f32`, may differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emulator;

impl TileEngine for Emulator {
    #[inline(always)]
    fn multiply(self, a: &[Tile], b: &[Tile], c: &mut Block, accumulates: bool) {
        assert!(a.len() == b.len() && a.len().is_multiple_of(2) && !a.is_empty());
        let depth = a.len() / 2;
        for (at, c) in c.iter_mut().enumerate() {
            if !accumulates {
                *c = Tile::zeroed();
            }
            let (row, column) = (at / 2 * depth, at % 2 * depth);
            for k in 0..depth {
                multiply_tile(&a[row + k], &b[column + k], c);
            }
        }
    }

    #[inline(always)]
    fn multiply_parts(self, a: &[Tile], b: &[Tile], k: usize, c: &mut Block) {
        assert!(a.len() == b.len() && a.len().is_multiple_of(4) && k < a.len() / 4);
        let depth = a.len() / 4;
        for (at, c) in c.iter_mut().enumerate() {
            if k == 0 {
                *c = Tile::zeroed();
            }
            let (row, column) = (at / 2 * 2 * depth + k, at % 2 * 2 * depth + k);
            for [i, j] in [[0, 0], [0, depth], [depth, 0]] {
                multiply_tile(&a[row + i], &b[column + j], c);
            }
        }
    }

    #[inline(always)]
    fn join<S: Simd>(self, simd: S, first: S::f32s, second: S::f32s) -> S::f32s {
        Bf16Pair::pack(simd, first, second)
    }

    #[inline(always)]
    fn transpose(self, tile: &Tile) -> Tile {
        let mut out = Tile::zeroed();
        for r in 0..SIDE {
            for c in 0..SIDE {
                out.0[c * SIDE + r] = tile.0[r * SIDE + c];
            }
        }
        out
    }
}

/// `TDPBF16PS` of whole tiles.
#[inline(always)]
fn multiply_tile(a: &Tile, b: &Tile, c: &mut Tile) {
    for m in 0..SIDE {
        let mut chains = [[0.0_f32; SIDE]; 2];
        for k in 0..SIDE {
            let x = halves(a.0[m * SIDE + k]);
            for n in 0..SIDE {
                let y = halves(b.0[k * SIDE + n]);
                for (i, chain) in chains.iter_mut().enumerate() {
                    chain[n] = flushed(x[i].mul_add(y[i], chain[n]));
                }
            }
        }
        for (n, c) in c.sums_mut()[m * SIDE..][..SIDE].iter_mut().enumerate() {
            *c = flushed(flushed(*c) + flushed(chains[0][n] + chains[1][n]));
        }
    }
}

/// Both values of a pair.
#[inline(always)]
fn halves(pair: u32) -> [f32; 2] {
    [pair << 16, pair & 0xffff_0000].map(|bits| flushed(f32::from_bits(bits)))
}

/// Zero with the sign of `x` if `x` is subnormal.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE {
        0.0_f32.copysign(x)
    } else {
        x
    }
}
