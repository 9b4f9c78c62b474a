//! Sampled softmax against the full softmax, a plain reference and finite differences.

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_dataset::{Kind, Windows};
use prl_kernels::ops::adam::Adam;
use prl_testkit::{assert_close, flat, values};

use super::super::{SimilarityHead, SimilarityOptions, reference};
use crate::finite_check::FiniteCheck;
use crate::head::reference::cross_entropy;
use crate::head::{HeadBatch, HeadOutput};
use crate::negative_sampler::{NegativeOptions, NegativeSampler, NegativeSampling};
use crate::own_items::{OwnItems, own_items};
use crate::param::{AdamParam, AdamStep};
use crate::process_group::SingleProcess;

const ITEMS: usize = 150;
const WIDTH: usize = 6;
const WINDOW: usize = 4;
const BATCH: usize = 11;
/// Adam's decay of the first moment: after one step the moment is (1 - beta) times the gradient.
const BETA: f64 = 0.9;

/// A batch whose every third target is one of the session's own items.
struct Case {
    dtype: DType,
    options: SimilarityOptions,
    embedding: Tensor,
    hidden: Tensor,
    windows: Windows,
    targets: Vec<u32>,
    weights: Vec<f64>,
}

impl Case {
    fn new(dtype: DType, own_items: OwnItems, is_tied: bool, temperature: Option<f64>) -> Self {
        let tensor = |shape: &[usize], name| values(shape, name).to_dtype(dtype).unwrap();
        let mut windows = Windows::new(WINDOW);
        let mut targets = Vec::new();
        for b in 0..BATCH as u32 {
            let history: Vec<u32> = (0..b).map(|t| (b * 31 + t * t * 17) % 150).collect();
            let own = history.last().filter(|_| b % 3 == 0);
            targets.push(own.copied().unwrap_or(b * 13 % 150));
            // An own item is purchased in every other window.
            let kinds = [Kind::Click, Kind::Click, Kind::Purchase];
            windows.push_events(&history, &kinds[..b as usize % 2 * 3], ITEMS as u32);
        }
        // Two examples have one target, which is a hit of the other's in the batch.
        targets[4] = targets[5];
        let options = SimilarityOptions {
            is_tied,
            temperature,
            own_items,
            window: WINDOW,
            has_event_biases: own_items == OwnItems::Learned,
            has_item_bias: true,
            label_smoothing: 0.0,
        };
        Self {
            dtype,
            options,
            embedding: tensor(&[ITEMS + 1, WIDTH], "embedding"),
            hidden: tensor(&[BATCH, WIDTH], "hidden"),
            windows,
            targets,
            weights: (0..BATCH).map(|b| 0.01 * (b + 1) as f64).collect(),
        }
    }

    /// A head with biases that are not zero.
    fn head(&self) -> SimilarityHead {
        let cpu = &Device::Cpu;
        let head = SimilarityHead::new(ITEMS, WIDTH, self.dtype, cpu, 1, self.options).unwrap();
        for param in small_params(&head) {
            let start = values(param.param.dims(), param.name());
            param
                .param
                .set(&start.to_dtype(self.dtype).unwrap())
                .unwrap();
        }
        head
    }

    fn sampled_head(&self, sampling: NegativeSampling, count: usize) -> SimilarityHead {
        let mut head = self.head();
        head.set_negatives(sampler(sampling, count));
        head
    }

    fn batch(&self) -> HeadBatch<'_> {
        HeadBatch {
            hidden: &self.hidden,
            targets: &self.targets,
            loss_weights: &self.weights,
        }
    }

    fn step(&self, head: &SimilarityHead, t: u64) -> HeadOutput {
        let check = FiniteCheck::none();
        let adam = AdamStep {
            adam: Adam::new(0.01),
            t,
            check: &check,
        };
        head.step(
            adam,
            &self.batch(),
            &self.windows,
            &self.embedding,
            &SingleProcess,
        )
        .unwrap()
    }
}

/// The biases of a head.
fn small_params(head: &SimilarityHead) -> impl Iterator<Item = &AdamParam> {
    let params = [
        Some(&head.bias),
        head.own_bias.as_ref(),
        head.event_bias.as_ref(),
    ];
    params.into_iter().flatten()
}

fn sampler(sampling: NegativeSampling, count: usize) -> NegativeSampler {
    let counts: Vec<u64> = (0..ITEMS as u64).map(|i| 1 + i * i % 40).collect();
    let options = NegativeOptions {
        count,
        sampling,
        power: 0.5,
    };
    NegativeSampler::new(options, &counts, 5).unwrap()
}

/// Cases of every treatment of own items, tied and untied, cosines and dot products.
fn cases(dtype: DType) -> [Case; 4] {
    [
        Case::new(dtype, OwnItems::Keep, true, Some(0.25)),
        Case::new(dtype, OwnItems::Exclude, false, Some(0.25)),
        Case::new(dtype, OwnItems::Learned, true, Some(0.25)),
        Case::new(dtype, OwnItems::Learned, false, None),
    ]
}

/// The gradient of the item vectors, dense.
fn dense_item_grad(output: &HeadOutput) -> Option<Vec<f64>> {
    if let Some(grad) = &output.item_grad {
        return Some(flat(grad));
    }
    let (ids, grad) = output.item_rows.as_ref()?;
    let mut dense = vec![0.0; (ITEMS + 1) * WIDTH];
    for (&id, grad) in ids.iter().zip(flat(grad).chunks(WIDTH)) {
        for (sum, g) in dense[id as usize * WIDTH..][..WIDTH].iter_mut().zip(grad) {
            *sum += g;
        }
    }
    Some(dense)
}

fn parts(param: &AdamParam) -> [Vec<f64>; 3] {
    [flat(&param.param), flat(&param.first), flat(&param.second)]
}

/// Every row is touched in every step, so that lazy Adam is dense Adam.
#[test]
fn all_items_as_negatives_give_the_full_softmax() {
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-4)] {
        for case in cases(dtype) {
            let full = case.head();
            let sampled = case.sampled_head(NegativeSampling::Uniform, ITEMS);
            for t in 1..4 {
                let (a, b) = (case.step(&full, t), case.step(&sampled, t));
                assert_close(&[b.ce_loss.unwrap()], &[a.ce_loss.unwrap()], tolerance);
                assert_close(&flat(&b.hidden_grad), &flat(&a.hidden_grad), tolerance);
                match (dense_item_grad(&a), dense_item_grad(&b)) {
                    (Some(a), Some(b)) => assert_close(&b, &a, tolerance),
                    (a, b) => assert!(a.is_none() && b.is_none() && !case.options.is_tied),
                }
            }
            for (a, b) in full.adam_params().zip(sampled.adam_params()) {
                for (a, b) in parts(a).iter().zip(&parts(b)) {
                    assert_close(b, a, tolerance);
                }
            }
        }
    }
}

/// The loss in candle's operations over the dense `[B, items]` scores: items that are neither exact
/// terms nor negatives are masked.
fn plain_loss(
    case: &Case,
    head: &SimilarityHead,
    hidden: &Tensor,
    vectors: &Tensor,
) -> Result<Tensor> {
    let negatives = head.sampler.as_ref().unwrap().draw(1, &case.targets);
    let mut added = vec![-1e9; BATCH * ITEMS];
    for row in added.chunks_mut(ITEMS) {
        for (&item, &correction) in negatives.items.iter().zip(&negatives.corrections) {
            row[item as usize] = correction;
        }
    }
    for own in own_items(&case.windows) {
        added[own.row as usize * ITEMS + own.item as usize] = 0.0;
    }
    for (row, &target) in case.targets.iter().enumerate() {
        added[row * ITEMS + target as usize] = 0.0;
    }
    let added = Tensor::from_vec(added, (BATCH, ITEMS), &Device::Cpu)?.to_dtype(case.dtype)?;
    let scores = reference::plain_scores(head, hidden, vectors, &head.bias.param)?;
    let own = head.own(&case.windows);
    let offsets = reference::dense_offsets(head, &own, Some(&case.targets), &scores)?;
    cross_entropy(&((scores + offsets)? + added)?, &case.batch())
}

fn check_against_plain(case: &Case, head: &SimilarityHead, tolerance: f64) {
    let hidden = Var::from_tensor(&case.hidden).unwrap();
    let vectors = Var::from_tensor(&head.vectors(&case.embedding).detach()).unwrap();
    let loss = plain_loss(case, head, &hidden, &vectors).unwrap();
    let grads = loss.backward().unwrap();
    let mut expected = Vec::new();
    for param in small_params(head) {
        expected.push(flat(grads.get(&param.param).unwrap()));
    }
    let found = case.step(head, 1);
    assert_close(&[found.ce_loss.unwrap()], &flat(&loss), tolerance);
    let hidden_grad = flat(grads.get(&hidden).unwrap());
    assert_close(&flat(&found.hidden_grad), &hidden_grad, tolerance);
    let moment = |param: &AdamParam| flat(&(param.first.as_tensor() / (1.0 - BETA)).unwrap());
    let item_grad = match &head.weight {
        Some(weight) => moment(weight),
        None => dense_item_grad(&found).unwrap(),
    };
    let plain = flat(grads.get(&vectors).unwrap());
    assert_close(&item_grad, &plain, tolerance);
    for (param, expected) in small_params(head).zip(&expected) {
        assert_close(&moment(param), expected, tolerance);
    }
}

#[test]
fn sampled_softmax_matches_the_plain_reference() {
    let samplings = [
        (NegativeSampling::Uniform, 20),
        (NegativeSampling::Popularity, 60),
        (NegativeSampling::InBatch, 0),
        (NegativeSampling::InBatch, 9),
    ];
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-4)] {
        for case in cases(dtype) {
            for (sampling, count) in samplings {
                let head = case.sampled_head(sampling, count);
                check_against_plain(&case, &head, tolerance);
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    const H: f64 = 1e-5;
    let mut case = Case::new(DType::F64, OwnItems::Learned, true, Some(0.25));
    let head = || case.sampled_head(NegativeSampling::Popularity, 30);
    let trained = head();
    let found = case.step(&trained, 1);
    let item_grad = dense_item_grad(&found).unwrap();
    let hidden_grad = flat(&found.hidden_grad);
    let first = |param: &AdamParam| flat(&param.first);
    let bias_grad = first(&trained.bias);
    let own_grad = first(trained.own_bias.as_ref().unwrap());
    let event_grad = first(trained.event_bias.as_ref().unwrap());
    let nudged = |tensor: &Tensor, at: usize, by: f64| {
        let mut x = flat(tensor);
        x[at] += by;
        Tensor::from_vec(x, tensor.shape(), &Device::Cpu).unwrap()
    };
    let difference = |losses: [f64; 2]| (losses[0] - losses[1]) / (2.0 * H);
    for (name, grads) in [
        ("head.bias", &bias_grad),
        ("head.own_bias", &own_grad),
        ("head.own_event_bias", &event_grad),
    ] {
        for at in [0, 1, 2, 3] {
            let loss = |by| {
                let head = head();
                let param = head.adam_params().find(|p| p.name() == name).unwrap();
                param.param.set(&nudged(&param.param, at, by)).unwrap();
                case.step(&head, 1).ce_loss.unwrap()
            };
            let numeric = difference([loss(H), loss(-H)]);
            assert_close(&[grads[at] / (1.0 - BETA)], &[numeric], 1e-7);
        }
    }
    // Elements of a target, of another candidate and of an item that is none.
    let target = case.targets[7] as usize * WIDTH;
    let embedding = case.embedding.clone();
    for at in [target, target + 1, 31 * WIDTH, 0, 77 * WIDTH + 2] {
        let mut loss = |by| {
            case.embedding = nudged(&embedding, at, by);
            let head = case.sampled_head(NegativeSampling::Popularity, 30);
            case.step(&head, 1).ce_loss.unwrap()
        };
        let numeric = difference([loss(H), loss(-H)]);
        assert_close(&[item_grad[at]], &[numeric], 1e-7);
    }
    case.embedding = embedding;
    let hidden = case.hidden.clone();
    for at in [0, WIDTH + 3, 10 * WIDTH] {
        let mut loss = |by| {
            case.hidden = nudged(&hidden, at, by);
            let head = case.sampled_head(NegativeSampling::Popularity, 30);
            case.step(&head, 1).ce_loss.unwrap()
        };
        let numeric = difference([loss(H), loss(-H)]);
        assert_close(&[hidden_grad[at]], &[numeric], 1e-7);
    }
}

/// `e^L` is `Z / e^s_y`, so that its mean over the draws is that of the full softmax.
#[test]
fn sampled_sum_of_exponentials_is_unbiased() {
    let mut case = Case::new(DType::F64, OwnItems::Learned, true, Some(1.0));
    case.hidden = case.hidden.narrow(0, 7, 1).unwrap().copy().unwrap();
    case.windows = case.windows.rows(7..8);
    case.targets = vec![case.targets[7]];
    case.weights = vec![1.0];
    let full = case.step(&case.head(), 1).ce_loss.unwrap().exp();
    for sampling in [NegativeSampling::Uniform, NegativeSampling::Popularity] {
        let (mut sum, mut squares, draws) = (0.0, 0.0, 1500);
        // The biases are set back, since a step changes them.
        let start = case.head();
        let head = case.sampled_head(sampling, 25);
        for t in 1..=draws {
            for (to, from) in head.adam_params().zip(start.adam_params()) {
                to.param.set(&from.param).unwrap();
            }
            let drawn = case.step(&head, t).ce_loss.unwrap().exp();
            sum += drawn;
            squares += drawn * drawn;
        }
        let mean = sum / draws as f64;
        let error = ((squares / draws as f64 - mean * mean) / draws as f64).sqrt();
        assert!((mean - full).abs() < 4.0 * error, "{mean} and {full}");
        assert!(error < 0.03 * full, "{error}");
    }
}

#[test]
fn sampled_step_has_the_same_bits_with_any_number_of_threads() {
    let case = Case::new(DType::F32, OwnItems::Learned, false, Some(0.25));
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let head = case.sampled_head(NegativeSampling::Popularity, 120);
            let mut all = Vec::new();
            for t in 1..4 {
                let output = case.step(&head, t);
                all.extend(flat(&output.hidden_grad));
                all.push(output.ce_loss.unwrap());
            }
            for param in head.adam_params() {
                all.extend(parts(param).concat());
            }
            all
        })
    };
    let one = bits(1);
    assert!(
        one.iter()
            .zip(bits(3))
            .all(|(a, b)| a.to_bits() == b.to_bits())
    );
}

#[test]
fn bf16_step_is_near_the_unrounded_one() {
    let case = Case::new(DType::F32, OwnItems::Learned, true, Some(0.25));
    let mut rounded = case.sampled_head(NegativeSampling::Uniform, 40);
    rounded.is_bf16 = true;
    let plain = case.sampled_head(NegativeSampling::Uniform, 40);
    let (a, b) = (case.step(&rounded, 1), case.step(&plain, 1));
    let (a_loss, b_loss) = (a.ce_loss.unwrap(), b.ce_loss.unwrap());
    assert!(a_loss != b_loss && (a_loss / b_loss - 1.0).abs() < 0.01);
    let (a, b) = (dense_item_grad(&a).unwrap(), dense_item_grad(&b).unwrap());
    let scale = b.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 0.03 * scale, "{a} and {b}");
    }
}
