//! The sweeps against a plain softmax, with a buffer for a part of the exponentials only.

use super::{BLOCK, FirstSweep, OutputLayer, Sink, backward, softmax_at};
use crate::ops::score_offsets::ScoreOffsets;
use crate::simd::bf16::{Bf16Level, Bf16Pair};
use crate::simd::operand::GemmOperand;
use crate::{CHUNKS, Real};

const ITEMS: usize = 3 * CHUNKS * super::TILE + 5;
const BATCH: usize = 70;
const WIDTH: usize = 5;
/// Largest relative error of a product of two bfloat16 values.
const TWO_ROUNDINGS: f64 = 2.0 / 256.0 + 1e-4;

/// An output layer and a batch made from a formula.
struct Case<T> {
    weight: Vec<T>,
    bias: Vec<T>,
    hidden: Vec<T>,
    targets: Vec<u32>,
    scale: Vec<T>,
}

impl<T: Real> Case<T> {
    fn new() -> Self {
        // Eight significant bits, so that they are the same numbers in every type.
        let rough = |x: f64| T::of((x * 128.0).round() / 128.0);
        let wave = |n: usize, phase: f64| {
            (0..n)
                .map(|i| rough((0.7 * i as f64 + phase).sin()))
                .collect()
        };
        Self {
            weight: wave(ITEMS * WIDTH, 0.1),
            bias: wave(ITEMS, 0.2),
            hidden: wave(BATCH * WIDTH, 0.3),
            targets: (0..BATCH).map(|b| (b * 67 % ITEMS) as u32).collect(),
            scale: (0..BATCH)
                .map(|b| T::of(0.1 + b as f64 / BATCH as f64))
                .collect(),
        }
    }

    /// Cross-entropies and the gradients of hidden, weight and bias, by the sweeps.
    fn swept<F: GemmOperand<Sum = T>>(&self, level: Bf16Level) -> [Vec<f64>; 4] {
        let linear = OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        };
        let none = ScoreOffsets::none();
        let first = softmax_at::<F>(level, linear, &self.hidden, &self.targets, none);
        if let FirstSweep::Vector(sweep) = &first.sweep {
            let kept = sweep.kept.chunk(0).len() * F::PACK / BLOCK;
            assert!(
                0 < kept && kept < 3 * 2,
                "{kept} blocks are kept: not a part"
            );
        }
        let (mut weight, mut by_weight) = (self.weight.clone(), vec![T::zero(); self.weight.len()]);
        let sink = Sink::Gradient(&mut by_weight);
        let (by_hidden, by_bias) = backward(
            &mut weight,
            &self.bias,
            &self.hidden,
            &self.targets,
            &first,
            &self.scale,
            sink,
        );
        let double = |x: Vec<T>| x.into_iter().map(T::double).collect();
        [
            first.cross_entropy().collect(),
            double(by_hidden),
            double(by_weight),
            double(by_bias),
        ]
    }

    /// Reference in f64, one hidden vector at a time. Each with the sum of its terms' sizes.
    fn plain(&self) -> [Vec<(f64, f64)>; 4] {
        let double = |x: &[T]| -> Vec<f64> { x.iter().map(|x| x.double()).collect() };
        let (weight, bias, hidden) = (
            double(&self.weight),
            double(&self.bias),
            double(&self.hidden),
        );
        let [mut by_weight, mut by_bias, mut by_hidden] =
            [&weight, &bias, &hidden].map(|x| vec![(0.0, 0.0); x.len()]);
        let mut losses = Vec::new();
        let add =
            |(sum, size): &mut (f64, f64), x: f64| (*sum, *size) = (*sum + x, *size + x.abs());
        for (b, (&target, scale)) in self.targets.iter().zip(double(&self.scale)).enumerate() {
            let h = &hidden[b * WIDTH..][..WIDTH];
            let dot =
                |(w, bias): (&[f64], &f64)| bias + w.iter().zip(h).map(|(w, h)| w * h).sum::<f64>();
            let scores: Vec<f64> = weight.chunks(WIDTH).zip(&bias).map(dot).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
            losses.push((lse - scores[target as usize], 1.0 + lse.abs()));
            let softmax = scores.iter().map(|s| (s - lse).exp()).enumerate();
            for (i, p) in softmax.chain([(target as usize, -1.0)]) {
                add(&mut by_bias[i], scale * p);
                for k in 0..WIDTH {
                    add(&mut by_weight[i * WIDTH + k], scale * p * h[k]);
                    add(
                        &mut by_hidden[b * WIDTH + k],
                        scale * p * weight[i * WIDTH + k],
                    );
                }
            }
        }
        [losses, by_hidden, by_weight, by_bias]
    }
}

fn assert_close<F: GemmOperand>(case: &Case<F::Sum>, tolerance: f64) {
    let plain = case.plain();
    let levels = Bf16Level::ALL
        .into_iter()
        .filter(|level| level.is_supported());
    for level in levels {
        for (which, (swept, plain)) in case.swept::<F>(level).iter().zip(&plain).enumerate() {
            for (i, (s, (p, size))) in swept.iter().zip(plain).enumerate() {
                assert!(
                    (s - p).abs() <= tolerance * (size + 1e-6),
                    "{level:?}, array {which}, element {i}: {s} and {p}"
                );
            }
        }
        if F::PACK == 1 {
            // These operands have one level alone.
            break;
        }
    }
}

#[test]
fn gradients_with_a_partly_filled_exp_buffer_match_plain_softmax() {
    assert_close::<f64>(&Case::new(), 1e-12);
    assert_close::<f32>(&Case::new(), 1e-5);
    assert_close::<Bf16Pair>(&Case::new(), TWO_ROUNDINGS);
}

/// Exponentials relative to the target would leave the range of the type.
#[test]
fn target_far_below_the_best_item_does_not_overflow() {
    fn raised<T: Real>(by: f64) -> Case<T> {
        let mut case = Case::new();
        [0, 100, ITEMS - 1]
            .into_iter()
            .for_each(|item| case.bias[item] = T::of(by));
        case
    }
    assert_close::<f32>(&raised(100.0), 1e-4);
    assert_close::<f64>(&raised(1e4), 1e-10);
    assert_close::<Bf16Pair>(&raised(100.0), TWO_ROUNDINGS);
}

/// Or be nothing beside it.
#[test]
fn target_far_above_all_items_has_all_probability() {
    let mut case = Case::<f32>::new();
    for &target in &case.targets {
        case.bias[target as usize] = 200.0;
    }
    assert_close::<f32>(&case, 1e-4);
    assert_close::<Bf16Pair>(&case, TWO_ROUNDINGS);
}
