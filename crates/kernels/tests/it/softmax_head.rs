//! The fused head against finite differences, a plain implementation, and itself on other threads.

use prl_kernels::Real;
use prl_kernels::ops::adam::Adam;
use prl_kernels::ops::rank::rank;
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, backward, softmax};
use proptest::prelude::*;

/// A head and a batch made from a formula.
#[derive(Clone)]
struct Case<T> {
    weight: Vec<T>,
    bias: Vec<T>,
    hidden: Vec<T>,
    targets: Vec<u32>,
    scale: Vec<T>,
    width: usize,
}

fn wave<T: Real>(n: usize, phase: f64, scale: f64) -> Vec<T> {
    (0..n)
        .map(|i| T::of(scale * (0.7 * i as f64 + phase).sin()))
        .collect()
}

impl<T: Real> Case<T> {
    fn new(items: usize, batch: usize, width: usize) -> Self {
        Self {
            weight: wave(items * width, 0.1, 0.5),
            bias: wave(items, 0.2, 0.5),
            hidden: wave(batch * width, 0.3, 1.0),
            targets: (0..batch).map(|b| ((b * 7 + 3) % items) as u32).collect(),
            scale: (0..batch)
                .map(|b| T::of((0.2 + 0.8 * f64::from(b % 3 == 0)) / batch as f64))
                .collect(),
            width,
        }
    }

    fn linear(&self) -> OutputLayer<'_, T> {
        OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        }
    }

    fn loss(&self) -> f64 {
        let swept = softmax::<T>(self.linear(), &self.hidden, &self.targets);
        swept
            .cross_entropy()
            .zip(&self.scale)
            .map(|(c, s)| c * s.double())
            .sum()
    }

    /// Gradients of hidden, weight and bias.
    fn gradients(&self) -> [Vec<T>; 3] {
        let swept = softmax::<T>(self.linear(), &self.hidden, &self.targets);
        let mut weight = self.weight.clone();
        let mut grad = vec![T::zero(); weight.len()];
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
        assert_eq!(weight, self.weight, "a gradient leaves the weight alone");
        [hidden, grad, bias]
    }

    fn scores(&self, b: usize) -> Vec<T> {
        let h = &self.hidden[b * self.width..][..self.width];
        let dot = |w: &[T], bias: T| {
            h.iter()
                .zip(w)
                .fold(bias, |s, (&x, &y)| num_traits::Float::mul_add(x, y, s))
        };
        self.weight
            .chunks(self.width)
            .zip(&self.bias)
            .map(|(w, &bias)| dot(w, bias))
            .collect()
    }
}

#[test]
fn softmax_head_gradients_match_finite_differences() {
    let case = Case::<f64>::new(131, 70, 19);
    let grads = case.gradients();
    let h = 1e-6;
    for (which, grad) in grads.iter().enumerate() {
        for i in (0..grad.len()).step_by(37) {
            let at = |delta: f64| {
                let mut moved = case.clone();
                [&mut moved.hidden, &mut moved.weight, &mut moved.bias][which][i] += delta;
                moved.loss()
            };
            let numeric = (at(h) - at(-h)) / (2.0 * h);
            assert!(
                (numeric - grad[i]).abs() < 1e-8,
                "array {which}, element {i}: {numeric} and {}",
                grad[i]
            );
        }
    }
}

#[test]
fn softmax_head_f32_follows_f64() {
    let (single, double) = (
        Case::<f32>::new(1000, 100, 64),
        Case::<f64>::new(1000, 100, 64),
    );
    assert!((single.loss() - double.loss()).abs() < 1e-5);
    for (s, d) in single.gradients().iter().zip(double.gradients()) {
        let worst = s
            .iter()
            .zip(&d)
            .map(|(s, d)| (f64::from(*s) - d).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1e-7, "{worst}");
    }
}

#[test]
fn adam_sink_matches_adam_on_the_stored_gradient() {
    let mut case = Case::<f64>::new(131, 70, 19);
    let [_, grad, _] = case.gradients();
    let swept = softmax::<f64>(case.linear(), &case.hidden, &case.targets);
    let (mut m, mut v) = (vec![0.1; grad.len()], vec![0.2; grad.len()]);
    let (mut m2, mut v2, mut plain) = (m.clone(), v.clone(), case.weight.clone());
    let step = Adam::new(0.01).factors(3);
    let sink = Sink::Adam(step, &mut m, &mut v);
    backward(
        &mut case.weight,
        &case.bias,
        &case.hidden,
        &case.targets,
        &swept,
        &case.scale,
        sink,
    );
    let slots = prl_kernels::ops::adam::AdamSlices {
        param: &mut plain,
        first: &mut m2,
        second: &mut v2,
    };
    prl_kernels::ops::adam::update(step, slots, &grad);
    assert_eq!((case.weight, m, v), (plain, m2, v2));
}

#[test]
fn softmax_head_any_thread_count_same_bits() {
    let case = Case::<f32>::new(3001, 130, 64);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            (
                case.loss(),
                case.gradients(),
                rank(case.linear(), &case.hidden, 64, Some(&case.targets), 20),
            )
        })
    };
    assert!(run(1) == run(2) && run(1) == run(5));
}

#[test]
fn ranking_any_batch_size_same_result() {
    let case = Case::<f32>::new(1203, 130, 64);
    let whole = rank(case.linear(), &case.hidden, 64, Some(&case.targets), 20).unwrap();
    for b in 0..130 {
        let alone = rank(
            case.linear(),
            &case.hidden[b * 64..][..64],
            64,
            Some(&case.targets[b..=b]),
            20,
        )
        .unwrap();
        assert_eq!(
            (alone.ranks[0], &alone.top[0]),
            (whole.ranks[b], &whole.top[b])
        );
    }
}

#[test]
fn ranking_k_above_item_count_lists_all_items() {
    let case = Case::<f32>::new(1203, 70, 8);
    for k in [1203, usize::MAX] {
        let top = rank(case.linear(), &case.hidden, 8, None, k).unwrap().top;
        assert!(
            top.iter()
                .all(|list| list.len() == 1203 && list.is_sorted_by(|a, b| a.1 >= b.1))
        );
    }
}

#[test]
fn rank_ties_count_against_the_target() {
    let mut case = Case::<f32>::new(200, 1, 8);
    for i in [5, 77, 199] {
        case.weight.copy_within(0..8, i * 8);
        case.bias[i] = case.bias[0];
    }
    let above = case
        .scores(0)
        .iter()
        .filter(|&&s| s > case.scores(0)[0])
        .count() as u32;
    for target in [0, 5, 77, 199] {
        let ranking = rank(case.linear(), &case.hidden, 8, Some(&[target]), 3).unwrap();
        assert_eq!(ranking.ranks, [above + 4]);
    }
}

#[test]
fn ranking_non_finite_score_is_an_error() {
    let mut case = Case::<f32>::new(200, 3, 8);
    case.hidden[2 * 8] = f32::NAN;
    let error = rank(case.linear(), &case.hidden, 8, Some(&case.targets), 3).unwrap_err();
    assert_eq!(error.row, 2);
    case.hidden[2 * 8] = 1.0;
    case.bias[150] = f32::INFINITY;
    assert_eq!(
        rank(case.linear(), &case.hidden, 8, None, 3)
            .unwrap_err()
            .row,
        0
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn ranking_matches_sorting_all_scores(items in 1..400usize, batch in 1..90usize, width in 1..40usize, k in 0..30usize) {
        let case = Case::<f64>::new(items, batch, width);
        let ranking = rank(case.linear(), &case.hidden, width, Some(&case.targets), k).unwrap();
        for b in 0..batch {
            let scores = case.scores(b);
            let target = scores[case.targets[b] as usize];
            // Within rounding of the target an item may fall on either side.
            let (least, most) = (scores.iter().filter(|&&s| s > target + 1e-12).count(), scores.iter().filter(|&&s| s >= target - 1e-12).count());
            let rank = ranking.ranks[b] as usize;
            prop_assert!(least < rank && rank <= most, "rank {rank}, not in {least}..={most}");
            let mut sorted = scores.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(ranking.top[b].len(), k.min(items));
            for (i, (item, score)) in ranking.top[b].iter().enumerate() {
                prop_assert!((score - sorted[i]).abs() < 1e-12 && (scores[*item as usize] - score).abs() < 1e-12);
            }
        }
    }

    /// Many items with few different scores, whole numbers that no order of sums can change: lists
    /// are cut between equal scores, and the bound that the chunks share must not drop an equal
    /// score of a lower index.
    #[test]
    fn ranking_equal_scores_are_listed_by_index(items in 1..4000usize, batch in 1..70usize, k in 1..40usize, scores in 1..9i64) {
        let value = |i: usize| ((i as i64).wrapping_mul(2_654_435_761) >> 7).rem_euclid(scores) as f32 - 3.0;
        let weight: Vec<f32> = (0..items).map(value).collect();
        let (bias, hidden) = (vec![0.0; items], (0..batch).map(|b| b as f32 % 5.0 - 2.0).collect::<Vec<f32>>());
        let linear = OutputLayer { weight: &weight, bias: &bias };
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let top = pool.install(|| rank(linear, &hidden, 1, None, k)).unwrap().top;
            for (list, h) in top.iter().zip(&hidden) {
                let mut all: Vec<(u32, f32)> = (0..).zip(weight.iter().map(|w| w * h)).collect();
                all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
                all.truncate(k);
                let same = |(found, plain): (&(u32, f32), &(u32, f32))| found.0 == plain.0 && found.1 == plain.1;
                prop_assert!(list.len() == all.len() && list.iter().zip(&all).all(same), "{list:?} is not {all:?}");
            }
        }
    }
}
