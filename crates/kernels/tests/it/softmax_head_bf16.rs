//! The head on pairs of bfloat16 against a plain softmax of the rounded numbers, and itself on
//! other threads.

use half::bf16;
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, backward, softmax};
use prl_kernels::simd::bf16::Bf16Pair;
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

    fn swept(&self) -> Found {
        let linear = OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        };
        let swept = softmax::<Bf16Pair>(linear, &self.hidden, &self.targets);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Scores are those of the rounded numbers; a gradient is off by no more than two roundings of
    /// each of its terms.
    #[test]
    fn bf16_head_matches_f64_head_on_rounded_operands(items in 1..400usize, batch in 1..90usize, width in 1..40usize) {
        let case = Case::new(items, batch, width);
        let (found, (plain, sizes)) = (case.swept(), case.plain());
        for which in 0..4 {
            let bound = if which == 0 { 2e-5 } else { 2.0 * HALF_BIT };
            prop_assert_eq!(found[which].len(), plain[which].len());
            for (i, (found, plain)) in found[which].iter().zip(&plain[which]).enumerate() {
                let allowed = bound * sizes[which][i] + 1e-6;
                prop_assert!((found - plain).abs() <= allowed, "array {which}, element {i}: {found} is not {plain}");
            }
        }
    }
}

#[test]
fn bf16_gradients_any_thread_count_same_bits() {
    let case = Case::new(3001, 130, 64);
    let run = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| case.swept())
    };
    assert!(run(1) == run(2) && run(1) == run(5));
}

/// At convergence the gradient is zero: the target's part of it is rounded as the softmax's part,
/// and both cancel.
#[test]
fn bf16_gradients_at_convergence_are_zero() {
    let mut case = Case::new(200, 64, 19);
    case.targets.fill(3);
    case.bias[3] = 300.0;
    let [losses, gradients @ ..] = case.swept();
    assert!(losses.iter().all(|&loss| loss == 0.0), "{losses:?}");
    let largest = gradients
        .iter()
        .flatten()
        .fold(0.0, |max: f64, x| max.max(x.abs()));
    // Only the order of sums is left; a rounding of one part alone would be a hundred times as
    // large.
    assert!(largest < 1e-4, "{largest}");
}

/// NaN stays NaN, so that divergence is detected.
#[test]
fn nan_weight_propagates_to_the_loss() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut case = Case::new(150, 3, 8);
        case.weight[77] = bad;
        let [losses, by_hidden, ..] = case.swept();
        assert!(
            losses.iter().chain(&by_hidden).any(|x| !x.is_finite()),
            "{bad}"
        );
    }
}
