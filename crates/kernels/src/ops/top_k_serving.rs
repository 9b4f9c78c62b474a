//! Top-k over all items for small batches: the output layer in a transposed layout for serving.
//!
//! [`rank`](crate::ops::rank::rank) transposes the hidden vectors and pads them to whole registers,
//! a cost that is negligible for large batches. Here the item matrix is transposed once, into
//! panels of 64 items: a hidden vector costs only its own arithmetic, and a single vector is
//! memory-bandwidth bound. A score is the same chain of fused multiply-adds, so it has the same
//! bits.

mod filter;
mod first_pass;
mod vectors;

use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::Real;
use crate::ops::rank::NonFiniteScore;
use crate::ops::score_offsets::{ScoreOffsets, is_excluded};
use crate::ops::softmax_head::OutputLayer;
use crate::ops::top_k::{best, order};
use crate::simd::gemm::{Strided, multiply_add};
use crate::simd::slices::{load, store};
use filter::has_bit;
use first_pass::{Int8Items, bound_of};

pub use filter::{ItemFilter, TopKRequest};
pub use first_pass::FirstPass;

/// Items per panel.
const PANEL: usize = 64;
/// Multiply-adds up to which one thread is faster than several that compete for memory bandwidth.
const ALONE: usize = 1 << 24;
/// Items of one row that a thread scores at once, whole panels.
const SPAN: usize = 256 * PANEL;
/// Rows that a thread scores together, so that a panel is read once for them.
const ROWS: usize = 16;

/// The output layer in panels of items, `[width, 64]` each, zeros beyond the last item.
pub struct TransposedItemMatrix<T> {
    panels: Arc<[T]>,
    bias: Vec<T>,
    /// Largest absolute bias; infinity if one is not finite.
    bias_bound: f32,
    /// The items in 8 bits, if a first pass over them is faster.
    int8: Option<Arc<Int8Items>>,
    items: usize,
    width: usize,
}

/// (item, score), best first, equal scores by lower index.
pub type TopK<T> = Vec<(u32, T)>;

impl<T: Real> TransposedItemMatrix<T> {
    /// Transposes an output layer of hidden size `width`.
    pub fn new(linear: OutputLayer<'_, T>, width: usize) -> Self {
        let items = linear.bias.len();
        let padded = items.next_multiple_of(PANEL);
        let mut panels = vec![T::zero(); padded * width];
        panels
            .par_chunks_mut(PANEL * width)
            .zip(linear.weight.par_chunks(PANEL * width))
            .for_each(|(panel, weight)| transpose_panel(panel, weight, width));
        let panels = panels.into();
        let mut bias = linear.bias.to_vec();
        bias.resize(padded, T::zero());
        Self {
            panels,
            bias_bound: bound_of(&bias),
            bias,
            int8: None,
            items,
            width,
        }
    }

    /// Sets whether a first pass in 8 bits leaves out most items before they are scored exactly.
    /// The lists are the same; the layout takes a quarter more memory. Without this call there is
    /// no such pass.
    pub fn with_first_pass(mut self, first_pass: FirstPass) -> Self {
        let level = first_pass.level::<T>(self.items);
        self.int8 = level.and_then(|level| Int8Items::new(&self.panels, self.width, level));
        self
    }

    /// Whether there is a first pass in 8 bits.
    pub fn has_first_pass(&self) -> bool {
        self.int8.is_some()
    }

    /// The same layer with `addends` `[items]` added to its bias; it shares the panels.
    ///
    /// # Panics
    /// If there is not one addend for each item.
    pub fn with_bias_plus(&self, addends: &[T]) -> Self {
        assert_eq!(addends.len(), self.items, "one addend for each item");
        let mut bias = self.bias.clone();
        for (bias, &addend) in bias.iter_mut().zip(addends) {
            *bias += addend;
        }
        Self {
            panels: Arc::clone(&self.panels),
            bias_bound: bound_of(&bias),
            bias,
            int8: self.int8.clone(),
            ..*self
        }
    }

    /// Top items of each row of `hidden` `[batch, width]`, one request per row.
    ///
    /// # Errors
    /// If a score is not finite (with [`ItemFilter::Allow`], a score of an allowed item; with
    /// [`ItemFilter::Mask`], a score in a panel of 64 items with an allowed one).
    ///
    /// # Panics
    /// If a mask has not one word for each 64 items.
    pub fn top_k(
        &self,
        hidden: &[T],
        wanted: &[TopKRequest<'_>],
    ) -> Result<Vec<TopK<T>>, NonFiniteScore> {
        let rows: Vec<Row<'_>> = wanted.iter().enumerate().filter_map(Row::new).collect();
        let mut tops = vec![Vec::new(); wanted.len()];
        for (row, top) in rows.iter().zip(self.of_all(hidden, &rows)?) {
            tops[row.row] = top;
        }
        for (row, wanted) in wanted.iter().enumerate() {
            if let ItemFilter::Allow(items) = wanted.filter {
                let hidden = &hidden[row * self.width..][..self.width];
                tops[row] = Arch::new().dispatch(Few {
                    matrix: self,
                    hidden,
                    items,
                });
                if tops[row].iter().any(|(_, score)| !score.is_finite()) {
                    return Err(NonFiniteScore { row });
                }
                best(&mut tops[row], wanted.k);
            }
        }
        Ok(tops)
    }

    /// As [`top_k`](Self::top_k), of scores to which `offsets` are added; an item whose offset is
    /// [`EXCLUDED`](crate::ops::score_offsets::EXCLUDED) is left out.
    ///
    /// # Errors
    /// As of [`top_k`](Self::top_k).
    pub fn top_k_with_offsets(
        &self,
        hidden: &[T],
        wanted: &[TopKRequest<'_>],
        offsets: &ScoreOffsets<T>,
    ) -> Result<Vec<TopK<T>>, NonFiniteScore> {
        let own = offsets.by_row(wanted.len());
        // The items with an offset are left out of the sweep and scored one by one.
        let mut without = Vec::with_capacity(wanted.len());
        for (wanted, own) in wanted.iter().zip(&own) {
            let mut items: Vec<u32> = own.iter().map(|&(item, _)| item).collect();
            match wanted.filter {
                ItemFilter::Exclude(excluded) => items.extend(excluded),
                ItemFilter::Mask { except, .. } => items.extend(except),
                ItemFilter::Allow(_) => items.clear(),
            }
            items.sort_unstable();
            items.dedup();
            without.push(items);
        }
        let mut swept = Vec::with_capacity(wanted.len());
        for (wanted, without) in wanted.iter().zip(&without) {
            swept.push(match wanted.filter {
                ItemFilter::Exclude(_) => TopKRequest {
                    k: wanted.k,
                    filter: ItemFilter::Exclude(without),
                },
                ItemFilter::Mask { words, .. } => TopKRequest {
                    k: wanted.k,
                    filter: ItemFilter::Mask {
                        words,
                        except: without,
                    },
                },
                // Every allowed item: an offset may move any of them into the list.
                allow => TopKRequest {
                    k: usize::MAX,
                    filter: allow,
                },
            });
        }
        let mut tops = self.top_k(hidden, &swept)?;
        for (row, (wanted, own)) in wanted.iter().zip(&own).enumerate() {
            let top = &mut tops[row];
            match wanted.filter {
                ItemFilter::Exclude(_) | ItemFilter::Mask { .. } => {
                    let mut items = Vec::with_capacity(own.len());
                    for &(item, offset) in own {
                        if wanted.filter.allows(item) && !is_excluded(offset) {
                            items.push(item);
                        }
                    }
                    let few = Few {
                        matrix: self,
                        hidden: &hidden[row * self.width..][..self.width],
                        items: &items,
                    };
                    top.extend(add_offsets(Arch::new().dispatch(few), own));
                }
                ItemFilter::Allow(_) => *top = add_offsets(std::mem::take(top), own),
            }
            if top.iter().any(|(_, score)| !score.is_finite()) {
                return Err(NonFiniteScore { row });
            }
            best(top, wanted.k);
        }
        Ok(tops)
    }

    /// The scores of all items under each row of `hidden`, `[batch, items]`, with `offsets` added;
    /// negative infinity for an item whose offset is
    /// [`EXCLUDED`](crate::ops::score_offsets::EXCLUDED). The bits are those of
    /// [`top_k`](Self::top_k).
    ///
    /// # Errors
    /// If a score is not finite.
    pub fn scores(
        &self,
        hidden: &[T],
        offsets: &ScoreOffsets<T>,
    ) -> Result<Vec<T>, NonFiniteScore> {
        let batch = hidden.len() / self.width;
        let mut all = vec![T::zero(); batch * self.items];
        if batch == 1 {
            let spans = all.par_chunks_mut(SPAN).enumerate();
            spans.for_each(|(span, out)| self.score_all(hidden, span * SPAN / PANEL, out));
        } else {
            let rows = hidden.par_chunks(ROWS * self.width);
            all.par_chunks_mut(ROWS * self.items)
                .zip(rows)
                .for_each(|(out, hidden)| self.score_all(hidden, 0, out));
        }
        if let Some(at) = all.iter().position(|score| !score.is_finite()) {
            return Err(NonFiniteScore {
                row: at / self.items,
            });
        }
        for o in offsets.as_slice() {
            let score = &mut all[o.row as usize * self.items + o.item as usize];
            *score = match is_excluded(o.value) {
                true => T::neg_infinity(),
                false => *score + o.value,
            };
        }
        Ok(all)
    }

    /// Scores of the items from panel `first` on, as many a row as `out` has room for.
    fn score_all(&self, hidden: &[T], first: usize, out: &mut [T]) {
        let matrix = self;
        Arch::new().dispatch(All {
            matrix,
            hidden,
            first,
            out,
        });
    }

    /// Top-k over all items for some rows.
    fn of_all(&self, hidden: &[T], rows: &[Row<'_>]) -> Result<Vec<TopK<T>>, NonFiniteScore> {
        let mut chosen = Vec::with_capacity(rows.len() * self.width);
        for row in rows {
            chosen.extend_from_slice(&hidden[row.row * self.width..][..self.width]);
        }
        let Some(int8) = &self.int8 else {
            return self.sweep(&chosen, rows);
        };
        let mut tops = self.by_first_pass(int8, &chosen, rows);
        let (mut left, mut vectors) = (Vec::new(), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            if tops[at].is_none() {
                left.push(*row);
                vectors.extend_from_slice(&chosen[at * self.width..][..self.width]);
            }
        }
        let mut swept = self.sweep(&vectors, &left)?.into_iter();
        for top in &mut tops {
            if top.is_none() {
                *top = swept.next();
            }
        }
        Ok(tops.into_iter().flatten().collect())
    }

    /// Top-k over all items for rows with the hidden vectors `chosen`, by exact scores alone.
    fn sweep(&self, chosen: &[T], rows: &[Row<'_>]) -> Result<Vec<TopK<T>>, NonFiniteScore> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let panels = self.items.div_ceil(PANEL);
        let is_small = rows.len() * self.panels.len() <= ALONE;
        // The split does not change the result: selection is exact and ties are broken by index.
        let parts = if is_small {
            1
        } else {
            2 * rayon::current_num_threads()
        };
        let size = panels.div_ceil(parts).max(1);
        let sweep = |first: usize| {
            let panels = first..(first + size).min(panels);
            Arch::new().dispatch(Sweep {
                matrix: self,
                panels,
                hidden: chosen,
                rows,
            })
        };
        let starts: Vec<usize> = (0..panels).step_by(size).collect();
        let parts: Vec<Part<T>> = match starts.as_slice() {
            [_, _, ..] => starts.into_par_iter().map(sweep).collect(),
            _ => starts.into_iter().map(sweep).collect(),
        };
        if let Some(at) = parts.iter().filter_map(|part| part.not_finite).min() {
            return Err(NonFiniteScore { row: rows[at].row });
        }
        let mut tops = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            let mut all = TopK::new();
            for part in &parts {
                all.extend_from_slice(&part.tops[at]);
            }
            best(&mut all, row.k);
            tops.push(all);
        }
        Ok(tops)
    }

    /// Scores of one panel's items under some hidden vectors: `[batch, 64]`.
    #[inline(always)]
    fn score<S: Simd>(&self, simd: S, panel: usize, hidden: &[T], out: &mut [T]) {
        let batch = hidden.len() / self.width;
        let bias = &self.bias[panel * PANEL..][..PANEL];
        for row in out.chunks_exact_mut(PANEL) {
            row.copy_from_slice(bias);
        }
        let weight = &self.panels[panel * self.width * PANEL..][..self.width * PANEL];
        let hidden = Strided {
            data: hidden,
            row: self.width,
            column: 1,
        };
        multiply_add(
            simd,
            [batch, PANEL, self.width],
            hidden,
            weight,
            PANEL,
            out,
            PANEL,
        );
    }
}

/// Writes rows `[items, width]` as a panel `[width, 64]`.
fn transpose_panel<T: Real>(panel: &mut [T], weight: &[T], width: usize) {
    for (item, row) in weight.chunks_exact(width).enumerate() {
        for (k, &x) in row.iter().enumerate() {
            panel[k * PANEL + item] = x;
        }
    }
}

/// The scores with their offsets (ascending by item) added, without excluded items.
fn add_offsets<T: Real>(scored: TopK<T>, offsets: &[(u32, T)]) -> TopK<T> {
    let mut sums = Vec::with_capacity(scored.len());
    for (item, score) in scored {
        match offsets.binary_search_by_key(&item, |&(item, _)| item) {
            Ok(at) if is_excluded(offsets[at].1) => {}
            Ok(at) => sums.push((item, score + offsets[at].1)),
            Err(_) => sums.push((item, score)),
        }
    }
    sums
}

/// A row of a batch whose filter allows more items than are scored one by one.
#[derive(Clone, Copy)]
struct Row<'a> {
    row: usize,
    k: usize,
    /// A word for each panel; `None` allows all items.
    mask: Option<&'a [u64]>,
    without: &'a [u32],
}

impl<'a> Row<'a> {
    fn new((row, wanted): (usize, &TopKRequest<'a>)) -> Option<Self> {
        let (mask, without) = match wanted.filter {
            ItemFilter::Exclude(without) => (None, without),
            ItemFilter::Mask { words, except } => (Some(words), except),
            ItemFilter::Allow(_) => return None,
        };
        Some(Self {
            row,
            k: wanted.k,
            mask,
            without,
        })
    }

    /// The allowed items of a panel, a bit each, but for single items.
    #[inline(always)]
    fn word(&self, panel: usize) -> u64 {
        self.mask.map_or(u64::MAX, |words| words[panel])
    }

    /// Whether an item that [`word`](Self::word) allows is not left out.
    fn allows(&self, item: u32) -> bool {
        self.without.binary_search(&item).is_err()
    }
}

/// Result of one part of the items.
struct Part<T> {
    tops: Vec<TopK<T>>,
    not_finite: Option<usize>,
}

/// Sweep over some panels for some rows.
struct Sweep<'a, T> {
    matrix: &'a TransposedItemMatrix<T>,
    panels: std::ops::Range<usize>,
    hidden: &'a [T],
    rows: &'a [Row<'a>],
}

impl<T: Real> WithSimd for Sweep<'_, T> {
    type Output = Part<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Part<T> {
        let Self {
            matrix,
            panels,
            hidden,
            rows,
        } = self;
        let mut scores = vec![T::zero(); rows.len() * PANEL];
        let mut kept: Vec<Kept<'_, T>> = rows.iter().map(Kept::new).collect();
        // Sum of 0 x score: NaN if a score is not finite.
        let lanes = T::lanes::<S>();
        let mut marks = vec![T::zero(); rows.len() * lanes];
        for panel in panels {
            // A panel that every row leaves out is not scored.
            if rows.iter().all(|row| row.word(panel) == 0) {
                continue;
            }
            matrix.score(simd, panel, hidden, &mut scores);
            let first = panel * PANEL;
            let there = PANEL.min(matrix.items - first);
            for ((scores, kept), (row, mark)) in scores
                .chunks_exact(PANEL)
                .zip(&mut kept)
                .zip(rows.iter().zip(marks.chunks_exact_mut(lanes)))
            {
                let word = row.word(panel);
                if word != 0 {
                    kept.look(simd, (scores, there), (first, word), mark);
                }
            }
        }
        let not_finite = marks.iter().position(|mark| !mark.is_finite());
        Part {
            tops: kept.into_iter().map(|kept| kept.list).collect(),
            not_finite: not_finite.map(|lane| lane / lanes),
        }
    }
}

/// Unsorted running top-k, of at most 2 k items, and the threshold that a score must exceed.
struct Kept<'a, T> {
    k: usize,
    without: &'a [u32],
    bar: T,
    list: TopK<T>,
}

impl<'a, T: Real> Kept<'a, T> {
    fn new(row: &Row<'a>) -> Self {
        let bar = if row.k == 0 {
            T::infinity()
        } else {
            T::neg_infinity()
        };
        Self {
            k: row.k,
            without: row.without,
            bar,
            list: Vec::new(),
        }
    }

    /// Processes the scores of the items of a panel from `first` on, of which those in `word` are
    /// allowed.
    #[inline(always)]
    fn look<S: Simd>(
        &mut self,
        simd: S,
        (scores, there): (&[T], usize),
        (first, word): (usize, u64),
        mark: &mut [T],
    ) {
        let (lanes, zero) = (T::lanes::<S>(), T::splat(simd, T::zero()));
        let mut seen = load::<T, S>(mark);
        for at in (0..there).step_by(lanes) {
            let row = load::<T, S>(&scores[at..]);
            seen = T::vmul_add(simd, row, zero, seen);
            if T::any_gt(simd, row, T::splat(simd, self.bar)) {
                self.keep(&scores[at..(at + lanes).min(there)], first + at, word);
            }
        }
        store::<T, S>(mark, seen);
    }

    /// Rare after the first panels, so not inlined.
    #[cold]
    fn keep(&mut self, scores: &[T], first: usize, word: u64) {
        for (item, &score) in (first as u32..).zip(scores) {
            let is_better = score > self.bar && has_bit(word, item);
            if is_better && self.without.binary_search(&item).is_err() {
                self.list.push((item, score));
                if self.list.len() == 2 * self.k {
                    self.list.select_nth_unstable_by(self.k - 1, order);
                    self.list.truncate(self.k);
                    // Later items have higher indices, so an equal score does not qualify.
                    self.bar = self.list[self.k - 1].1;
                }
            }
        }
    }
}

/// Scores of consecutive items under some hidden vectors, `[rows, items]`.
struct All<'a, T> {
    matrix: &'a TransposedItemMatrix<T>,
    hidden: &'a [T],
    /// Panel of the first item.
    first: usize,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for All<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let batch = self.hidden.len() / self.matrix.width;
        let items = self.out.len() / batch;
        let mut scores = vec![T::zero(); batch * PANEL];
        for at in (0..items).step_by(PANEL) {
            let panel = self.first + at / PANEL;
            self.matrix.score(simd, panel, self.hidden, &mut scores);
            let there = PANEL.min(items - at);
            for (row, scores) in scores.chunks_exact(PANEL).enumerate() {
                self.out[row * items + at..][..there].copy_from_slice(&scores[..there]);
            }
        }
    }
}

/// Scores of some items under one hidden vector: scores each panel that contains one.
struct Few<'a, T> {
    matrix: &'a TransposedItemMatrix<T>,
    hidden: &'a [T],
    items: &'a [u32],
}

impl<T: Real> WithSimd for Few<'_, T> {
    type Output = TopK<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> TopK<T> {
        let mut scores = [T::zero(); PANEL];
        let mut all = Vec::with_capacity(self.items.len());
        for items in self
            .items
            .chunk_by(|a, b| *a as usize / PANEL == *b as usize / PANEL)
        {
            self.matrix
                .score(simd, items[0] as usize / PANEL, self.hidden, &mut scores);
            for &item in items {
                all.push((item, scores[item as usize % PANEL]));
            }
        }
        all
    }
}
