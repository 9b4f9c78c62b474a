//! The kernels one by one, at the two catalogue sizes of the paper: `cargo bench -p prl-kernels`.
//!
//! `items` are events of a batch, so that the rate is events a second; sizes are the catalogue's.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use prl_kernels::ops::adam::{self, Adam, AdamSlices};
use prl_kernels::ops::rank::rank;
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, backward, softmax};
use prl_kernels::ops::top_k_serving::{ItemFilter, TopKRequest, TransposedItemMatrix};
use prl_kernels::simd::bf16::Bf16Pair;
use prl_kernels::simd::operand::GemmOperand;

const SIZES: [usize; 2] = [26_702, 70_852];
const BATCH: usize = 256;
const WIDTH: usize = 64;

fn main() {
    prl_kernels::runtime::prepare();
    divan::main();
}

/// An output layer and a batch of hidden vectors, of values that repeat and mean nothing.
struct CudaOutputLayer {
    weight: Vec<f32>,
    bias: Vec<f32>,
    hidden: Vec<f32>,
    targets: Vec<u32>,
}

impl CudaOutputLayer {
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

    fn linear(&self) -> OutputLayer<'_, f32> {
        OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        }
    }
}

#[divan::bench(types = [f32, Bf16Pair], args = SIZES)]
fn first_sweep<F: GemmOperand<Sum = f32>>(bencher: Bencher<'_, '_>, items: usize) {
    let layer = CudaOutputLayer::new(items, BATCH);
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| softmax::<F>(layer.linear(), &layer.hidden, &layer.targets));
}

#[divan::bench(types = [f32, Bf16Pair], args = SIZES)]
fn second_sweep_with_adam<F: GemmOperand<Sum = f32>>(bencher: Bencher<'_, '_>, items: usize) {
    let layer = CudaOutputLayer::new(items, BATCH);
    let swept = softmax::<F>(layer.linear(), &layer.hidden, &layer.targets);
    let scale = vec![1.0 / BATCH as f32; BATCH];
    let mut weight = layer.weight.clone();
    let (mut first, mut second) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
    let step = Adam::new(0.005).factors(1);
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
    let layer = CudaOutputLayer::new(items, BATCH);
    let targets = Some(layer.targets.as_slice());
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| rank(layer.linear(), &layer.hidden, WIDTH, targets, 0));
}

#[divan::bench(args = SIZES)]
fn ranks_and_top_20(bencher: Bencher<'_, '_>, items: usize) {
    let layer = CudaOutputLayer::new(items, BATCH);
    let targets = Some(layer.targets.as_slice());
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench(|| rank(layer.linear(), &layer.hidden, WIDTH, targets, 20));
}

#[divan::bench(args = SIZES)]
fn top_20_of_one(bencher: Bencher<'_, '_>, items: usize) {
    let layer = CudaOutputLayer::new(items, 1);
    let catalogue = TransposedItemMatrix::new(layer.linear(), WIDTH);
    let wanted = [TopKRequest {
        k: 20,
        filter: ItemFilter::Exclude(&[]),
    }];
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| catalogue.top_k(&layer.hidden, &wanted));
}

#[divan::bench(args = SIZES)]
fn dense_adam(bencher: Bencher<'_, '_>, items: usize) {
    let layer = CudaOutputLayer::new(items, 1);
    let (mut param, grad) = (layer.weight.clone(), black_box(layer.weight));
    let (mut first, mut second) = (vec![0.0; param.len()], vec![0.0; param.len()]);
    let step = Adam::new(0.005).factors(1);
    bencher.bench_local(|| {
        adam::update(
            step,
            AdamSlices {
                param: &mut param,
                first: &mut first,
                second: &mut second,
            },
            &grad,
        );
    });
}
