//! Events ranked a second, with the top 20, by the sweep in `f32` and in two passes on the matrix
//! engine, in turn: `cargo run --release --example rank_speed [ITEMS ..]`. Targets are any items,
//! as before training, or have ranks of any magnitude, as after it.

use std::time::Instant;

use prl_kernels::ops::rank::{PackedItems, rank_packed};
use prl_kernels::ops::score_offsets::ScoreOffsets;
use prl_kernels::ops::softmax_head::OutputLayer;
use prl_kernels::simd::bf16::Bf16Level;

const WIDTH: usize = 64;
const BATCH: usize = 256;
const K: usize = 20;
const ROUNDS: usize = 25;

/// Numbers between 0 and 1.
fn uniform(n: usize, mut state: u64) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(n);
    for _ in 0..n {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        numbers.push((state >> 40) as f32 / (1 << 24) as f32);
    }
    numbers
}

/// About normal, as weights are.
fn normal(n: usize, seed: u64) -> Vec<f32> {
    let numbers = uniform(4 * n, seed);
    let sums = numbers.chunks_exact(4).map(|x| x.iter().sum::<f32>() - 2.0);
    sums.collect()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    prl_kernels::runtime::prepare();
    prl_kernels::runtime::prepare();
    let mut sizes = Vec::new();
    for size in std::env::args().skip(1) {
        sizes.push(size.parse().unwrap_or(70_852));
    }
    if sizes.is_empty() {
        sizes = vec![26_702, 70_852, 1_000_000];
    }
    let level = Bf16Level::native();
    println!("{level:?} against the sweep in f32");
    println!("items targets f32/s two-passes/s quotient");
    for items in sizes {
        let (mut weight, bias) = (normal(items * WIDTH, 1), normal(items, 3));
        prl_kernels::runtime::use_huge_pages(&mut weight);
        let linear = OutputLayer {
            weight: &weight,
            bias: &bias,
        };
        let hidden = normal(BATCH * WIDTH, 2);
        let mut any = Vec::new();
        for x in uniform(BATCH, 4) {
            any.push((x * items as f32) as u32);
        }
        let none = ScoreOffsets::none();
        let start = Instant::now();
        let packed = PackedItems::at_level(level, &weight, WIDTH);
        println!("packed in {:.1} ms", 1e3 * start.elapsed().as_secs_f64());
        let all = rank_packed(None, linear, &hidden, WIDTH, (None, items / 4), &none);
        let all = all.expect("the scores are finite");
        let mut near = Vec::new();
        for (list, x) in all.top.iter().zip(uniform(BATCH, 5)) {
            let rank = (list.len() as f32).powf(x) as usize;
            near.push(list[rank.min(list.len() - 1)].0);
        }
        for (name, targets) in [("any", &any), ("near", &near)] {
            let query = (Some(&targets[..]), K);
            let mut seconds = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                let mut found = Vec::new();
                for (packed, seconds) in [None, packed.as_ref()].into_iter().zip(&mut seconds) {
                    let start = Instant::now();
                    let ranking = rank_packed(packed, linear, &hidden, WIDTH, query, &none);
                    seconds.push(start.elapsed().as_secs_f64());
                    found.push(ranking.expect("the scores are finite"));
                }
                assert!(found[0] == found[1]);
            }
            let [exact, passes] = seconds.map(|seconds| BATCH as f64 / median(seconds));
            println!(
                "{items} {name} {exact:.0} {passes:.0} {:.2}",
                passes / exact
            );
        }
    }
}
