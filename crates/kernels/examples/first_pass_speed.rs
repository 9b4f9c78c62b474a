//! Least seconds of a top-k with and without the first pass in 8 bits, in turn, over catalogues of
//! several sizes and batches: `cargo run --release --example first_pass_speed [ITEMS ..]`.

use std::time::Instant;

use prl_kernels::ops::softmax_head::OutputLayer;
use prl_kernels::ops::top_k_serving::{FirstPass, ItemFilter, TopKRequest, TransposedItemMatrix};
use prl_kernels::simd::int8::Int8Level;

const WIDTH: usize = 64;
const K: usize = 20;
const ROUNDS: usize = 9;

fn numbers(n: usize, mut state: u64) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(n);
    for _ in 0..n {
        let mut sum = 0.0;
        // About normal, as weights are.
        for _ in 0..4 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
        }
        numbers.push(sum);
    }
    numbers
}

fn least(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[0]
}

fn main() {
    let mut sizes = Vec::new();
    for size in std::env::args().skip(1) {
        sizes.push(size.parse().unwrap_or(1_000_000));
    }
    if sizes.is_empty() {
        sizes = vec![8_192, 16_384, 32_768, 70_852, 1_000_000];
    }
    let fast = Int8Level::ALL
        .into_iter()
        .filter(|level| *level != Int8Level::Plain && level.is_supported());
    let levels: Vec<Int8Level> = fast.collect();
    println!("items batch exact-ms, first-pass-ms and quotient with {levels:?}");
    for items in sizes {
        let (weight, bias) = (numbers(items * WIDTH, 1), vec![0.0; items]);
        let linear = || OutputLayer {
            weight: &weight,
            bias: &bias,
        };
        let mut matrices = vec![TransposedItemMatrix::new(linear(), WIDTH)];
        for &level in &levels {
            let matrix = TransposedItemMatrix::new(linear(), WIDTH);
            matrices.push(matrix.with_first_pass(FirstPass::Always(level)));
        }
        for batch in [1, 4, 16, 64] {
            let hidden = numbers(batch * WIDTH, 2);
            let wanted = vec![
                TopKRequest {
                    k: K,
                    filter: ItemFilter::Exclude(&[]),
                };
                batch
            ];
            let mut seconds = vec![Vec::new(); matrices.len()];
            for _ in 0..ROUNDS {
                let mut lists = Vec::new();
                for (matrix, seconds) in matrices.iter().zip(&mut seconds) {
                    let start = Instant::now();
                    let found = matrix.top_k(&hidden, &wanted);
                    seconds.push(start.elapsed().as_secs_f64());
                    lists.push(found.expect("the scores are finite"));
                }
                assert!(lists.iter().all(|list| *list == lists[0]));
            }
            let mut line = format!("{items} {batch}");
            let exact = least(seconds[0].clone());
            line += &format!(" {:.3}", 1e3 * exact);
            for seconds in seconds.into_iter().skip(1).map(least) {
                line += &format!("  {:.3} {:.2}", 1e3 * seconds, exact / seconds);
            }
            println!("{line}");
        }
    }
}
