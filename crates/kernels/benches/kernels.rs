//! The kernels one by one, at the two catalogue sizes of the paper: `cargo bench -p prl-kernels`.
//!
//! `items` are events of a batch, so that the rate is events a second; sizes are the catalogue's.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use prl_kernels::adam::{self, Adam, Slots};
use prl_kernels::bf16::Pair;
use prl_kernels::catalogue::{Among, Catalogue, Wanted};
use prl_kernels::factor::Factor;
use prl_kernels::head::{Linear, Sink, backward, softmax};
use prl_kernels::rank::rank;

const SIZES: [usize; 2] = [26_702, 70_852];
const BATCH: usize = 256;
const WIDTH: usize = 64;

fn main() {
    prl_kernels::process::prepare();
    divan::main();
}

/// An output layer and a batch of hidden vectors, of values that repeat and mean nothing.
struct Layer {
    weight: Vec<f32>,
    bias: Vec<f32>,
    hidden: Vec<f32>,
    targets: Vec<u32>,
}

impl Layer {
    fn new(items: usize, batch: usize) -> Self {
        let wave = |n: usize, step: f32| (0..n).map(|i| 0.1 * (step * i as f32).sin()).collect();
        let targets = (0..batch).map(|b| (b * 7919 % items) as u32).collect();
        Self {
            weight: wave(items * WIDTH, 0.7),
            bias: wave(items, 0.3),
            hidden: wave(batch * WIDTH, 1.3),
            targets,
        }
    }

    fn linear(&self) -> Linear<'_, f32> {
        Linear {
            weight: &self.weight,
            bias: &self.bias,
        }
    }
}

#[divan::bench(types = [f32, Pair], args = SIZES)]
fn first_sweep<F: Factor<Sum = f32>>(bencher: Bencher<'_, '_>, items: usize) {
    let layer = Layer::new(items, BATCH);
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| softmax::<F>(layer.linear(), &layer.hidden, &layer.targets));
}

#[divan::bench(types = [f32, Pair], args = SIZES)]
fn second_sweep_with_adam<F: Factor<Sum = f32>>(bencher: Bencher<'_, '_>, items: usize) {
    let layer = Layer::new(items, BATCH);
    let swept = softmax::<F>(layer.linear(), &layer.hidden, &layer.targets);
    let scale = vec![1.0 / BATCH as f32; BATCH];
    let mut weight = layer.weight.clone();
    let (mut first, mut second) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
    let step = Adam::new(0.005).step(1);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let sink = Sink::Adam(step, &mut first, &mut second);
        backward(
            &mut weight,
            &layer.bias,
            &layer.hidden,
            &layer.targets,
            &swept,
            &scale,
            sink,
        )
    });
}

#[divan::bench(args = SIZES)]
fn ranks(bencher: Bencher<'_, '_>, items: usize) {
    let layer = Layer::new(items, BATCH);
    let targets = Some(layer.targets.as_slice());
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| rank(layer.linear(), &layer.hidden, WIDTH, targets, 0));
}

#[divan::bench(args = SIZES)]
fn ranks_and_top_20(bencher: Bencher<'_, '_>, items: usize) {
    let layer = Layer::new(items, BATCH);
    let targets = Some(layer.targets.as_slice());
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| rank(layer.linear(), &layer.hidden, WIDTH, targets, 20));
}

#[divan::bench(args = SIZES)]
fn top_20_of_one(bencher: Bencher<'_, '_>, items: usize) {
    let layer = Layer::new(items, 1);
    let catalogue = Catalogue::new(layer.linear(), WIDTH);
    let wanted = [Wanted {
        k: 20,
        among: Among::AllBut(&[]),
    }];
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| catalogue.top(&layer.hidden, &wanted));
}

#[divan::bench(args = SIZES)]
fn dense_adam(bencher: Bencher<'_, '_>, items: usize) {
    let layer = Layer::new(items, 1);
    let (mut param, grad) = (layer.weight.clone(), black_box(layer.weight));
    let (mut first, mut second) = (vec![0.0; param.len()], vec![0.0; param.len()]);
    let step = Adam::new(0.005).step(1);
    bencher.bench_local(|| {
        adam::update(
            step,
            Slots {
                param: &mut param,
                first: &mut first,
                second: &mut second,
            },
            &grad,
        );
    });
}
