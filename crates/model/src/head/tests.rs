//! The fused output layer against the reference, and its refusals.

use candle_core::{DType, Device, Tensor};
use prl_kernels::ops::adam::Adam;

use super::{Head, HeadBatch, cpu, reference};
use crate::finite_check::FiniteCheck;
use crate::param::AdamStep;
use crate::process_group::SingleProcess;

fn flat(t: &Tensor) -> Vec<f64> {
    let t = t.to_dtype(DType::F64).unwrap();
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.shape(), b.shape());
    for (a, b) in flat(a).iter().zip(flat(b)) {
        assert!((a - b).abs() < tolerance, "{a} and {b}");
    }
}

#[track_caller]
fn assert_same_parameters(a: &Head, b: &Head, tolerance: f64) {
    for (a, b) in [(&a.weight, &b.weight), (&a.bias, &b.bias)] {
        assert_close(&a.param, &b.param, tolerance);
        assert_close(&a.first, &b.first, tolerance);
        assert_close(&a.second, &b.second, tolerance);
    }
}

fn hidden(shape: (usize, usize), dtype: DType) -> Tensor {
    let mut values = Vec::new();
    for i in 0..shape.0 * shape.1 {
        values.push((0.3 * i as f64).sin());
    }
    let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    values.to_dtype(dtype).unwrap()
}

/// Losses, gradients of the hidden vectors, updates of weight, bias and moments, and rankings.
#[test]
fn cross_entropy_step_fused_matches_reference() {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
        let head = || Head::new(150, 6, dtype, &Device::Cpu, 3, "head").unwrap();
        let (fused, plain) = (head(), head());
        let hidden = hidden((10, 6), dtype);
        let targets: Vec<u32> = (0..10).map(|b| b * 13 % 150).collect();
        let loss_weights: Vec<f64> = (0..10).map(|b| f64::from(b) * 0.01).collect();
        let batch = HeadBatch {
            hidden: &hidden,
            targets: &targets,
            loss_weights: &loss_weights,
        };
        let check = FiniteCheck::none();
        for t in 1..4 {
            let adam = AdamStep {
                adam: Adam::new(0.01),
                t,
                check: &check,
            };
            let a = cpu::step(&fused, adam, &batch, &SingleProcess).unwrap();
            let b = reference::step(&plain, adam, &batch).unwrap();
            assert!((a.ce_loss.unwrap() - b.ce_loss.unwrap()).abs() < tolerance);
            assert_close(&a.hidden_grad, &b.hidden_grad, tolerance);
        }
        assert_same_parameters(&fused, &plain, tolerance);
        let a = cpu::rank(&fused, &hidden, Some(&targets), 5, &fused.bias.param).unwrap();
        let b = reference::rank(&plain, &hidden, Some(&targets), 5, &plain.bias.param).unwrap();
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.ranks, b.ranks);
        let ids = |top: &[Vec<(u32, f32)>]| top.iter().flatten().map(|x| x.0).collect::<Vec<_>>();
        assert_eq!(ids(&a.top), ids(&b.top));
    }
}

/// The items that are packed for rankings of large batches follow the weights.
#[test]
fn ranking_of_large_batches_follows_the_weights() {
    const ITEMS: usize = 6000;
    let head = Head::new(ITEMS, 40, DType::F32, &Device::Cpu, 3, "head").unwrap();
    let hidden = hidden((32, 40), DType::F32);
    let targets: Vec<u32> = (0..32).map(|b| b * 131).collect();
    let batch = HeadBatch {
        hidden: &hidden,
        targets: &targets,
        loss_weights: &[0.1; 32],
    };
    let check = FiniteCheck::none();
    let mut rankings = Vec::new();
    for t in 1..5 {
        for rows in [32, 8] {
            // Eight rows are ranked without the packed items.
            let (hidden, targets) = (hidden.narrow(0, 0, rows).unwrap(), &targets[..rows]);
            let bias = &head.bias.param;
            let ranking = head.rank(&hidden, Some(targets), 5, bias).unwrap().unwrap();
            rankings.push((ranking.ranks[..8].to_vec(), ranking.top[..8].to_vec()));
        }
        let adam = AdamStep {
            adam: Adam::new(0.05),
            t,
            check: &check,
        };
        if t == 1 {
            let items: Vec<u32> = (0..32).map(|b| b * 77).collect();
            head.chosen_score_step(adam, &hidden, &items, &[-0.5; 32])
                .unwrap();
        } else {
            head.step(adam, &batch, &SingleProcess).unwrap();
        }
    }
    for pair in rankings.chunks_exact(2) {
        assert_eq!(pair[0], pair[1]);
    }
    assert_ne!(rankings[0], rankings[2]);
}

#[test]
fn chosen_score_step_fused_matches_reference() {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
        let q_head = || Head::new(40, 6, dtype, &Device::Cpu, 3, "q_head").unwrap();
        let (fused, plain) = (q_head(), q_head());
        let hidden = hidden((5, 6), dtype);
        let (items, grads) = ([7, 39, 7, 0, 12], [0.5, -1.0, 0.25, 0.0, 2.0]);
        let check = FiniteCheck::none();
        for t in 1..4 {
            let adam = AdamStep {
                adam: Adam::new(0.01),
                t,
                check: &check,
            };
            let a = cpu::chosen_score_step(&fused, adam, &hidden, &items, &grads).unwrap();
            let b = reference::chosen_score_step(&plain, adam, &hidden, &items, &grads).unwrap();
            assert_close(&a, &b, tolerance);
        }
        assert_same_parameters(&fused, &plain, tolerance);
        let a = cpu::scores(&fused, &hidden, &items, &fused.bias.param).unwrap();
        let b = reference::scores(&plain, &hidden, &items, &plain.bias.param).unwrap();
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < tolerance, "{a} and {b}");
        }
    }
}

#[test]
fn best_item_has_the_highest_score() {
    let head = Head::new(40, 6, DType::F64, &Device::Cpu, 3, "q_head").unwrap();
    let hidden = hidden((5, 6), DType::F64);
    let best = head.best(&hidden).unwrap().unwrap();
    for (b, &item) in (0..).zip(&best) {
        let row = hidden.narrow(0, b, 1).unwrap();
        let score = |item: u32| head.scores(&row, &[item], &head.bias.param).unwrap()[0];
        assert!((0..40).all(|other| score(other) <= score(item)), "{b}");
    }
    assert_eq!(best.len(), 5);
}

#[test]
fn step_with_a_nan_loss_updates_nothing() {
    let head = Head::new(20, 4, DType::F64, &Device::Cpu, 3, "head").unwrap();
    let before = flat(&head.weight.param);
    let hidden = Tensor::full(f64::NAN, (1, 4), &Device::Cpu).unwrap();
    let adam = AdamStep {
        adam: Adam::new(0.1),
        t: 1,
        check: &FiniteCheck::none(),
    };
    let batch = HeadBatch {
        hidden: &hidden,
        targets: &[0],
        loss_weights: &[1.0],
    };
    let output = head.step(adam, &batch, &SingleProcess).unwrap();
    assert!(output.ce_loss.unwrap().is_nan());
    assert_eq!(before, flat(&head.weight.param));
}
