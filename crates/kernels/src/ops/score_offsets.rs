//! Sparse additions to the scores of an output layer: `s[b, i] += o[b, i]` for a few pairs of a
//! hidden vector and an item, such as the items that a session already contains.

use std::ops::Range;

use crate::Real;
use crate::simd::element::Element;
use crate::simd::gemm::PANEL;

/// Added to the score of an item that must not be ranked: below any score, and finite.
pub const EXCLUDED: f64 = -1e9;

/// Whether an offset is [`EXCLUDED`].
pub(crate) fn is_excluded<T: Real>(offset: T) -> bool {
    offset.double() <= EXCLUDED
}

/// One addition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreOffset<T> {
    /// Item.
    pub item: u32,
    /// Row of the batch.
    pub row: u32,
    /// Added to the score.
    pub value: T,
}

/// Additions to the scores of a batch, each pair of item and row at most once.
#[derive(Clone, Debug, Default)]
pub struct ScoreOffsets<T> {
    /// By item, then by row.
    sorted: Vec<ScoreOffset<T>>,
}

impl<T: Real> ScoreOffsets<T> {
    /// Additions in any order.
    pub fn new(mut offsets: Vec<ScoreOffset<T>>) -> Self {
        offsets.sort_unstable_by_key(|o| (o.item, o.row));
        Self { sorted: offsets }
    }

    /// No addition.
    pub fn none() -> Self {
        Self { sorted: Vec::new() }
    }

    /// The additions, by item and then by row.
    pub fn as_slice(&self) -> &[ScoreOffset<T>] {
        &self.sorted
    }

    /// The additions in another type.
    pub(crate) fn in_type<U: Real>(&self) -> ScoreOffsets<U> {
        let mut sorted = Vec::with_capacity(self.sorted.len());
        for o in &self.sorted {
            sorted.push(ScoreOffset {
                item: o.item,
                row: o.row,
                value: U::of(o.value.double()),
            });
        }
        ScoreOffsets { sorted }
    }

    /// The items of each row with their additions, ascending by item.
    pub(crate) fn by_row(&self, rows: usize) -> Vec<Vec<(u32, T)>> {
        let mut by_row = vec![Vec::new(); rows];
        for o in &self.sorted {
            by_row[o.row as usize].push((o.item, o.value));
        }
        by_row
    }

    /// The additions to a range of items.
    pub(crate) fn of_items(&self, items: Range<usize>) -> &[ScoreOffset<T>] {
        let start = self
            .sorted
            .partition_point(|o| (o.item as usize) < items.start);
        let end = self
            .sorted
            .partition_point(|o| (o.item as usize) < items.end);
        &self.sorted[start..end]
    }

    /// The addition to the score of `item` in `row`; zero if there is none.
    pub fn at(&self, item: u32, row: u32) -> T {
        let found = self
            .sorted
            .binary_search_by_key(&(item, row), |o| (o.item, o.row));
        found.map_or(T::zero(), |i| self.sorted[i].value)
    }
}

/// Applies a tile's additions (of [`ScoreOffsets::of_items`]) to its scores for one panel of hidden
/// vectors: `scores[i][c]` is of item `first + i` and row `start + c`.
#[inline(always)]
pub(crate) fn add_to_tile<T: Element<Sum = T> + Real>(
    offsets: &[ScoreOffset<T>],
    first: usize,
    start: usize,
    scores: &mut [T],
) {
    // The list of a tile is short: most tiles of most batches have a handful.
    for o in offsets {
        let row = o.row as usize;
        if (start..start + PANEL).contains(&row) {
            scores[(o.item as usize - first) * PANEL + row - start] += o.value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EXCLUDED, ScoreOffset, ScoreOffsets};
    use crate::ops::rank::rank_with_offsets;
    use crate::ops::softmax_head::{
        OutputLayer, Sink, backward, offset_gradients, softmax_with_offsets,
    };
    use crate::ops::top_k_serving::{ItemFilter, TopKRequest, TransposedItemMatrix};

    fn wave(n: usize, phase: f64, scale: f64) -> Vec<f64> {
        (0..n)
            .map(|i| scale * (0.7 * i as f64 + phase).sin())
            .collect()
    }

    /// A layer of 3,000 items and a batch of 150: more exponentials than the buffer of tests holds.
    struct Case {
        weight: Vec<f64>,
        bias: Vec<f64>,
        hidden: Vec<f64>,
        targets: Vec<u32>,
        scale: Vec<f64>,
        offsets: Vec<ScoreOffset<f64>>,
    }

    const ITEMS: usize = 3000;
    const BATCH: usize = 150;
    const WIDTH: usize = 8;

    impl Case {
        fn new() -> Self {
            let mut offsets = Vec::new();
            for row in 0..BATCH as u32 {
                for lag in 0..5 {
                    // Rows share items, and the items of a row lie far apart and side by side.
                    let item = (row / 7 * 611 + lag * 701 + lag % 2) % ITEMS as u32;
                    let value = if (row + lag) % 11 == 0 {
                        EXCLUDED
                    } else {
                        2.0 - f64::from(lag)
                    };
                    offsets.push(ScoreOffset { item, row, value });
                }
            }
            let mut targets: Vec<u32> = (0..BATCH as u32).map(|b| (b * 37 + 5) % 3000).collect();
            // Half of the rows have one of their own items as the target.
            for row in (0..BATCH).step_by(2) {
                let own = offsets[row * 5 + 1];
                if own.value != EXCLUDED {
                    targets[row] = own.item;
                }
            }
            Self {
                weight: wave(ITEMS * WIDTH, 0.1, 0.5),
                bias: wave(ITEMS, 0.2, 0.5),
                hidden: wave(BATCH * WIDTH, 0.3, 1.0),
                targets,
                scale: (0..BATCH)
                    .map(|b| 0.2 + (b % 3) as f64 / BATCH as f64)
                    .collect(),
                offsets,
            }
        }

        fn linear(&self) -> OutputLayer<'_, f64> {
            OutputLayer {
                weight: &self.weight,
                bias: &self.bias,
            }
        }

        fn scores(&self, row: usize) -> Vec<f64> {
            let h = &self.hidden[row * WIDTH..][..WIDTH];
            let mut scores = Vec::with_capacity(ITEMS);
            for (w, bias) in self.weight.chunks(WIDTH).zip(&self.bias) {
                let dot: f64 = w.iter().zip(h).map(|(w, h)| w * h).sum();
                scores.push(dot + bias);
            }
            for o in &self.offsets {
                if o.row as usize == row {
                    scores[o.item as usize] += o.value;
                }
            }
            scores
        }

        fn plain_loss(&self) -> f64 {
            let mut loss = 0.0;
            for row in 0..BATCH {
                let scores = self.scores(row);
                let sum: f64 = scores.iter().map(|s| s.exp()).sum();
                loss += self.scale[row] * (sum.ln() - scores[self.targets[row] as usize]);
            }
            loss
        }
    }

    #[test]
    fn loss_and_gradients_with_offsets_match_finite_differences_of_the_plain_loss() {
        let mut case = Case::new();
        let offsets = ScoreOffsets::new(case.offsets.clone());
        let softmax = softmax_with_offsets::<f64>(
            case.linear(),
            &case.hidden,
            &case.targets,
            offsets.clone(),
        );
        let loss: f64 = softmax
            .cross_entropy()
            .zip(&case.scale)
            .map(|(c, s)| c * s)
            .sum();
        assert!((loss - case.plain_loss()).abs() < 1e-9 * loss);

        let by_offset = offset_gradients(
            case.linear(),
            &case.hidden,
            &case.targets,
            &softmax,
            &case.scale,
        );
        let mut by_weight = vec![0.0; case.weight.len()];
        let mut weight = case.weight.clone();
        let (by_hidden, by_bias) = backward(
            &mut weight,
            &case.bias,
            &case.hidden,
            &case.targets,
            &softmax,
            &case.scale,
            Sink::Gradient(&mut by_weight),
        );
        let h = 1e-5;
        let check =
            |case: &mut Case, slot: fn(&mut Case, usize) -> &mut f64, i: usize, grad: f64| {
                let x = *slot(case, i);
                *slot(case, i) = x + h;
                let above = case.plain_loss();
                *slot(case, i) = x - h;
                let below = case.plain_loss();
                *slot(case, i) = x;
                let numeric = (above - below) / (2.0 * h);
                assert!(
                    (numeric - grad).abs() < 1e-7,
                    "element {i}: {numeric} and {grad}"
                );
            };
        let own = case.offsets[6].item as usize;
        for i in [0, own * WIDTH + 1, own * WIDTH + 5, 9000] {
            check(&mut case, |c, i| &mut c.weight[i], i, by_weight[i]);
        }
        for i in [3, 800] {
            check(&mut case, |c, i| &mut c.hidden[i], i, by_hidden[i]);
        }
        for i in [own, 17] {
            check(&mut case, |c, i| &mut c.bias[i], i, by_bias[i]);
        }
        for i in [1, 6, 40, 333] {
            let o = case.offsets[i];
            let at = offsets
                .as_slice()
                .iter()
                .position(|p| (p.item, p.row) == (o.item, o.row));
            let grad = by_offset[at.unwrap()];
            if o.value == EXCLUDED {
                assert_eq!(grad, 0.0);
            } else {
                check(&mut case, |c, i| &mut c.offsets[i].value, i, grad);
            }
        }
    }

    #[test]
    fn rank_and_serving_with_offsets_match_sorted_scores() {
        let case = Case::new();
        let offsets = ScoreOffsets::new(case.offsets.clone());
        let k = 20;
        let ranking = rank_with_offsets(
            case.linear(),
            &case.hidden,
            WIDTH,
            Some(&case.targets),
            k,
            &offsets,
        )
        .unwrap();
        let matrix = TransposedItemMatrix::new(case.linear(), WIDTH);
        let some: Vec<u32> = (0..3000).step_by(3).collect();
        let filters = [
            ItemFilter::Exclude(&[]),
            ItemFilter::Exclude(&some),
            ItemFilter::Allow(&some),
        ];
        let mut wanted = Vec::new();
        for row in 0..BATCH {
            wanted.push(TopKRequest {
                k,
                filter: filters[row % 3],
            });
        }
        let served = matrix
            .top_k_with_offsets(&case.hidden, &wanted, &offsets)
            .unwrap();
        for row in 0..BATCH {
            let scores = case.scores(row);
            let target = scores[case.targets[row] as usize];
            let rank = scores.iter().filter(|&&s| s >= target - 1e-12).count();
            assert_eq!(ranking.ranks[row] as usize, rank);
            let mut order: Vec<u32> = (0..3000).collect();
            order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
            let top: Vec<u32> = ranking.top[row].iter().map(|t| t.0).collect();
            assert_eq!(top, order[..k]);
            order.retain(|&i| match row % 3 {
                0 => true,
                1 => i % 3 != 0,
                _ => i % 3 == 0,
            });
            let list: Vec<u32> = served[row].iter().map(|t| t.0).collect();
            assert_eq!(list, order[..k], "row {row}");
        }
    }
}
