//! First bounds of the k-th best scores, from a sample of the items. They keep the lists of the
//! pass over all items short from its beginning.

use bytemuck::Zeroable;
use pulp::Simd;
use rayon::prelude::*;

use super::operands::{HiddenColumns, PackedItems};
use super::{Floor, Query, exclude_offsets};
use crate::Real;
use crate::simd::slices::{load, store};
use crate::simd::tiles::{Block, GROUP, SIDE, Tile, TileEngine, TileWork};

/// The sample is one group of items in as many.
const STRIDE: usize = 16;

/// Raises the bounds of the k-th best scores: to the k-th largest of the maxima of 16 items each in
/// the sample, less their errors. `None` if a bias is not finite or too large.
pub(super) fn raise(
    packed: &PackedItems,
    bias: &[f32],
    query: Query<'_>,
    columns: &HiddenColumns,
    floor: &Floor,
) -> Option<()> {
    // Whole groups alone.
    let sampled = bias.len() / GROUP / STRIDE;
    // A bound from most of the maxima would be a low one.
    if query.k == 0 || 2 * sampled < 4 * query.k {
        return Some(());
    }
    let groups = 0..columns.groups();
    let raised: Option<Vec<()>> = groups
        .into_par_iter()
        .map(|j| {
            packed.engine().run(Raise {
                packed,
                bias,
                sampled,
                query,
                columns,
                j,
                floor,
            })
        })
        .collect();
    raised.map(|_| ())
}

/// Raises the bounds of a group of hidden vectors.
struct Raise<'a> {
    packed: &'a PackedItems,
    bias: &'a [f32],
    /// Number of groups of items in the sample.
    sampled: usize,
    query: Query<'a>,
    columns: &'a HiddenColumns,
    j: usize,
    floor: &'a Floor,
}

impl TileWork for Raise<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run<S: Simd, E: TileEngine>(self, simd: S, engine: E) -> Option<()> {
        let k = self.query.k;
        // The k largest lower bounds, descending: `[k, hidden vectors]`.
        let mut best = vec![f32::NEG_INFINITY; k * GROUP];
        let mut scores: Block = [Tile::zeroed(); 4];
        let row = self.j * GROUP;
        let columns = self.columns.group(self.j);
        for g in (0..self.sampled).map(|s| s * STRIDE) {
            let items = g * GROUP..(g + 1) * GROUP;
            let bias: &[f32; GROUP] = self.bias[items.clone()].try_into().expect("a whole group");
            let norms = self.packed.norms(g).with_bias(bias)?;
            for k in 0..self.query.width.div_ceil(GROUP) {
                engine.multiply_parts(self.packed.group(g), columns, k, &mut scores);
            }
            let offsets = self.query.offsets.of_items(items);
            exclude_offsets(offsets, g * GROUP, row, &mut scores);
            for at in (0..GROUP).step_by(f32::lanes::<S>()) {
                let error = self.columns.error(simd, norms, row + at);
                for half in 0..2 {
                    let scores = &scores[2 * half + at / SIDE];
                    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
                    for (i, &bias) in bias[half * SIDE..][..SIDE].iter().enumerate() {
                        let sums = load::<f32, S>(&scores.sums(i)[at % SIDE..]);
                        most = simd.max_f32s(most, simd.add_f32s(sums, simd.splat_f32s(bias)));
                    }
                    insert(simd, &mut best, at, simd.sub_f32s(most, error));
                }
            }
        }
        let batch = row..self.columns.batch.min(row + GROUP);
        for (b, &bar) in batch.zip(&best[(k - 1) * GROUP..]) {
            self.floor.raise(b, bar);
        }
        Some(())
    }
}

/// Inserts a value into each of the descending lists `[k, hidden vectors]` of the vector at `at`.
#[inline(always)]
fn insert<S: Simd>(simd: S, best: &mut [f32], at: usize, mut value: S::f32s) {
    let last = load::<f32, S>(&best[best.len() - GROUP + at..]);
    let is_new = simd.greater_than_f32s(value, last);
    if simd.first_true_m32s(is_new) == S::F32_LANES {
        return;
    }
    for best in best.chunks_exact_mut(GROUP) {
        let best = &mut best[at..];
        let old = load::<f32, S>(best);
        store::<f32, S>(best, simd.max_f32s(old, value));
        value = simd.min_f32s(old, value);
    }
}
