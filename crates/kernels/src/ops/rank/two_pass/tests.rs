//! Which rankings the first pass makes, and which it leaves to the sweep in `f32`.

use super::{PackedItems, Query, rank};
use crate::ops::score_offsets::ScoreOffsets;
use crate::ops::softmax_head::OutputLayer;
use crate::simd::tiles::Bf16Level;

const ITEMS: usize = 1500;
const WIDTH: usize = 40;

fn wave(n: usize, phase: f32) -> Vec<f32> {
    (0..n).map(|i| (0.7 * i as f32 + phase).sin()).collect()
}

fn is_ranked(weight: &[f32], k: usize) -> bool {
    let (bias, hidden) = (wave(ITEMS, 0.2), wave(30 * WIDTH, 0.3));
    let targets: Vec<u32> = (0..30).map(|b| b * 47).collect();
    let linear = OutputLayer {
        weight,
        bias: &bias,
    };
    let query = Query {
        hidden: &hidden,
        width: WIDTH,
        targets: Some(&targets),
        k,
        offsets: &ScoreOffsets::none(),
    };
    let packed = PackedItems::at_level(Bf16Level::Emulated, weight, WIDTH);
    packed.is_some_and(|packed| rank(&packed, linear, query).is_some())
}

#[test]
fn first_pass_ranks_scores_that_differ() {
    assert!(is_ranked(&wave(ITEMS * WIDTH, 0.1), 20));
}

#[test]
fn long_lists_and_scores_that_are_not_finite_are_left_to_the_sweep() {
    let mut weight = wave(ITEMS * WIDTH, 0.1);
    assert!(!is_ranked(&weight, ITEMS / 8));
    weight[7 * WIDTH] = f32::NAN;
    assert!(!is_ranked(&weight, 20));
}

/// Large norms hide the differences between the items.
#[test]
fn scores_that_are_too_close_are_left_to_the_sweep() {
    let mut weight = wave(ITEMS * WIDTH, 0.1);
    for row in weight.chunks_exact_mut(WIDTH) {
        row[0] = 1e7;
    }
    assert!(!is_ranked(&weight, 20));
}
