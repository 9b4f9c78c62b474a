//! The softmax head and Adam against PyTorch (`tests/golden/*.py`).

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use prl_kernels::ops::adam::{Adam, AdamSlices, update, update_rows};
use prl_kernels::ops::rank::rank;
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, backward, softmax};
use prl_kernels::simd::bf16::Bf16Pair;

fn fill(n: usize, phase: f64, scale: f64) -> Vec<f64> {
    (0..n)
        .map(|i| scale * (0.7 * i as f64 + phase).sin())
        .collect()
}

/// Golden tensors by name, as f64 in row-major order.
fn golden(name: &str) -> HashMap<String, Vec<f64>> {
    let tensors: HashMap<String, Tensor> = prl_testkit::golden(env!("CARGO_MANIFEST_DIR"), name);
    let mut all = HashMap::new();
    for (key, tensor) in tensors {
        let values = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
        all.insert(key, values.to_vec1().unwrap());
    }
    all
}

fn assert_close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len());
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < 5e-8, "{what}[{i}]: {a}, PyTorch has {b}");
    }
}

#[test]
fn softmax_head_matches_pytorch() {
    let golden = golden("softmax_head");
    let (hidden, mut weight, mut bias) =
        (fill(20, 0.1, 1.0), fill(28, 0.2, 0.8), fill(7, 0.3, 0.5));
    weight.copy_within(8..12, 20);
    bias[5] = bias[2];
    let (targets, scale) = ([2, 0, 6, 5, 3], [0.2, 1.0, 0.2, 1.0, 0.0].map(|r| r / 5.0));
    let linear = OutputLayer {
        weight: &weight,
        bias: &bias,
    };
    let swept = softmax::<f64>(linear, &hidden, &targets);
    assert_close(
        "ce",
        &swept.cross_entropy().collect::<Vec<_>>(),
        &golden["ce"],
    );
    let ranks = rank(linear, &hidden, 4, Some(&targets), 1).unwrap().ranks;
    let ranks: Vec<f64> = ranks.into_iter().map(f64::from).collect();
    assert_eq!(ranks, golden["rank"]);
    let mut dw = vec![0.0; 28];
    let (dh, db) = backward(
        &mut weight,
        &bias,
        &hidden,
        &targets,
        &swept,
        &scale,
        Sink::Gradient(&mut dw),
    );
    assert_close("dH", &dh, &golden["grad.hidden"]);
    assert_close("dW", &dw, &golden["grad.weight"]);
    assert_close("db", &db, &golden["grad.bias"]);
}

#[test]
fn softmax_head_bf16_matches_pytorch() {
    let golden = golden("softmax_head");
    let single = |n, phase, scale| -> Vec<f32> {
        fill(n, phase, scale)
            .into_iter()
            .map(|x| x as f32)
            .collect()
    };
    let (hidden, mut weight, bias) = (
        single(15, 0.1, 1.0),
        single(21, 0.2, 1.0),
        single(7, 0.3, 0.5),
    );
    let (targets, scale) = ([2, 0, 6, 5, 3], [0.2, 1.0, 0.2, 1.0, 0.0].map(|r| r / 5.0));
    let swept = softmax::<Bf16Pair>(
        OutputLayer {
            weight: &weight,
            bias: &bias,
        },
        &hidden,
        &targets,
    );
    let mut dw = vec![0.0; 21];
    let (dh, db) = backward(
        &mut weight,
        &bias,
        &hidden,
        &targets,
        &swept,
        &scale,
        Sink::Gradient(&mut dw),
    );
    // The scores are equal. PyTorch rounds the final gradients to bf16, these kernels the operands
    // of the products: eight significant bits in both.
    for (ours, theirs) in swept.cross_entropy().zip(&golden["bf16.ce"]) {
        assert!((ours - theirs).abs() < 2e-6, "{ours}, PyTorch has {theirs}");
    }
    for (what, ours) in [("hidden", dh), ("weight", dw), ("bias", db)] {
        let theirs = &golden[&format!("bf16.grad.{what}")];
        assert_eq!(ours.len(), theirs.len());
        for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!(
                (f64::from(*a) - b).abs() < 1e-3 + b.abs() / 128.0,
                "{what}[{i}]: {a}, PyTorch has {b}"
            );
        }
    }
}

#[test]
fn adam_dense_and_by_rows_match_pytorch() {
    let golden = golden("adam");
    let start = fill(12, 0.5, 1.0);
    let (mut whole, mut rows) = (start.clone(), start);
    let (mut m, mut v, mut mr, mut vr) =
        (vec![0.0; 12], vec![0.0; 12], vec![0.0; 12], vec![0.0; 12]);
    for k in 0..5 {
        let step = Adam::new(0.01).factors(k + 1);
        let mut grad = fill(12, k as f64, 1.0);
        let (ids, touched): (&[u32], Vec<f64>) = if k > 0 {
            grad[4..8].fill(0.0);
            (&[0, 2], [&grad[..4], &grad[8..]].concat())
        } else {
            (&[0, 1, 2], grad.clone())
        };
        update(
            step,
            AdamSlices {
                param: &mut whole,
                first: &mut m,
                second: &mut v,
            },
            &grad,
        );
        update_rows(
            step,
            AdamSlices {
                param: &mut rows,
                first: &mut mr,
                second: &mut vr,
            },
            4,
            ids,
            &touched,
        );
        assert_eq!(whole, rows, "by rows is the same step");
        match k {
            0 => assert_close("after 1", &whole, &golden["step_1"]),
            4 => assert_close("after 5", &whole, &golden["step_5"]),
            _ => {}
        }
    }
}
