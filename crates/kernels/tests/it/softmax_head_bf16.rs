//! The head on pairs of bfloat16 against a plain softmax of the rounded numbers, with vectors, with
//! the emulated matrix engine and, where the processor has one, with the engine itself; and itself
//! on other threads.

use half::bf16;
use prl_kernels::ops::adam::Adam;
use prl_kernels::ops::score_offsets::{ScoreOffset, ScoreOffsets};
use prl_kernels::ops::softmax_head::{
    OutputLayer, Sink, backward, offset_gradients, softmax_at, softmax_relative_at,
};
use prl_kernels::simd::bf16::{Bf16Level, Bf16Pair};
use proptest::prelude::*;

/// The most that a rounding is off by, relative.
const HALF_BIT: f64 = 1.0 / 256.0;

/// A head and a batch made from a formula.
struct Case {
    weight: Vec<f32>,
    bias: Vec<f32>,
    hidden: Vec<f32>,
    targets: Vec<u32>,
    scale: Vec<f32>,
    width: usize,
}

/// Losses, and the gradients of hidden, weight and bias.
type Found = [Vec<f64>; 4];

impl Case {
    fn new(items: usize, batch: usize, width: usize) -> Self {
        let wave = |n: usize, phase: f32| (0..n).map(|i| (0.7 * i as f32 + phase).sin()).collect();
        Self {
            weight: wave(items * width, 0.1),
            bias: wave(items, 0.2),
            hidden: wave(batch * width, 0.3),
            targets: (0..batch).map(|b| ((b * 7 + 3) % items) as u32).collect(),
            scale: (0..batch)
                .map(|b| 0.2 + 0.8 * f32::from(b % 3 == 0))
                .collect(),
            width,
        }
    }

    fn swept(&self, level: Bf16Level) -> Found {
        self.swept_with(level, ScoreOffsets::none())
    }

    fn swept_with(&self, level: Bf16Level, offsets: ScoreOffsets<f32>) -> Found {
        let linear = OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        };
        let swept = softmax_at::<Bf16Pair>(level, linear, &self.hidden, &self.targets, offsets);
        let (mut weight, mut grad) = (self.weight.clone(), vec![0.0; self.weight.len()]);
        let sink = Sink::Gradient(&mut grad);
        let (hidden, bias) = backward(
            &mut weight,
            &self.bias,
            &self.hidden,
            &self.targets,
            &swept,
            &self.scale,
            sink,
        );
        let double = |x: Vec<f32>| x.into_iter().map(f64::from).collect();
        [
            swept.cross_entropy().collect(),
            double(hidden),
            double(grad),
            double(bias),
        ]
    }

    /// Additions to the scores of each hidden vector's target and of two other items.
    fn offsets(&self) -> ScoreOffsets<f32> {
        let mut offsets = Vec::new();
        for (row, &target) in (0..).zip(&self.targets) {
            let items = self.bias.len() as u32;
            let others = [target, (target + 1) % items, (target + 40) % items];
            for (i, &item) in others.iter().enumerate() {
                if !others[..i].contains(&item) {
                    let value = 0.5 - i as f32 * 0.75;
                    offsets.push(ScoreOffset { item, row, value });
                }
            }
        }
        ScoreOffsets::new(offsets)
    }

    /// Losses and gradients by plain loops in `f64`: scores from operands rounded to bfloat16,
    /// gradients from the unrounded ones; then the sums of the absolute values of their terms.
    fn plain(&self) -> (Found, Found) {
        let rounded =
            |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| bf16::from_f32(x).to_f64()).collect() };
        let (weight, hidden) = (rounded(&self.weight), rounded(&self.hidden));
        let lengths = [hidden.len(), weight.len(), self.bias.len()];
        let [by_hidden, by_weight, by_bias] = lengths.map(|n| vec![(0.0, 0.0); n]);
        let (mut losses, mut grads) = (Vec::new(), [by_hidden, by_weight, by_bias]);
        for (b, h) in hidden.chunks(self.width).enumerate() {
            let (target, scale) = (self.targets[b] as usize, f64::from(self.scale[b]));
            let dot = |w: &[f64]| w.iter().zip(h).map(|(w, h)| w * h).sum::<f64>();
            let scores: Vec<f64> = weight
                .chunks(self.width)
                .zip(&self.bias)
                .map(|(w, &bias)| f64::from(bias) + dot(w))
                .collect();
            let lse = scores.iter().map(|s| s.exp()).sum::<f64>().ln();
            losses.push((lse - scores[target], 1.0));
            let mut add = |which: usize, at: usize, x: f64| {
                let (sum, size) = &mut grads[which][at];
                (*sum, *size) = (*sum + x, *size + x.abs());
            };
            for (i, score) in scores.iter().enumerate() {
                for g in [Some((score - lse).exp()), (i == target).then_some(-1.0)]
                    .into_iter()
                    .flatten()
                {
                    add(2, i, scale * g);
                    for k in 0..self.width {
                        let (row, column) = (b * self.width + k, i * self.width + k);
                        add(0, row, scale * g * f64::from(self.weight[column]));
                        add(1, column, scale * g * f64::from(self.hidden[row]));
                    }
                }
            }
        }
        let [by_hidden, by_weight, by_bias] = grads;
        let all = [losses, by_hidden, by_weight, by_bias];
        let of =
            |part: fn(&(f64, f64)) -> f64| all.each_ref().map(|x| x.iter().map(part).collect());
        (of(|x| x.0), of(|x| x.1))
    }
}

/// The levels that this processor has.
fn levels() -> impl Iterator<Item = Bf16Level> {
    Bf16Level::ALL
        .into_iter()
        .filter(|level| level.is_supported())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Scores are those of the rounded numbers; a gradient is off by no more than two roundings of
    /// each of its terms.
    #[test]
    fn bf16_head_matches_f64_head_on_rounded_operands(items in 1..500usize, batch in 1..300usize, width in 1..130usize) {
        let case = Case::new(items, batch, width);
        let (plain, sizes) = case.plain();
        for level in levels() {
            let found = case.swept(level);
            for which in 0..4 {
                let bound = if which == 0 { 2e-5 } else { 2.0 * HALF_BIT };
                prop_assert_eq!(found[which].len(), plain[which].len());
                for (i, (found, plain)) in found[which].iter().zip(&plain[which]).enumerate() {
                    let allowed = bound * sizes[which][i] + 1e-6;
                    prop_assert!((found - plain).abs() <= allowed, "{level:?}, array {which}, element {i}: {found} is not {plain}");
                }
            }
        }
    }

    /// The whole head, offsets included.
    #[test]
    fn matrix_engine_and_its_emulation_give_the_same_bits(items in 1..900usize, batch in 1..100usize, width in 1..80usize) {
        if Bf16Level::Amx.is_supported() {
            let case = Case::new(items, batch, width);
            let offsets = case.offsets();
            let amx = case.swept_with(Bf16Level::Amx, offsets.clone());
            prop_assert!(amx == case.swept_with(Bf16Level::Emulated, offsets));
        }
    }

    /// Offsets, Adam's update in the sweep, and a target that is far below the best item.
    #[test]
    fn levels_agree_within_two_roundings(items in 2..700usize, batch in 1..80usize, width in 1..70usize, is_raised: bool) {
        let mut case = Case::new(items, batch, width);
        let raised = if is_raised { 150.0 } else { 0.0 };
        // The exponentials relative to the targets leave the range of the type.
        case.bias[items / 2] += raised;
        let offsets = case.offsets();
        let vector = case.swept_with(Bf16Level::Vector, offsets.clone());
        let (_, sizes) = case.plain();
        for level in levels() {
            let found = case.swept_with(level, offsets.clone());
            for which in 0..4 {
                for (i, (x, y)) in found[which].iter().zip(&vector[which]).enumerate() {
                    let size = if is_raised || which == 0 { 1.0 + y.abs() } else { sizes[which][i].max(y.abs()) };
                    // A loss is a difference of two scores, sums of up to 70 products in another
                    // order.
                    let bound = if which == 0 { 1e-5 * (size + f64::from(raised)) } else { 4.0 * HALF_BIT * size + 1e-6 };
                    prop_assert!((x - y).abs() <= bound, "{level:?}, array {which}, element {i}: {x} and {y}");
                }
            }
        }
    }
}

#[test]
fn bf16_gradients_any_thread_count_same_bits() {
    let case = Case::new(3001, 130, 64);
    let run = |threads, level| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| case.swept(level))
    };
    for level in levels() {
        assert!(run(1, level) == run(2, level) && run(1, level) == run(5, level));
    }
}

/// At convergence the gradient is zero: the target's part of it is rounded as the softmax's part,
/// and both cancel.
#[test]
fn bf16_gradients_at_convergence_are_zero() {
    let mut case = Case::new(200, 64, 19);
    case.targets.fill(3);
    case.bias[3] = 300.0;
    for level in levels() {
        let [losses, gradients @ ..] = case.swept(level);
        assert!(losses.iter().all(|&loss| loss == 0.0), "{losses:?}");
        let largest = gradients
            .iter()
            .flatten()
            .fold(0.0, |max: f64, x| max.max(x.abs()));
        // Only the order of sums is left; a rounding of one part alone would be a hundred times as
        // large.
        assert!(largest < 1e-4, "{level:?}: {largest}");
    }
}

/// NaN stays NaN, so that divergence is detected.
#[test]
fn nan_weight_propagates_to_the_loss() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut case = Case::new(150, 3, 8);
        case.weight[77] = bad;
        for level in levels() {
            let [losses, by_hidden, ..] = case.swept(level);
            assert!(
                losses.iter().chain(&by_hidden).any(|x| !x.is_finite()),
                "{level:?}: {bad}"
            );
        }
    }
}

/// Adam in the sweep is Adam on the gradient of the sweep.
#[test]
fn adam_in_the_sweep_matches_adam_on_the_gradient() {
    let case = Case::new(333, 70, 24);
    let linear = OutputLayer {
        weight: &case.weight,
        bias: &case.bias,
    };
    for level in levels() {
        let none = ScoreOffsets::none();
        let swept = softmax_at::<Bf16Pair>(level, linear, &case.hidden, &case.targets, none);
        let factors = Adam::new(0.01).factors(3);
        let n = case.weight.len();
        let start: Vec<f32> = (0..n).map(|i| (i % 7) as f32 * 0.01).collect();
        let run = |weight: &mut [f32], sink: Sink<'_, f32>| {
            backward(
                weight,
                &case.bias,
                &case.hidden,
                &case.targets,
                &swept,
                &case.scale,
                sink,
            );
        };
        let (mut fused, mut m, mut v) = (case.weight.clone(), start.clone(), start.clone());
        run(&mut fused, Sink::Adam(factors, &mut m, &mut v));
        let (mut after, mut grad) = (case.weight.clone(), vec![0.0; n]);
        run(&mut after, Sink::Gradient(&mut grad));
        assert!(after == case.weight);
        let (mut first, mut second) = (start.clone(), start.clone());
        let slices = prl_kernels::ops::adam::AdamSlices {
            param: &mut after,
            first: &mut first,
            second: &mut second,
        };
        prl_kernels::ops::adam::update(factors, slices, &grad);
        assert!(fused == after && m == first && v == second, "{level:?}");
    }
}

/// The gradient by a score offset is that by the score.
#[test]
fn offset_gradients_match_the_bias_gradient_of_a_row() {
    let case = Case::new(90, 1, 12);
    let linear = OutputLayer {
        weight: &case.weight,
        bias: &case.bias,
    };
    let offsets = case.offsets();
    for level in levels() {
        let swept =
            softmax_at::<Bf16Pair>(level, linear, &case.hidden, &case.targets, offsets.clone());
        let grads = offset_gradients(linear, &case.hidden, &case.targets, &swept, &case.scale);
        let [_, _, _, by_bias] = case.swept_with(level, offsets.clone());
        for (o, grad) in offsets.as_slice().iter().zip(grads) {
            let error = (f64::from(grad) - by_bias[o.item as usize]).abs();
            assert!(error < 3e-3, "{level:?}, item {}: {error}", o.item);
        }
    }
}

/// Terms of other items, added after the first sweep, lower every probability.
#[test]
fn added_terms_scale_all_gradients() {
    let case = Case::new(150, 40, 20);
    let linear = OutputLayer {
        weight: &case.weight,
        bias: &case.bias,
    };
    let references = vec![0.5; 40];
    let grads = |level, is_doubled: bool| {
        let none = ScoreOffsets::none();
        let mut swept =
            softmax_relative_at::<Bf16Pair>(level, linear, &case.hidden, &references, none);
        if is_doubled {
            let own = swept.log_sum_exp.clone();
            swept.add_terms(&own);
        }
        let mut grad = vec![0.0; case.weight.len()];
        let sink = Sink::Gradient(&mut grad);
        let mut weight = case.weight.clone();
        let (hidden, bias) = backward(
            &mut weight,
            &case.bias,
            &case.hidden,
            &[],
            &swept,
            &case.scale,
            sink,
        );
        [hidden, bias, grad]
    };
    for level in levels() {
        for (all, half) in grads(level, false).iter().zip(&grads(level, true)) {
            for (x, y) in all.iter().zip(half) {
                assert!(
                    (x - 2.0 * y).abs() < 0.01 * (x.abs() + 0.01),
                    "{level:?}: {x} and {y}"
                );
            }
        }
    }
}
