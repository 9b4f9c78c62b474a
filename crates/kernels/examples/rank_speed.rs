//! What the best 20 of a small batch cost: `cargo run --release -p prl-kernels --example rank_speed`.

use std::hint::black_box;
use std::time::Instant;

use prl_kernels::catalogue::{Among, Catalogue, Wanted};
use prl_kernels::head::Linear;
use prl_kernels::rank::rank;

const WIDTH: usize = 64;

fn main() {
    for items in [70_852, 1_000_000] {
        let mut state = 1_u64;
        let mut noise = |n: usize| -> Vec<f32> {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
            };
            (0..n).map(|_| next()).collect()
        };
        let (weight, bias) = (noise(items * WIDTH), noise(items));
        let catalogue = Catalogue::new(Linear { weight: &weight, bias: &bias }, WIDTH);
        for batch in [1, 2, 4, 8, 16, 32, 64] {
            let hidden = noise(batch * WIDTH);
            let linear = Linear { weight: &weight, bias: &bias };
            let wanted = vec![Wanted { k: 20, among: Among::AllBut(&[]) }; batch];
            let packed = time(|| _ = black_box(catalogue.top(&hidden, &wanted)));
            let plain = time(|| _ = black_box(rank(linear, &hidden, WIDTH, None, 20)));
            println!("{items:>8} items, {batch:>2} rows: catalogue {packed}, batch {plain}");
        }
    }
}

/// Median and 99th percentile of 201 calls.
fn time(mut f: impl FnMut()) -> String {
    let mut times: Vec<f64> = (0..201)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    format!("{:.3} ms (99% {:.3})", times[100], times[198])
}
