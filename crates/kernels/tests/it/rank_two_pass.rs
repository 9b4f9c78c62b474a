//! Rankings with a first pass on the matrix engine against those of the sweep in `f32`: the same
//! ranks, lists and bits.

use prl_kernels::ops::rank::{PackedItems, rank_packed};
use prl_kernels::ops::score_offsets::{EXCLUDED, ScoreOffset, ScoreOffsets};
use prl_kernels::ops::softmax_head::OutputLayer;
use prl_kernels::simd::bf16::Bf16Level;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The levels with a first pass that this processor has.
fn matrix_levels() -> impl Iterator<Item = Bf16Level> {
    [Bf16Level::Emulated, Bf16Level::Amx]
        .into_iter()
        .filter(|level| level.is_supported())
}

/// How close the scores are to each other.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// Of any size.
    Spread,
    /// Items that differ in the last bits alone.
    Close,
    /// Few distinct items.
    Repeated,
    /// Of many magnitudes, subnormal ones included.
    Uneven,
}

fn any_values() -> impl Strategy<Value = Values> {
    prop_oneof![
        Just(Values::Spread),
        Just(Values::Close),
        Just(Values::Repeated),
        Just(Values::Uneven),
    ]
}

struct Case {
    weight: Vec<f32>,
    bias: Vec<f32>,
    hidden: Vec<f32>,
    width: usize,
    targets: Vec<u32>,
    offsets: ScoreOffsets<f32>,
}

impl Case {
    fn new(values: Values, items: usize, batch: usize, width: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut vector = |n: usize| -> Vec<f32> {
            (0..n)
                .map(|_| {
                    let x = rng.random::<f32>() * 2.0 - 1.0;
                    match values {
                        Values::Uneven => x * 10f32.powi(rng.random_range(-41..3)),
                        _ => x,
                    }
                })
                .collect()
        };
        let (mut weight, mut bias) = (vector(items * width), vector(items));
        let hidden = vector(batch * width);
        let (row, b) = (weight[..width].to_vec(), bias[0]);
        for (i, (weight, bias)) in weight.chunks_exact_mut(width).zip(&mut bias).enumerate() {
            match values {
                Values::Close => {
                    for (w, &x) in weight.iter_mut().zip(&row) {
                        *w = x * (1.0 + *w * 1e-6);
                    }
                    *bias = b;
                }
                Values::Repeated => {
                    let scale = (i % 5) as f32;
                    for (w, &x) in weight.iter_mut().zip(&row) {
                        *w = x * scale;
                    }
                    *bias = b;
                }
                Values::Spread | Values::Uneven => {}
            }
        }
        let mut targets = Vec::with_capacity(batch);
        let mut offsets = Vec::new();
        for row in 0..batch as u32 {
            let target = rng.random_range(0..items as u32);
            targets.push(target);
            let other = rng.random_range(0..items as u32);
            let value = rng.random::<f32>() - 0.5;
            if row % 3 == 0 {
                offsets.push(ScoreOffset {
                    item: target,
                    row,
                    value,
                });
            }
            if other != target {
                let excluded = EXCLUDED as f32;
                let value = if row % 2 == 0 { excluded } else { -value };
                offsets.push(ScoreOffset {
                    item: other,
                    row,
                    value,
                });
            }
        }
        Self {
            weight,
            bias,
            hidden,
            width,
            targets,
            offsets: ScoreOffsets::new(offsets),
        }
    }

    /// Ranks and lists, with the bits of the scores.
    fn ranked(&self, level: Bf16Level, k: usize) -> Result<Ranked, String> {
        let linear = OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        };
        let query = (Some(&self.targets[..]), k);
        let packed = PackedItems::at_level(level, &self.weight, self.width);
        let ranking = rank_packed(
            packed.as_ref(),
            linear,
            &self.hidden,
            self.width,
            query,
            &self.offsets,
        )
        .map_err(|error| error.to_string())?;
        let mut lists = Vec::new();
        for list in ranking.top {
            lists.push(list.into_iter().map(|(i, x)| (i, x.to_bits())).collect());
        }
        Ok((ranking.ranks, lists))
    }
}

type Ranked = (Vec<u32>, Vec<Vec<(u32, u32)>>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn first_pass_gives_the_ranks_and_lists_of_the_sweep(
        values in any_values(), items in 1..1500usize, batch in 1..70usize, width in 1..100usize, k in 0..40usize, seed: u64,
    ) {
        let case = Case::new(values, items, batch, width, seed);
        let exact = case.ranked(Bf16Level::Vector, k);
        for level in matrix_levels() {
            prop_assert!(case.ranked(level, k) == exact, "{level:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// With items enough for first bars from a sample.
    #[test]
    fn first_pass_with_first_bars_gives_the_lists_of_the_sweep(
        values in any_values(), items in 3000..9000usize, batch in 16..50usize, width in 1..70usize, k in 1..6usize, seed: u64,
    ) {
        let case = Case::new(values, items, batch, width, seed);
        let exact = case.ranked(Bf16Level::Vector, k);
        for level in matrix_levels() {
            prop_assert!(case.ranked(level, k) == exact, "{level:?}");
        }
    }
}

/// Biases that are large beside the products have their share in the rounding of the sums.
#[test]
fn first_pass_with_large_biases_gives_the_ranks_of_the_sweep() {
    for scale in [1e2, 1e4, 1e6] {
        let mut case = Case::new(Values::Spread, 5000, 40, 64, 5);
        for bias in &mut case.bias {
            *bias = scale + *bias * scale * 1e-6;
        }
        let exact = case.ranked(Bf16Level::Vector, 20);
        for level in matrix_levels() {
            assert!(case.ranked(level, 20) == exact, "{level:?}, {scale}");
        }
    }
}

#[test]
fn first_pass_any_thread_count_same_ranking() {
    let case = Case::new(Values::Spread, 3000, 60, 32, 3);
    let exact = case.ranked(Bf16Level::Vector, 20);
    for level in matrix_levels() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let found = pool.build().unwrap().install(|| case.ranked(level, 20));
            assert!(found == exact, "{level:?}, {threads} threads");
        }
    }
}

#[test]
fn first_pass_reports_scores_that_are_not_finite() {
    for bad in [f32::NAN, f32::INFINITY, 3e38] {
        let mut case = Case::new(Values::Spread, 2000, 20, 16, 4);
        case.weight[777] = bad;
        case.hidden.fill(2.0);
        let exact = case.ranked(Bf16Level::Vector, 5);
        assert!(exact.is_err());
        for level in matrix_levels() {
            assert_eq!(case.ranked(level, 5), exact, "{level:?}, {bad}");
        }
    }
}
