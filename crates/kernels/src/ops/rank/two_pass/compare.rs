//! Comparison of the first pass' scores with targets and bars.

use pulp::Simd;

use super::operands::ItemNorms;
use super::{Candidate, Chunk, Found, MAX_CLOSE, MAX_LISTED, THRESHOLD};
use crate::Real;
use crate::simd::slices::{dot, load, prefetch};
use crate::simd::tiles::{GROUP, SIDE, Tile, TileEngine};

/// Scores of up to 32 items for 16 hidden vectors.
pub(super) struct Group<'a> {
    /// Without the bias: of the first 16 items and of the others.
    pub(super) scores: [&'a Tile; 2],
    /// `-inf` for those that lack.
    pub(super) bias: &'a [f32; GROUP],
    /// First item.
    pub(super) item: usize,
    pub(super) norms: ItemNorms,
    /// First hidden vector.
    pub(super) row: usize,
}

impl Group<'_> {
    /// The scores of one half that reach a threshold: 16 lanes of four items in each word.
    #[inline(always)]
    fn reaching<S: Simd>(
        &self,
        simd: S,
        (half, at): (usize, usize),
        threshold: S::f32s,
    ) -> [u64; SIDE / 4] {
        // Read again, for the same reason as in `visit`.
        let scores: &Tile = std::hint::black_box(self.scores[half]);
        let mut words = [0; SIDE / 4];
        for (w, word) in words.iter_mut().enumerate() {
            for i in 0..4 {
                let item = 4 * w + i;
                let bias = simd.splat_f32s(self.bias[half * SIDE + item]);
                let score = simd.add_f32s(load::<f32, S>(&scores.sums(item)[at..]), bias);
                let reaches = simd.greater_than_or_equal_f32s(score, threshold);
                *word |= u64::from(lanes_of::<S>(reaches)) << (16 * i);
            }
        }
        words
    }
}

/// Adds a vector to counts.
#[inline(always)]
fn add_counts<S: Simd>(simd: S, counts: &mut [u32], more: S::u32s) {
    let count: S::u32s = bytemuck::pod_read_unaligned(bytemuck::cast_slice(counts));
    let sum = simd.add_u32s(count, more);
    bytemuck::cast_slice_mut(counts).copy_from_slice(bytemuck::bytes_of(&sum));
}

/// The lanes of a mask, a bit each.
#[inline(always)]
fn lanes_of<S: Simd>(mask: S::m32s) -> u16 {
    let bytes = bytemuck::bytes_of(&mask);
    match *bytes {
        [low] => u16::from(low),
        [low, high] => u16::from_le_bytes([low, high]),
        _ => {
            let mut lanes = 0;
            for (lane, word) in bytes.chunks_exact(4).enumerate() {
                lanes |= u16::from(word != [0; 4]) << lane;
            }
            lanes
        }
    }
}

/// Calls `f` with the item and the lane of each bit.
#[inline(always)]
fn each_bit(words: [u64; SIDE / 4], mut f: impl FnMut(usize, usize)) {
    for (w, mut bits) in words.into_iter().enumerate() {
        while bits != 0 {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            f(w * 4 + bit / 16, bit % 16);
        }
    }
}

/// State of the first pass over a chunk, padded to whole groups of hidden vectors.
pub(super) struct Pass<'a> {
    chunk: &'a Chunk<'a>,
    /// Scores of the targets.
    wanted: Vec<f32>,
    /// Scores of the targets less `m h`, on the scale of the first pass.
    shifted: Vec<f32>,
    /// Scores not below the target's.
    counts: Vec<u32>,
    /// Lower bounds of the k-th best scores.
    bars: Vec<f32>,
    /// The k largest lower bounds of the listed scores, descending: `[batch, k]`.
    best: Vec<f32>,
    listed: Vec<Candidate>,
    /// Items and hidden vectors whose score and the target's differ by less than the error bound.
    close: Vec<(u32, u32)>,
    /// Number of such scores in earlier tiles.
    close_before: usize,
}

impl<'a> Pass<'a> {
    pub(super) fn new(chunk: &'a Chunk<'a>) -> Self {
        let (batch, padded) = (chunk.columns.batch, chunk.columns.norms[0].len());
        let query = chunk.query;
        let mut wanted = chunk.wanted.map_or_else(Vec::new, <[f32]>::to_vec);
        // No score of a padding column, or of a row without a target, counts.
        wanted.resize(padded, f32::INFINITY);
        let mut shifted = wanted.clone();
        for (wanted, &shift) in shifted.iter_mut().zip(&chunk.columns.shifts) {
            *wanted = (f64::from(*wanted) - shift) as f32;
        }
        // Padding columns, and all columns if k is 0, never pass.
        let mut bars = Vec::with_capacity(padded);
        if query.k > 0 {
            bars.extend((0..batch).map(|b| chunk.floor.bar(b)));
        }
        bars.resize(padded, f32::INFINITY);
        Self {
            chunk,
            wanted,
            shifted,
            counts: vec![0; padded],
            bars,
            best: vec![f32::NEG_INFINITY; batch * query.k],
            listed: Vec::new(),
            close: Vec::new(),
            close_before: 0,
        }
    }

    /// Counts and lists the items of a group.
    #[inline(always)]
    pub(super) fn visit<S: Simd, E: TileEngine>(
        &mut self,
        (simd, engine): (S, E),
        group: &Group<'_>,
    ) {
        for at in (0..SIDE).step_by(f32::lanes::<S>()) {
            let row = group.row + at;
            let error = self.chunk.columns.error(simd, group.norms, row);
            let wanted = load::<f32, S>(&self.shifted[row..]);
            let bar = load::<f32, S>(&self.bars[row..]);
            let margin =
                |x| simd.mul_add_e_f32s(simd.abs_f32s(x), simd.splat_f32s(THRESHOLD), error);
            let surely = simd.add_f32s(wanted, margin(wanted));
            let perhaps = simd.sub_f32s(wanted, margin(wanted));
            let bar = simd.sub_f32s(bar, margin(bar));
            // One half after the other: what is close or listed lies in few of them.
            for half in 0..2 {
                let bias = group.bias[half * SIDE..].first_chunk().expect("16 biases");
                let thresholds = [surely, perhaps];
                let seen = engine.compare(simd, group.scores[half], at, bias, thresholds);
                let [sure, possible] = seen.counts;
                add_counts(simd, &mut self.counts[row..][..S::F32_LANES], sure);
                let is_close = lanes_of::<S>(simd.greater_than_u32s(possible, sure));
                let reaches = simd.greater_than_or_equal_f32s(seen.largest, bar);
                let is_listed = lanes_of::<S>(reaches);
                // One branch, before which all is known that depends on the scores: otherwise the
                // compiler keeps them, and has registers for few.
                if is_close | is_listed == 0 {
                    continue;
                }
                if is_close != 0 {
                    let mut close = group.reaching(simd, (half, at), perhaps);
                    let sure = group.reaching(simd, (half, at), surely);
                    for (close, sure) in close.iter_mut().zip(sure) {
                        *close &= !sure;
                    }
                    self.remember(close, group.item + half * SIDE, row);
                }
                if is_listed != 0 {
                    let listed = group.reaching(simd, (half, at), bar);
                    self.list::<S>(listed, group, (half, at), error);
                }
            }
        }
    }

    /// Remembers close scores of the items from `first` and the hidden vectors from `row`.
    #[inline(always)]
    fn remember(&mut self, close: [u64; SIDE / 4], first: usize, row: usize) {
        let (linear, width) = (self.chunk.linear, self.chunk.query.width);
        each_bit(close, |i, lane| {
            let item = first + i;
            // It is read when the tile is done.
            prefetch::<f32, false>(&linear.weight[item * width..][..width], 0, 1);
            self.close.push((item as u32, (row + lane) as u32));
        });
    }

    /// Adds items to the lists.
    #[inline(always)]
    fn list<S: Simd>(
        &mut self,
        listed: [u64; SIDE / 4],
        group: &Group<'_>,
        (half, at): (usize, usize),
        error: S::f32s,
    ) {
        let errors: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&error));
        each_bit(listed, |i, lane| {
            let sum = group.scores[half].sums(i)[at + lane];
            let score = sum + group.bias[half * SIDE + i];
            let bounds = [score - errors[lane], score + errors[lane]];
            let item = group.item + half * SIDE + i;
            self.push(item as u32, group.row + at + lane, bounds);
        });
    }

    /// Counts the close scores by sums in `f32`, and by the sweep's own sum where these are within
    /// their rounding of the target's. `norms` are the largest since the last call.
    #[inline(always)]
    pub(super) fn count_close<S: Simd>(&mut self, simd: S, norms: ItemNorms) {
        let Chunk {
            linear,
            query,
            columns,
            ..
        } = *self.chunk;
        let rounding = columns.roundings.sum;
        for &(item, row) in &self.close {
            let (i, b) = (item as usize, row as usize);
            let weight = &linear.weight[i * query.width..][..query.width];
            let hidden = &query.hidden[b * query.width..][..query.width];
            let score = dot(simd, weight, hidden) + linear.bias[i];
            let wanted = self.wanted[b];
            let size = norms.weight * columns.norms[0][b] + norms.bias;
            let margin = size * rounding + wanted.abs() * THRESHOLD + 1e-30;
            let mut counts = score >= wanted;
            if (score - wanted).abs() <= margin {
                counts = query.score(linear, item, b) >= wanted;
            }
            self.counts[b] += u32::from(counts);
        }
        self.close_before += self.close.len();
        self.close.clear();
    }

    /// Adds an item to a list if its upper bound reaches the bar, which its lower bound may raise.
    fn push(&mut self, item: u32, row: usize, [low, high]: [f32; 2]) {
        let bar = self.bars[row];
        // A score of -inf is one that an offset changes.
        if !(high >= bar && low > f32::NEG_INFINITY) {
            return;
        }
        self.listed.push(Candidate {
            item,
            row: row as u32,
            high,
        });
        let k = self.chunk.query.k;
        let best = &mut self.best[row * k..][..k];
        // Insertion into a descending list, without branches.
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        for j in (1..k).rev() {
            let next = if best[j - 1] < low { best[j - 1] } else { low };
            best[j] = larger(best[j], next);
        }
        best[0] = larger(best[0], low);
        self.bars[row] = bar.max(best[k - 1]);
    }

    /// Exchanges bars with the other chunks. Not at every change: the bars of all chunks lie in the
    /// same lines of the cache.
    pub(super) fn exchange_bars(&mut self) {
        if self.chunk.query.k > 0 {
            for (b, bar) in self.bars[..self.chunk.columns.batch].iter_mut().enumerate() {
                let other = self.chunk.floor.bar(b);
                if *bar > other {
                    self.chunk.floor.raise(b, *bar);
                }
                *bar = bar.max(other);
            }
        }
    }

    /// Whether the first pass is not worth its time after some groups.
    pub(super) fn is_overflowing(&self, groups: usize) -> bool {
        let scores = groups * GROUP * self.wanted.len();
        // The first bars may be low.
        let spare = 4 * GROUP * self.wanted.len();
        self.close_before > spare + scores / MAX_CLOSE
            || self.listed.len() > spare + scores / MAX_LISTED
    }

    pub(super) fn finish(mut self) -> Found {
        self.exchange_bars();
        self.counts.truncate(self.chunk.columns.batch);
        self.listed.retain(|c| c.high >= self.bars[c.row as usize]);
        Found {
            counts: self.counts,
            best: self.best,
            listed: self.listed,
        }
    }
}
