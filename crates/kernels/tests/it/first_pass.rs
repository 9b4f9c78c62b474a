//! The first pass in 8 bits against the exact sweep: the same lists, bit for bit, with any
//! instructions, on random and on adversarial vectors.

use prl_kernels::ops::score_offsets::{EXCLUDED, ScoreOffset, ScoreOffsets};
use prl_kernels::ops::softmax_head::OutputLayer;
use prl_kernels::ops::top_k_serving::{FirstPass, ItemFilter, TopKRequest, TransposedItemMatrix};
use prl_kernels::simd::int8::Int8Level;
use proptest::prelude::*;

/// Numbers from a seed, in -1 to 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn take(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// How the vectors are made.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Random,
    /// All items are close to each other, so that 8 bits tell few apart.
    Close,
    /// Few different items: many ties.
    Ties,
    /// One large component, which takes the bytes' range.
    Spikes,
    /// Norms over many orders of magnitude, zeros and subnormal numbers.
    Norms,
    /// The scores are those of the biases.
    Biases,
}

const KINDS: [Kind; 6] = [
    Kind::Random,
    Kind::Close,
    Kind::Ties,
    Kind::Spikes,
    Kind::Norms,
    Kind::Biases,
];

struct Case {
    weight: Vec<f32>,
    bias: Vec<f32>,
    hidden: Vec<f32>,
    width: usize,
}

impl Case {
    fn new(kind: Kind, items: usize, rows: usize, width: usize, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let mut weight = numbers.take(items * width);
        let mut bias = numbers.take(items);
        let mut hidden = numbers.take(rows * width);
        match kind {
            Kind::Random => {}
            Kind::Close => {
                let base = numbers.take(width);
                for (i, x) in weight.iter_mut().enumerate() {
                    *x = base[i % width] + *x * 1e-4;
                }
                bias.fill(0.25);
            }
            Kind::Ties => {
                for item in 7..items {
                    let from = item % 7;
                    weight.copy_within(from * width..(from + 1) * width, item * width);
                    bias[item] = bias[from];
                }
            }
            Kind::Spikes => {
                for item in 0..items {
                    weight[item * width + item % width] *= 1e4;
                }
                for row in 0..rows {
                    hidden[row * width + row % width] *= 1e3;
                }
            }
            Kind::Norms => {
                for (item, vector) in weight.chunks_exact_mut(width).enumerate() {
                    let factor = [1.0, 1e-20, 1e10, 0.0, 1e-42, 1e-3][item % 6];
                    vector.iter_mut().for_each(|x| *x *= factor);
                }
                for (row, vector) in hidden.chunks_exact_mut(width).enumerate() {
                    let factor = [1.0, 1e-30, 1e8, 0.0, 1e-44][row % 5];
                    vector.iter_mut().for_each(|x| *x *= factor);
                }
            }
            Kind::Biases => bias.iter_mut().for_each(|x| *x *= 1e6),
        }
        Self {
            weight,
            bias,
            hidden,
            width,
        }
    }

    fn matrix(&self, first_pass: FirstPass) -> TransposedItemMatrix<f32> {
        let linear = OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        };
        TransposedItemMatrix::new(linear, self.width).with_first_pass(first_pass)
    }
}

/// Each row's best items have some offset, and some are excluded.
fn offsets(plain: &TransposedItemMatrix<f32>, case: &Case, rows: usize) -> ScoreOffsets<f32> {
    let all = TopKRequest {
        k: 6,
        filter: ItemFilter::Exclude(&[]),
    };
    let mut offsets = Vec::new();
    for (row, top) in plain
        .top_k(&case.hidden, &vec![all; rows])
        .unwrap()
        .iter()
        .enumerate()
    {
        for (i, &(item, _)) in top.iter().enumerate() {
            let value = [EXCLUDED as f32, -0.5, 0.25][i % 3];
            let row = row as u32;
            offsets.push(ScoreOffset { item, row, value });
        }
    }
    offsets.sort_unstable_by_key(|o| (o.item, o.row));
    ScoreOffsets::new(offsets)
}

fn check(case: &Case, ks: &[usize]) {
    let (items, rows) = (case.bias.len(), case.hidden.len() / case.width);
    let plain = case.matrix(FirstPass::Never);
    assert!(!plain.has_first_pass());
    let excluded: Vec<u32> = (0..items as u32).step_by(3).collect();
    let most: Vec<u32> = (0..items as u32).filter(|i| i % 50 != 0).collect();
    // A mask of every other item, and one of a few.
    let words = vec![0x5555_5555_5555_5555_u64; items.div_ceil(64)];
    let mut few = vec![0; items.div_ceil(64)];
    few[items / 128] = 0x0101;
    let filters = [
        ItemFilter::Exclude(&[]),
        ItemFilter::Exclude(&excluded),
        ItemFilter::Allow(&excluded),
        ItemFilter::Exclude(&most),
        ItemFilter::Mask {
            words: &words,
            except: &excluded,
        },
        ItemFilter::Mask {
            words: &few,
            except: &[],
        },
    ];
    let mut wanted = Vec::new();
    for row in 0..rows {
        wanted.push(TopKRequest {
            k: ks[row % ks.len()],
            filter: filters[row % 6],
        });
    }
    let offsets = offsets(&plain, case, rows);
    let tilt: Vec<f32> = (0..items).map(|i| (i as f32 * 0.7).sin()).collect();
    let tilted = plain.with_bias_plus(&tilt);
    for level in Int8Level::ALL {
        if !level.is_supported() {
            continue;
        }
        let matrix = case.matrix(FirstPass::Always(level));
        assert!(matrix.has_first_pass());
        let found = matrix.top_k(&case.hidden, &wanted).unwrap();
        assert!(
            found == plain.top_k(&case.hidden, &wanted).unwrap(),
            "{level:?}"
        );
        assert_eq!(
            matrix
                .top_k_with_offsets(&case.hidden, &wanted, &offsets)
                .unwrap(),
            plain
                .top_k_with_offsets(&case.hidden, &wanted, &offsets)
                .unwrap(),
            "{level:?}"
        );
        let found = matrix
            .with_bias_plus(&tilt)
            .top_k(&case.hidden, &wanted)
            .unwrap();
        assert!(
            found == tilted.top_k(&case.hidden, &wanted).unwrap(),
            "{level:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn first_pass_has_the_lists_of_the_exact_sweep(
        kind in 0..KINDS.len(), items in 1..3000usize, rows in 1..40usize, width in 1..80usize,
        k in 1..200usize, seed in any::<u64>(),
    ) {
        check(&Case::new(KINDS[kind], items, rows, width, seed), &[k, 1, 0, 20]);
    }
}

#[test]
fn first_pass_of_every_kind_has_the_lists_of_the_exact_sweep() {
    for kind in KINDS {
        check(&Case::new(kind, 20_011, 13, 64, 7), &[20, 1000, 1, 5]);
    }
}

#[test]
fn first_pass_reports_scores_that_are_not_finite() {
    let mut case = Case::new(Kind::Random, 500, 3, 8, 1);
    let all = [TopKRequest {
        k: 3,
        filter: ItemFilter::Exclude(&[]),
    }; 3];
    let first_pass = FirstPass::Always(Int8Level::Plain);
    case.hidden[2 * 8] = f32::NAN;
    let error = case
        .matrix(first_pass)
        .top_k(&case.hidden, &all)
        .unwrap_err();
    assert_eq!(error.row, 2);
    // An overflow, in one row of three.
    case.hidden[2 * 8] = 1e38;
    case.weight[17 * 8] = 100.0;
    let error = case
        .matrix(first_pass)
        .top_k(&case.hidden, &all)
        .unwrap_err();
    assert_eq!(error.row, 2);
    case.hidden[2 * 8] = 1.0;
    case.bias[150] = f32::INFINITY;
    let error = case
        .matrix(first_pass)
        .top_k(&case.hidden, &all)
        .unwrap_err();
    assert_eq!(error.row, 0);
}
