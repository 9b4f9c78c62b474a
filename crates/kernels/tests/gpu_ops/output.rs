//! The output layer: its step, and ranking.

use candle_core::{DType, Device, Tensor};
use prl_kernels::cuda::{FiniteCheck, FiniteStatus};
use prl_kernels::ops::adam::Adam;
use prl_kernels::ops::rank::NonFiniteScore;
use prl_kernels::ops::softmax_head::cuda::{CudaOutputLayer, LossScales, Precision};

use super::{flat, values};

/// Losses, gradient of the hidden vectors, and parameters and moments after Adam's step: on the
/// GPU, and by candle's operations in `f64` on the CPU.
#[test]
fn softmax_head_step_matches_cpu() {
    let sizes = [
        (1, 1, 1),
        (5, 33, 2400),
        (33, 64, 97),
        (64, 7, 1030),
        (65, 65, 131),
        (256, 64, 290),
        (300, 130, 227),
        (257, 70, 501),
    ];
    for (batch, width, items) in sizes {
        let name = format!("{batch} rows, {width} wide, {items} items");
        let square = |t: Tensor| (t.sqr().unwrap() + 0.1).unwrap();
        let (weight, bias) = ([items, width], [items]);
        let [w, w_first, b, b_first] = [(&weight[..], 1), (&weight, 2), (&bias, 3), (&bias, 4)]
            .map(|(shape, seed)| values(shape, seed));
        let (w_second, b_second) = (square(values(&weight, 5)), square(values(&bias, 6)));
        let hidden = (values(&[batch, width], 7) / (width as f64)).unwrap();
        let targets: Vec<u32> = (0..batch).map(|i| (i * 37 % items) as u32).collect();
        let scales: Vec<f64> = (0..batch).map(|i| (i % 4) as f64 * 0.3).collect();

        let gpu = prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`");
        // Nothing begins where its memory does.
        let there = |t: &Tensor| {
            let t = t.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            Tensor::cat(&[&t.narrow(0, 0, 1).unwrap(), &t], 0)
                .unwrap()
                .to_device(&gpu)
                .unwrap()
        };
        let all = [&w, &w_first, &w_second, &b, &b_first, &b_second].map(there);
        let part = |i: usize, like: &Tensor| {
            all[i]
                .narrow(0, 1, like.elem_count())
                .unwrap()
                .reshape(like.shape())
                .unwrap()
        };
        let [gpu_w, gpu_w_first, gpu_w_second] = [0, 1, 2].map(|i| part(i, &w));
        let [gpu_b, gpu_b_first, gpu_b_second] = [3, 4, 5].map(|i| part(i, &b));
        let gpu_hidden = there(&hidden)
            .narrow(0, 1, batch * width)
            .unwrap()
            .reshape((batch, width))
            .unwrap();
        let layer = CudaOutputLayer {
            weight: &gpu_w,
            bias: &gpu_b,
            precision: Precision::Fp32,
        };
        let watch = FiniteCheck::new(&gpu, batch).unwrap();
        let losses = layer
            .losses(&gpu_hidden, &targets, LossScales::Host(&scales), &watch)
            .unwrap();
        let (weight, bias) = ([&gpu_w_first, &gpu_w_second], [&gpu_b_first, &gpu_b_second]);
        let gradient = layer
            .step(
                Adam::new(0.1).factors(3),
                weight,
                bias,
                &gpu_hidden,
                losses,
                &watch,
            )
            .unwrap();
        let FiniteStatus {
            loss, is_finite, ..
        } = watch.read().unwrap();
        assert!(is_finite, "{name}");

        let scores = hidden
            .matmul(&w.t().unwrap())
            .unwrap()
            .broadcast_add(&b)
            .unwrap()
            .to_vec2::<f64>()
            .unwrap();
        let mut expected = 0.0;
        let mut by_score = Vec::new();
        for ((row, &target), &scale) in scores.iter().zip(&targets).zip(&scales) {
            let sum: f64 = row.iter().map(|score| score.exp()).sum();
            expected += scale * (sum.ln() - row[target as usize]);
            by_score.extend(
                (0..)
                    .zip(row)
                    .map(|(i, s)| scale * (s.exp() / sum - f64::from(u8::from(i == target)))),
            );
        }
        let by_score = Tensor::from_vec(by_score, (batch, items), &Device::Cpu).unwrap();
        let by_weight = by_score.t().unwrap().matmul(&hidden).unwrap();
        let moved = |param: &Tensor, first: &Tensor, second: &Tensor, grad: &Tensor| {
            let first = ((first * 0.9).unwrap() + (grad * 0.1).unwrap()).unwrap();
            let second =
                ((second * 0.999).unwrap() + (grad.sqr().unwrap() * 0.001).unwrap()).unwrap();
            let root = ((&second / (1.0 - 0.999_f64.powi(3)))
                .unwrap()
                .sqrt()
                .unwrap()
                + 1e-8)
                .unwrap();
            let rate = 0.1 / (1.0 - 0.9_f64.powi(3));
            [
                (param - (&first / root).unwrap().affine(rate, 0.0).unwrap()).unwrap(),
                first,
                second,
            ]
        };
        let [w, w_first, w_second] = moved(&w, &w_first, &w_second, &by_weight);
        let [b, b_first, b_second] = moved(&b, &b_first, &b_second, &by_score.sum(0).unwrap());
        assert!(
            (loss - expected).abs() <= 1e-5 * expected.abs().max(1.0),
            "{name}: {loss} and {expected}"
        );
        let by_hidden = by_score.matmul(&values(&[items, width], 1)).unwrap();
        let pairs = [
            ("hidden", &by_hidden, &gradient),
            ("weight", &w, &gpu_w),
            ("weight's first", &w_first, &gpu_w_first),
            ("weight's second", &w_second, &gpu_w_second),
            ("bias", &b, &gpu_b),
            ("bias's first", &b_first, &gpu_b_first),
            ("bias's second", &b_second, &gpu_b_second),
        ];
        for (what, a, b) in pairs {
            for (i, (a, b)) in flat(a).iter().zip(flat(b)).enumerate() {
                assert!(
                    (a - b).abs() <= 2e-5 * a.abs().max(1.0),
                    "{name}: {what}, element {i}: {a} and {b}"
                );
            }
        }
    }
}

#[test]
fn ranking_matches_cpu() {
    let gpu = prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`");
    let on_gpu = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &gpu).unwrap();
    // Scores that differ, that are few, that are all one, whose signs of zero differ, and whose
    // best lie a block's threads apart.
    let kinds: [fn(usize) -> f32; 5] = [
        |i| (1.7 * i as f32).sin() - 0.5,
        |i| -((i * 7 % 13) as f32),
        |_| -2.0,
        |i| if i % 2 == 0 { -0.0 } else { 0.0 },
        |i| if i % 1024 == 3 { 9.0 } else { (i % 5) as f32 },
    ];
    for items in [1, 5, 33, 1023, 1024, 1025, 5000] {
        for kind in kinds {
            let scores: Vec<f32> = (0..items).map(kind).collect();
            let (weight, bias) = (
                on_gpu(&vec![0.0; items], &[items, 1]),
                on_gpu(&scores, &[items]),
            );
            let (layer, hidden) = (
                CudaOutputLayer {
                    weight: &weight,
                    bias: &bias,
                    precision: Precision::Fp32,
                },
                on_gpu(&[1.0, 2.0, 3.0], &[3, 1]),
            );
            let mut best: Vec<u32> = (0..items as u32).collect();
            best.sort_by(|&a, &b| scores[b as usize].partial_cmp(&scores[a as usize]).unwrap());
            let targets = [0, items as u32 / 2, items as u32 - 1];
            let rank = |target: &u32| {
                scores
                    .iter()
                    .filter(|&&s| s >= scores[*target as usize])
                    .count() as u32
            };
            let ranks: Vec<u32> = targets.iter().map(rank).collect();
            for k in [0, 1, 20, 32, 33] {
                let expected: Vec<_> = best
                    .iter()
                    .take(k)
                    .map(|&i| (i, scores[i as usize]))
                    .collect();
                for given in [None, Some(targets.as_slice())] {
                    let found = prl_kernels::ops::rank::cuda::rank(layer, &hidden, given, k)
                        .unwrap()
                        .unwrap();
                    assert_eq!(found.ranks, given.map_or(Vec::new(), |_| ranks.clone()));
                    assert_eq!(
                        found.top,
                        vec![expected.clone(); 3],
                        "{items} items, the best {k}"
                    );
                }
            }
            let at = items / 3;
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let bias = on_gpu(
                    &[&scores[..at], &[bad], &scores[at + 1..]].concat(),
                    &[items],
                );
                let found = prl_kernels::ops::rank::cuda::rank(
                    CudaOutputLayer {
                        bias: &bias,
                        ..layer
                    },
                    &hidden,
                    None,
                    20,
                )
                .unwrap();
                assert_eq!(found, Err(NonFiniteScore { row: 0 }));
            }
        }
    }
}

#[test]
fn softmax_head_step_non_finite_score_changes_nothing() {
    let gpu = prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`");
    let on_gpu = |tensor: &Tensor| {
        tensor
            .to_dtype(DType::F32)
            .unwrap()
            .to_device(&gpu)
            .unwrap()
    };
    // The second is wider than a block has room for.
    for width in [4, 200] {
        let (items, hidden) = (
            1050,
            on_gpu(&(values(&[3, width], 1) / width as f64).unwrap()),
        );
        // The loss, and whether the step moved anything.
        let step = |other: &[(usize, f64)]| {
            let weight = on_gpu(&values(&[items, width], 2));
            let mut bias = vec![0.0; items];
            other.iter().for_each(|&(item, value)| bias[item] = value);
            let bias = on_gpu(&Tensor::from_vec(bias, items, &Device::Cpu).unwrap());
            let [weights, biases] =
                [&weight, &bias].map(|t| [t, t].map(|t| t.zeros_like().unwrap()));
            let (layer, watch) = (
                CudaOutputLayer {
                    weight: &weight,
                    bias: &bias,
                    precision: Precision::Fp32,
                },
                FiniteCheck::new(&gpu, 3).unwrap(),
            );
            let losses = layer
                .losses(&hidden, &[0, 6, 1049], LossScales::Host(&[1.0; 3]), &watch)
                .unwrap();
            let by = Adam::new(0.1).factors(1);
            layer
                .step(
                    by,
                    weights.each_ref(),
                    biases.each_ref(),
                    &hidden,
                    losses,
                    &watch,
                )
                .unwrap();
            let moved = weights
                .iter()
                .chain(&biases)
                .any(|moments| flat(moments).iter().any(|&m| m != 0.0));
            let FiniteStatus {
                loss, is_finite, ..
            } = watch.read().unwrap();
            assert_eq!(
                (loss.is_finite(), moved),
                (is_finite, is_finite),
                "{width} wide"
            );
            loss
        };
        let nothing: Vec<(usize, f64)> = (7..1049).map(|item| (item, f64::NEG_INFINITY)).collect();
        let little: Vec<(usize, f64)> = (7..1049).map(|item| (item, -1e30)).collect();
        assert!(step(&[]).is_finite() && step(&nothing) < step(&[]));
        assert_eq!(step(&nothing), step(&little));
        for bad in [f64::NAN, f64::INFINITY] {
            for item in [0, 3, 700, 1048, 1049] {
                assert!(
                    !step(&[(item, bad)]).is_finite(),
                    "{bad} at {item}, {width} wide"
                );
            }
        }
    }
}
