//! How fast the two ends of a step run: `cargo run --release -p prl-kernels --example head_speed`.

use std::hint::black_box;
use std::time::Instant;

use prl_kernels::adam::Adam;
use prl_kernels::head::{Linear, Sink, backward, log_sum_exp};
use prl_kernels::rank::rank;

const BATCH: usize = 256;
const WIDTH: usize = 64;

fn main() {
    for items in [26_702, 70_852] {
        let wave = |n: usize| (0..n).map(|i| (0.7 * i as f32).sin() * 0.05).collect::<Vec<_>>();
        let (mut weight, bias, hidden) = (wave(items * WIDTH), wave(items), wave(BATCH * WIDTH));
        let (mut m, mut v) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
        let targets: Vec<u32> = (0..BATCH).map(|b| (b * 97 % items) as u32).collect();
        let scale = vec![1.0 / BATCH as f32; BATCH];
        let lse = log_sum_exp(Linear { weight: &weight, bias: &bias }, &hidden, &targets);
        let forward = median(|| {
            black_box(log_sum_exp(Linear { weight: &weight, bias: &bias }, &hidden, &targets));
        });
        let ranked = median(|| {
            black_box(rank(Linear { weight: &weight, bias: &bias }, &hidden, WIDTH, Some(&targets), 20)).ok();
        });
        let back = median(|| {
            let sink = Sink::Adam(Adam::new(1e-3).step(1), &mut m, &mut v);
            black_box(backward(&mut weight, &bias, &hidden, &targets, &lse, &scale, sink));
        });
        let product = 2.0 * (BATCH * WIDTH * items) as f64 / 1e6;
        println!(
            "{items:>6} items: first sweep {forward:.2} ms, second with Adam {back:.2} ms ({:.0} GFLOP/s on three products), ranks and top 20 {ranked:.2} ms",
            3.0 * product / (forward + back)
        );
    }
}

/// Median milliseconds of 15 calls.
fn median(mut f: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[7]
}
