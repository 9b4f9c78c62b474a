//! Products of tiles against plain sums and, on a processor with AMX, the emulator against it.

use super::{
    Bf16Level, Block, GROUP, MatrixEngine, SIDE, Tile, TileEngine, TileWork, exp, pack_columns,
    pack_pairs_of_rows, pack_rows, pair, sum_at,
};
use bytemuck::Zeroable;
use half::bf16;
use proptest::prelude::*;
use pulp::{Arch, Simd, WithSimd};

fn engines() -> Vec<MatrixEngine> {
    let supported = Bf16Level::ALL
        .into_iter()
        .filter(|level| level.is_supported());
    supported.filter_map(Bf16Level::engine).collect()
}

struct Multiply<'a>(&'a [Tile], &'a [Tile], Block, bool);
impl TileWork for Multiply<'_> {
    type Output = Block;
    fn run<S: Simd, E: TileEngine>(mut self, _: S, engine: E) -> Block {
        engine.multiply(self.0, self.1, &mut self.2, self.3);
        self.2
    }
}

struct MultiplyParts<'a>(&'a [Tile], &'a [Tile]);
impl TileWork for MultiplyParts<'_> {
    type Output = Block;
    fn run<S: Simd, E: TileEngine>(self, _: S, engine: E) -> Block {
        let mut block = [Tile([u32::MAX; SIDE * SIDE]); 4];
        for k in 0..self.0.len() / 4 {
            engine.multiply_parts(self.0, self.1, k, &mut block);
        }
        block
    }
}

/// Counts and largest sum of each column.
struct Compare<'a> {
    tile: &'a Tile,
    bias: &'a [f32; SIDE],
    thresholds: [f32; 2],
}
impl TileWork for Compare<'_> {
    type Output = Vec<([u32; 2], f32)>;
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Self::Output {
        let mut columns = Vec::new();
        let thresholds = self.thresholds.map(|x| simd.splat_f32s(x));
        for at in (0..SIDE).step_by(S::F32_LANES) {
            let found = engine.compare(simd, self.tile, at, self.bias, thresholds);
            let counts = found
                .counts
                .map(|x| bytemuck::pod_collect_to_vec::<_, u32>(&[x]));
            let largest = bytemuck::pod_collect_to_vec::<_, f32>(&[found.largest]);
            for (i, largest) in largest.into_iter().enumerate() {
                columns.push(([counts[0][i], counts[1][i]], largest));
            }
        }
        columns
    }
}

/// Bits of a word, NaN as one value.
fn class(word: u32) -> u32 {
    let x = f32::from_bits(word);
    if x.is_nan() { f32::NAN.to_bits() } else { word }
}

/// Words whose halves are bfloat16 values of all magnitudes, subnormal and infinite ones included.
fn any_pairs(tiles: usize) -> impl Strategy<Value = Vec<Tile>> {
    let half = prop_oneof![
        8 => any::<u16>().prop_map(|bits| bits & 0x807f | 0x3f00 | (bits & 0x0180)),
        2 => (0x0000..0x0400_u16, any::<bool>()).prop_map(|(x, sign)| x | u16::from(sign) << 15),
        1 => (0x1f00..0x2100_u16, any::<bool>()).prop_map(|(x, sign)| x | u16::from(sign) << 15),
    ];
    let special = prop_oneof![Just(0x7f80_u16), Just(0xff80), Just(0x7fc1), Just(0x7f7f)];
    let halves = prop::collection::vec(half, tiles * 512);
    let specials = prop::collection::vec((any::<prop::sample::Index>(), special), 0..3);
    (halves, specials).prop_map(|(mut halves, specials)| {
        for (at, x) in specials {
            let at = at.index(halves.len());
            halves[at] = x;
        }
        let mut tiles = Vec::new();
        for halves in halves.chunks_exact(512) {
            let mut tile = Tile::zeroed();
            for (word, pair) in tile.0.iter_mut().zip(halves.chunks_exact(2)) {
                *word = u32::from(pair[0]) | u32::from(pair[1]) << 16;
            }
            tiles.push(tile);
        }
        tiles
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn emulated_products_have_the_bits_of_the_processor(
        (a, b) in (1..4_usize).prop_flat_map(|depth| (any_pairs(2 * depth), any_pairs(2 * depth))),
        c in any_pairs(4),
        accumulates: bool,
    ) {
        let c: Block = [c[0], c[1], c[2], c[3]];
        let mut found = Vec::new();
        for engine in engines() {
            found.push(engine.run(Multiply(&a, &b, c, accumulates)));
        }
        for other in &found[1..] {
            for (x, y) in found[0].iter().zip(other) {
                for (x, y) in x.0.iter().zip(y.0) {
                    prop_assert_eq!(class(*x), class(y), "{:e} and {:e}", f32::from_bits(*x), f32::from_bits(y));
                }
            }
        }
    }

    #[test]
    fn emulated_products_of_parts_have_the_bits_of_the_processor(
        (a, b) in (1..4_usize).prop_flat_map(|depth| (any_pairs(4 * depth), any_pairs(4 * depth))),
    ) {
        let mut found = Vec::new();
        for engine in engines() {
            found.push(engine.run(MultiplyParts(&a, &b)));
        }
        for other in &found[1..] {
            for (x, y) in found[0].iter().zip(other) {
                for (x, y) in x.0.iter().zip(y.0) {
                    prop_assert_eq!(class(*x), class(y), "{:e} and {:e}", f32::from_bits(*x), f32::from_bits(y));
                }
            }
        }
    }

    #[test]
    fn tiles_are_compared_with_thresholds(
        sums in prop::collection::vec(-9..9_i8, 256), bias in prop::collection::vec(-9..9_i8, SIDE),
        thresholds in [-9..9_i8, -9..9_i8],
    ) {
        let mut tile = Tile::zeroed();
        for (x, &sum) in tile.sums_mut().iter_mut().zip(&sums) {
            *x = f32::from(sum);
        }
        let bias: [f32; SIDE] = std::array::from_fn(|r| f32::from(bias[r]));
        let thresholds = thresholds.map(f32::from);
        for engine in engines() {
            let found = engine.run(Compare { tile: &tile, bias: &bias, thresholds });
            for (c, (counts, largest)) in found.into_iter().enumerate() {
                let column: Vec<f32> = (0..SIDE).map(|r| tile.sums(r)[c] + bias[r]).collect();
                for (count, threshold) in counts.into_iter().zip(thresholds) {
                    let reaching = column.iter().filter(|&&x| x >= threshold).count();
                    prop_assert_eq!(count as usize, reaching);
                }
                prop_assert!(column.contains(&largest) && column.iter().all(|&x| x <= largest));
            }
        }
    }

    #[test]
    fn products_of_packed_matrices_match_rounded_operands(
        rows in 1..=GROUP, columns in 1..=GROUP, width in 1..130_usize, seed: u32,
    ) {
        let wave = |n: usize, phase: f32| -> Vec<f32> {
            (0..n).map(|i| (0.7 * i as f32 + phase + seed as f32 % 100.0).sin()).collect()
        };
        let (a, b) = (wave(rows * width, 0.1), wave(columns * width, 0.3));
        let round = |x: f32| bf16::from_f32(x).to_f64();
        for engine in engines() {
            let mut block = engine.run(Dot { rows: &a, columns: &b, width });
            for i in 0..GROUP {
                for j in 0..GROUP {
                    let (mut sum, mut size) = (0.0_f64, 0.0_f64);
                    if i < rows && j < columns {
                        for k in 0..width {
                            let term = round(a[i * width + k]) * round(b[j * width + k]);
                            sum += term;
                            size += term.abs();
                        }
                    }
                    let found = f64::from(*sum_at(&mut block, i, j));
                    // 17 roundings within a tile and one a tile on the way of a term.
                    let roundings = (17 + width.div_ceil(GROUP)) as f64;
                    let bound = 1.01 * roundings * size / f64::from(1 << 24);
                    prop_assert!((found - sum).abs() <= bound, "{i} {j}: {found} is not {sum}");
                }
            }
        }
    }
}

/// Rows by columns, each of `width` values.
struct Dot<'a> {
    rows: &'a [f32],
    columns: &'a [f32],
    width: usize,
}
impl TileWork for Dot<'_> {
    type Output = Block;
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Block {
        let mut a = vec![Tile([u32::MAX; SIDE * SIDE]); 2 * self.width.div_ceil(GROUP)];
        pack_rows((simd, engine), self.rows, self.width, &mut a);
        let mut block = [Tile::zeroed(); 4];
        engine.multiply(
            &a,
            &pack_columns(self.columns, self.width),
            &mut block,
            false,
        );
        block
    }
}

/// Pairs of rows and their transpose.
struct Pairs<'a>(&'a [f32], usize);
impl TileWork for Pairs<'_> {
    type Output = [Tile; 2];
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> [Tile; 2] {
        let tile = pack_pairs_of_rows((simd, engine), self.0, self.1, SIDE);
        [tile, engine.transpose(&tile)]
    }
}

#[test]
fn pairs_of_rows_hold_columns_and_transpose() {
    let width = 24;
    let rows: Vec<f32> = (0..27 * width).map(|i| i as f32 - 300.0).collect();
    for engine in engines() {
        let [tile, transposed] = engine.run(Pairs(&rows, width));
        for r in 0..SIDE {
            for c in 0..SIDE {
                let value = |r: usize| {
                    let is_there = SIDE + c < width && r < 27;
                    if is_there {
                        rows[r * width + SIDE + c]
                    } else {
                        0.0
                    }
                };
                let expected = pair(value(r), value(r + SIDE));
                assert_eq!(tile.0[r * SIDE + c], expected, "{engine:?}, {r}, {c}");
                assert_eq!(transposed.0[c * SIDE + r], expected, "{engine:?}, {r}, {c}");
            }
        }
    }
}

#[test]
fn measured_peak_exists_where_the_engine_does() {
    let peak = super::measured_peak();
    assert_eq!(peak.is_some(), Bf16Level::Amx.is_supported());
    assert!(peak.is_none_or(|rate| rate > 1e9), "{peak:?}");
}

struct Exp<'a, const DEGREE: usize>(&'a [f32]);
impl<const DEGREE: usize> WithSimd for Exp<'_, DEGREE> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut out = self.0.to_vec();
        let (body, _) = S::as_mut_simd_f32s(&mut out);
        for v in body {
            *v = exp::<S, DEGREE>(simd, *v);
        }
        out
    }
}

#[test]
fn exp_stays_within_its_stated_error() {
    let x: Vec<f32> = (0..32_768).map(|i| -87.0 + i as f32 / 187.5).collect();
    let five = Arch::new().dispatch(Exp::<5>(&x));
    let four = Arch::new().dispatch(Exp::<4>(&x));
    for (i, &x) in x.iter().enumerate() {
        let exact = f64::from(x).exp();
        for (y, bound) in [(five[i], 4e-7), (four[i], 4e-6)] {
            let error = (f64::from(y) - exact).abs() / exact;
            let allowed = bound + 2e-8 * f64::from(x.abs());
            assert!(error < allowed, "exp({x}) = {y}, not {exact}");
        }
    }
    assert_eq!(Arch::new().dispatch(Exp::<4>(&[0.0; 16])), [1.0; 16]);
    assert_eq!(Arch::new().dispatch(Exp::<5>(&[0.0; 16])), [1.0; 16]);
}
