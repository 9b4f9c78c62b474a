//! First pass of a top-k in 8 bits: which items can be among the best is decided by a bound on the
//! error of their scores in 8 bits, and only those are scored exactly. The lists are the same.
//!
//! An item's vector is `x = s a + e` and a hidden vector `h = t b + d`, with bytes `a` and `b`, so
//! that
//!
//! ```text
//! h . x = s t (a . b) + d . (s a) + h . e
//! |h . x - s t (a . b)| <= |d| |s a| + |h| |e|                                 (Cauchy-Schwarz)
//! ```
//!
//! The norms of `s a` and `e` are kept, as the largest ones of a panel; those of `h` and `d` are
//! computed. To the bound E comes the rounding of both scores. An item is a candidate if its score
//! in 8 bits plus E is at least the k-th largest score in 8 bits minus E.

use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{PANEL, Row, TopK, TransposedItemMatrix};
use crate::Real;
use crate::ops::top_k::best;
use crate::simd::int8::{Int8Level, Int8Panel, Int8Rows, OFFSET, QUAD, score_panel};

/// Items from which the first pass is faster than scoring all items exactly.
const MIN_ITEMS: usize = 1 << 15;
/// Share of the items, as a divisor, that may be candidates: beyond it all are scored exactly.
const MAX_CANDIDATES: usize = 16;
/// Candidates that any list may have.
const MIN_LISTED: usize = 256;
/// Candidates that are kept at least before they are pruned.
const MIN_KEPT: usize = 64;
/// Products of bytes up to which one thread is faster than several.
const ALONE: usize = 1 << 25;
/// Scores up to this magnitude, and all partial sums, are finite.
const MAX_MAGNITUDE: f64 = 1e30;
/// Norms and bounds are enlarged by this factor, which exceeds the rounding of their computation.
const ENLARGED: f64 = 1.0 + 1e-5;

/// Use of the first pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstPass {
    /// Where it is faster: on large catalogues and processors with instructions for it.
    #[default]
    Auto,
    /// Nowhere.
    Never,
    /// With these instructions, if the processor has them.
    Always(Int8Level),
}

impl FirstPass {
    /// The instructions for a catalogue of elements `T`; `None` without a first pass.
    pub(super) fn level<T>(self, items: usize) -> Option<Int8Level> {
        match self {
            _ if size_of::<T>() != size_of::<f32>() => None,
            Self::Auto if items >= MIN_ITEMS => Int8Level::native(),
            Self::Always(level) if level.is_supported() => Some(level),
            _ => None,
        }
    }
}

/// The items in 8 bits.
pub(super) struct Int8Items {
    level: Int8Level,
    /// Multiple of four, or of what the level needs.
    width: usize,
    /// Panels `[width / 4, 64, 4]`.
    bytes: Vec<u8>,
    scales: Vec<f32>,
    /// Largest |s a| and |e| of each panel.
    norms: Vec<[f32; 2]>,
    /// Largest of each over all panels.
    max_norms: [f32; 2],
}

impl Int8Items {
    /// The items of panels `[width, 64]`; `None` if a weight is not finite.
    pub(super) fn new<T: Real>(panels: &[T], width: usize, level: Int8Level) -> Option<Arc<Self>> {
        let padded = width.next_multiple_of(level.row_multiple());
        let count = panels.len() / (width * PANEL);
        let mut bytes = vec![0; count * padded * PANEL];
        let mut scales = vec![0.0; count * PANEL];
        let quantised = bytes
            .par_chunks_mut(padded * PANEL)
            .zip(scales.par_chunks_mut(PANEL))
            .zip(panels.par_chunks(width * PANEL));
        let norms: Vec<Option<[f32; 2]>> = quantised
            .map(|((bytes, scales), panel)| quantise_panel(panel, bytes, scales))
            .collect();
        let norms: Vec<[f32; 2]> = norms.into_iter().collect::<Option<_>>()?;
        let mut max_norms = [0.0_f32; 2];
        for of_panel in &norms {
            for (max, &norm) in max_norms.iter_mut().zip(of_panel) {
                *max = max.max(norm);
            }
        }
        Some(Arc::new(Self {
            level,
            width: padded,
            bytes,
            scales,
            norms,
            max_norms,
        }))
    }
}

/// Writes a panel `[width, 64]` in 8 bits; returns the largest norms, or `None` if a weight is not
/// finite.
fn quantise_panel<T: Real>(panel: &[T], bytes: &mut [u8], scales: &mut [f32]) -> Option<[f32; 2]> {
    bytes.fill(OFFSET as u8);
    let (mut largest, mut norms) = ([0.0_f64; PANEL], [[0.0_f64; 2]; PANEL]);
    for row in panel.chunks_exact(PANEL) {
        for (largest, x) in largest.iter_mut().zip(row) {
            if !x.is_finite() {
                return None;
            }
            *largest = largest.max(x.double().abs());
        }
    }
    for (scale, largest) in scales.iter_mut().zip(largest) {
        *scale = unit(largest, 127);
    }
    for (k, row) in panel.chunks_exact(PANEL).enumerate() {
        for (item, x) in row.iter().enumerate() {
            let (byte, value) = quantise(x.double(), scales[item], 127);
            let at = k / QUAD * PANEL * QUAD + item * QUAD + k % QUAD;
            bytes[at] = (i32::from(byte) + OFFSET) as u8;
            norms[item][0] += value * value;
            norms[item][1] += (x.double() - value) * (x.double() - value);
        }
    }
    let mut max = [0.0_f32; 2];
    for of_item in norms {
        for (max, square) in max.iter_mut().zip(of_item) {
            *max = max.max(enlarged(square.sqrt()));
        }
    }
    Some(max)
}

/// Value of one unit of bytes up to `range`; 0 if it would be subnormal.
fn unit(largest: f64, range: i32) -> f32 {
    let unit = (largest / f64::from(range)) as f32;
    if unit.is_normal() { unit } else { 0.0 }
}

/// The byte of a number in some unit, and the number that it stands for.
fn quantise(x: f64, unit: f32, range: i32) -> (i8, f64) {
    if unit == 0.0 {
        return (0, 0.0);
    }
    let range = f64::from(range);
    let byte = (x / f64::from(unit)).round().clamp(-range, range);
    (byte as i8, byte * f64::from(unit))
}

fn enlarged(x: f64) -> f32 {
    (x * ENLARGED) as f32
}

/// Hidden vectors in 8 bits, and what bounds the error of their scores.
struct Queries {
    rows: Int8Rows,
    /// |d|, |h| and the bound on the rounding of each row.
    errors: Vec<[f32; 3]>,
}

impl Queries {
    /// Bound on the error of a row's scores in a panel with these norms.
    fn error(&self, row: usize, norms: [f32; 2]) -> f32 {
        let [d, h, rounding] = self.errors[row];
        (d * norms[0] + h * norms[1] + rounding) * ENLARGED as f32
    }
}

/// A candidate: item, and bounds on its score.
type Candidate = (u32, [f32; 2]);

/// Items of a row that may be among its best `k`.
struct Candidates {
    k: usize,
    /// The k-th largest lower bound so far.
    bar: f32,
    list: Vec<Candidate>,
    /// Length at which the list is pruned.
    limit: usize,
    /// Length beyond which the row is scored exactly.
    most: usize,
}

impl Candidates {
    fn new(k: usize, items: usize) -> Self {
        Self {
            k,
            bar: f32::NEG_INFINITY,
            list: Vec::new(),
            limit: (2 * k).max(MIN_KEPT),
            most: (items / MAX_CANDIDATES).max(4 * k).max(MIN_LISTED),
        }
    }

    /// Whether there are too many.
    fn is_full(&self) -> bool {
        self.list.len() > self.most
    }

    /// Adds the items of a panel whose bits are in `hits`.
    #[cold]
    fn add(&mut self, row: &Row<'_>, scores: &[f32], (first, hits): (usize, u64), error: f32) {
        let mut left = hits;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let (item, score) = ((first + at) as u32, scores[at]);
            if score + error < self.bar || !row.allows(item) {
                continue;
            }
            self.list.push((item, [score - error, score + error]));
            if self.list.len() == self.limit {
                self.prune();
                self.limit = (2 * self.list.len()).max(self.limit);
            }
        }
    }

    /// Raises the bar and drops what is below it.
    fn prune(&mut self) {
        if self.list.len() < self.k {
            return;
        }
        let mut lower = Vec::with_capacity(self.list.len());
        for (_, [least, _]) in &self.list {
            lower.push(*least);
        }
        let (_, bar, _) = lower.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));
        self.bar = self.bar.max(*bar);
        let bar = self.bar;
        self.list.retain(|(_, [_, most])| *most >= bar);
    }
}

impl<T: Real> TransposedItemMatrix<T> {
    /// Top-k of each row that the first pass suits, with the bits of an exact sweep; `None` for
    /// the others.
    pub(super) fn by_first_pass(
        &self,
        items: &Int8Items,
        hidden: &[T],
        rows: &[Row<'_>],
    ) -> Vec<Option<TopK<T>>> {
        let mut tops = vec![None; rows.len()];
        let (queries, suited) = self.quantise(items, hidden, rows);
        if suited.is_empty() {
            return tops;
        }
        let panels = items.norms.len();
        let parts = if suited.len() * items.bytes.len() <= ALONE {
            1
        } else {
            2 * rayon::current_num_threads()
        };
        let size = panels.div_ceil(parts).max(1);
        let chosen: Vec<Row<'_>> = suited.iter().map(|&at| rows[at]).collect();
        let sweep = |first: usize| {
            let panels = first..(first + size).min(panels);
            self.candidates(items, panels, &queries, &chosen)
        };
        let starts: Vec<usize> = (0..panels).step_by(size).collect();
        let found: Vec<Vec<Candidates>> = match starts.as_slice() {
            [_, _, ..] => starts.into_par_iter().map(sweep).collect(),
            _ => starts.into_iter().map(sweep).collect(),
        };
        for (i, &at) in suited.iter().enumerate() {
            let mut all = Candidates::new(rows[at].k, self.items);
            for part in &found {
                if part[i].is_full() {
                    all.most = 0;
                }
                all.list.extend_from_slice(&part[i].list);
            }
            all.prune();
            if !all.is_full() {
                tops[at] = Some(self.exactly(&hidden[at * self.width..][..self.width], &all));
            }
        }
        tops
    }

    /// The hidden vectors of rows that the first pass suits, and the places of these rows.
    fn quantise(&self, items: &Int8Items, hidden: &[T], rows: &[Row<'_>]) -> (Queries, Vec<usize>) {
        let range = items.level.range();
        let mut queries = Queries {
            rows: Int8Rows {
                bytes: Vec::with_capacity(rows.len() * items.width),
                offsets: Vec::new(),
                scales: Vec::new(),
                width: items.width,
            },
            errors: Vec::new(),
        };
        let mut suited = Vec::new();
        let [most_a, most_e] = items.max_norms.map(f64::from);
        // Of chains of width + 1 operations, the scores in 8 bits and the comparisons.
        let rounding = (self.width + 32) as f64 * f64::from(f32::EPSILON);
        for (at, row) in rows.iter().enumerate() {
            let vector = &hidden[at * self.width..][..self.width];
            let (mut largest, mut squares) = (0.0_f64, 0.0_f64);
            for x in vector {
                largest = largest.max(x.double().abs());
                squares += x.double() * x.double();
            }
            let norm = squares.sqrt();
            let magnitude = norm * (most_a + most_e) + f64::from(self.bias_bound);
            let is_bounded = magnitude < MAX_MAGNITUDE && norm < MAX_MAGNITUDE;
            if !is_bounded || row.k == 0 || row.k > self.items / MAX_CANDIDATES {
                continue;
            }
            let scale = unit(largest, range);
            let (mut sum, mut lost) = (0, 0.0);
            for x in vector {
                let (byte, value) = quantise(x.double(), scale, range);
                queries.rows.bytes.push(byte);
                sum += i32::from(byte);
                lost += (x.double() - value) * (x.double() - value);
            }
            let padding = items.width - self.width;
            queries.rows.bytes.extend(std::iter::repeat_n(0, padding));
            queries.rows.offsets.push(OFFSET * sum);
            queries.rows.scales.push(scale);
            let errors = [lost.sqrt(), norm, rounding * magnitude];
            queries.errors.push(errors.map(enlarged));
            suited.push(at);
        }
        queries.rows.pad(items.level);
        (queries, suited)
    }

    /// Candidates of each row among the items of some panels.
    fn candidates(
        &self,
        items: &Int8Items,
        panels: std::ops::Range<usize>,
        queries: &Queries,
        rows: &[Row<'_>],
    ) -> Vec<Candidates> {
        let n = rows.len();
        let mut all = Vec::with_capacity(n);
        for row in rows {
            all.push(Candidates::new(row.k, self.items));
        }
        let (mut scores, mut hits) = (vec![0.0; n * PANEL], vec![0; n]);
        let (mut bars, mut errors) = (vec![0.0; n], vec![0.0; n]);
        // The elements are `f32`: other matrices have no first pass.
        let biases: &[f32] = bytemuck::cast_slice(&self.bias);
        let engine = items.level.engine();
        for panel in panels {
            // A panel that every row leaves out is not scored.
            if rows.iter().all(|row| row.word(panel) == 0) {
                continue;
            }
            for (row, candidates) in all.iter().enumerate() {
                errors[row] = queries.error(row, items.norms[panel]);
                bars[row] = candidates.bar - errors[row];
            }
            let bytes = items.width * PANEL;
            let values = Int8Panel {
                bytes: &items.bytes[panel * bytes..][..bytes],
                scales: &items.scales[panel * PANEL..][..PANEL],
                bias: &biases[panel * PANEL..][..PANEL],
            };
            let out = (scores.as_mut_slice(), hits.as_mut_slice());
            score_panel(&engine, &queries.rows, values, &bars, out);
            let first = panel * PANEL;
            // The items of the last panel that exist.
            let there = u64::MAX >> (PANEL - PANEL.min(self.items - first));
            for (row, candidates) in all.iter_mut().enumerate() {
                let hits = hits[row] & there & rows[row].word(panel);
                if hits != 0 && !candidates.is_full() {
                    let scores = &scores[row * PANEL..][..PANEL];
                    candidates.add(&rows[row], scores, (first, hits), errors[row]);
                }
            }
        }
        all
    }

    /// The best of the candidates by their exact scores.
    fn exactly(&self, hidden: &[T], candidates: &Candidates) -> TopK<T> {
        let mut items = Vec::with_capacity(candidates.list.len());
        for &(item, _) in &candidates.list {
            items.push(item);
        }
        let mut scored = Arch::new().dispatch(Single {
            matrix: self,
            hidden,
            items: &items,
        });
        best(&mut scored, candidates.k);
        scored
    }
}

/// Largest absolute value; infinity if one is not finite.
pub(super) fn bound_of<T: Real>(values: &[T]) -> f32 {
    let mut bound = 0.0_f64;
    for x in values {
        if !x.is_finite() {
            return f32::INFINITY;
        }
        bound = bound.max(x.double().abs());
    }
    bound as f32
}

/// Scores of some items under one hidden vector, one by one: the chains of an exact sweep.
struct Single<'a, T> {
    matrix: &'a TransposedItemMatrix<T>,
    hidden: &'a [T],
    items: &'a [u32],
}

impl<T: Real> WithSimd for Single<'_, T> {
    type Output = TopK<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> TopK<T> {
        let TransposedItemMatrix {
            panels,
            bias,
            width,
            ..
        } = self.matrix;
        let mut all = Vec::with_capacity(self.items.len());
        for &item in self.items {
            let (panel, lane) = (item as usize / PANEL, item as usize % PANEL);
            let weight = &panels[panel * width * PANEL..][..width * PANEL];
            let mut score = bias[item as usize];
            for (&h, row) in self.hidden.iter().zip(weight.chunks_exact(PANEL)) {
                score = h.mul_add(row[lane], score);
            }
            all.push((item, score));
        }
        all
    }
}
