//! The similarity head against PyTorch, and its fused path against the reference.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use prl_dataset::{Kind, Windows};
use prl_kernels::ops::adam::Adam;
use prl_nn::Backend;
use prl_testkit::{assert_close, flat, golden, values};

use super::{SimilarityHead, SimilarityOptions};
use crate::finite_check::FiniteCheck;
use crate::head::{HeadBatch, HeadOutput};
use crate::own_items::OwnItems;
use crate::param::{AdamParam, AdamStep};
use crate::process_group::SingleProcess;

/// Adam's decay of the first moment: after one step the moment is (1 - beta) times the gradient.
const BETA: f64 = 0.9;

fn options(own_items: OwnItems, window: usize, is_tied: bool) -> SimilarityOptions {
    SimilarityOptions {
        is_tied,
        temperature: Some(0.25),
        own_items,
        window,
        has_event_biases: false,
        has_item_bias: true,
        label_smoothing: 0.0,
    }
}

/// Learned biases of own items, by their events too, and label smoothing.
fn events_options(window: usize) -> SimilarityOptions {
    SimilarityOptions {
        has_event_biases: true,
        label_smoothing: 0.125,
        ..options(OwnItems::Learned, window, true)
    }
}

fn step(
    head: &SimilarityHead,
    t: u64,
    windows: &Windows,
    (hidden, targets, loss_weights): (&Tensor, &[u32], &[f64]),
    embedding: &Tensor,
) -> HeadOutput {
    let batch = HeadBatch {
        hidden,
        targets,
        loss_weights,
    };
    let check = FiniteCheck::none();
    let adam = AdamStep {
        adam: Adam::new(0.01),
        t,
        check: &check,
    };
    head.step(adam, &batch, windows, embedding, &SingleProcess)
        .unwrap()
}

fn check_golden(mode: &str, shape: SimilarityOptions, backend: Backend) {
    let golden = golden(env!("CARGO_MANIFEST_DIR"), "similarity_head");
    let mut head = SimilarityHead::new(9, 4, DType::F64, &Device::Cpu, 1, shape).unwrap();
    head.backend = backend;
    for param in head.adam_params() {
        param.param.set(&golden[param.name()]).unwrap();
    }
    let mut windows = Windows::new(3);
    let (c, p) = (Kind::Click, Kind::Purchase);
    for (items, kinds) in [
        (&[5, 3, 5][..], &[p, c, c][..]),
        (&[2], &[]),
        (&[], &[]),
        (&[0, 8, 1], &[c, p, p]),
    ] {
        windows.push_events(items, kinds, 9);
    }
    let batch = (
        &golden["hidden"],
        &[5, 4, 7, 6][..],
        &[0.1, 0.2, 0.3, 0.4][..],
    );
    let found = step(&head, 1, &windows, batch, &golden["item_emb.weight"]);
    let expected = |name: &str| flat(&golden[&format!("{mode}.{name}")]);
    assert_close(&[found.ce_loss.unwrap()], &expected("loss"), 1e-12);
    assert_close(&flat(&found.hidden_grad), &expected("grad.hidden"), 1e-12);
    let item_grad = flat(&found.item_grad.unwrap());
    assert_close(&item_grad, &expected("grad.item_emb.weight"), 1e-12);
    for param in head.adam_params() {
        let grad = (param.first.as_tensor() / (1.0 - BETA)).unwrap();
        let expected = expected(&format!("grad.{}", param.name()));
        assert_close(&flat(&grad), &expected, 1e-12);
    }
}

#[test]
fn similarity_head_agrees_with_pytorch() {
    for backend in [Backend::CpuFused, Backend::Reference] {
        check_golden("learned", options(OwnItems::Learned, 3, true), backend);
        check_golden("exclude", options(OwnItems::Exclude, 3, true), backend);
        check_golden("events", events_options(3), backend);
    }
}

/// Weights and both moments, by name.
fn state<'a>(params: impl Iterator<Item = &'a AdamParam>) -> HashMap<String, Vec<f64>> {
    let mut state = HashMap::new();
    for param in params {
        for (part, var) in [
            ("w", &param.param),
            ("m", &param.first),
            ("v", &param.second),
        ] {
            state.insert(format!("{part} {}", param.name()), flat(var));
        }
    }
    state
}

#[test]
fn similarity_head_fused_matches_reference() {
    let (items, width, window) = (150, 6, 4);
    let no_bias = SimilarityOptions {
        has_item_bias: false,
        ..options(OwnItems::Keep, window, true)
    };
    let shapes = [
        options(OwnItems::Keep, window, true),
        options(OwnItems::Exclude, window, false),
        options(OwnItems::Learned, window, true),
        events_options(window),
        no_bias,
    ];
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-4)] {
        for shape in shapes {
            let (own_items, is_tied) = (shape.own_items, shape.is_tied);
            let head = || SimilarityHead::new(items, width, dtype, &Device::Cpu, 1, shape).unwrap();
            let (fused, mut plain) = (head(), head());
            plain.backend = Backend::Reference;
            let embedding = values(&[items + 1, width], "embedding")
                .to_dtype(dtype)
                .unwrap();
            let hidden = values(&[11, width], "hidden").to_dtype(dtype).unwrap();
            let mut windows = Windows::new(window);
            let mut targets = Vec::new();
            for b in 0..11_u32 {
                let history: Vec<u32> = (0..b).map(|t| (b * 31 + t * t * 17) % 150).collect();
                // Every third target is one of the session's own items.
                let own = history.last().filter(|_| b % 3 == 0);
                targets.push(own.copied().unwrap_or(b * 13 % 150));
                let mut kinds = vec![Kind::Click; history.len()];
                if let Some(kind) = kinds.get_mut(b as usize / 2) {
                    *kind = Kind::Purchase;
                }
                windows.push_events(&history, &kinds, 150);
            }
            let weights: Vec<f64> = (0..11).map(|b| 0.01 * f64::from(b)).collect();
            for t in 1..4 {
                let batch = (&hidden, targets.as_slice(), weights.as_slice());
                let a = step(&fused, t, &windows, batch, &embedding);
                let b = step(&plain, t, &windows, batch, &embedding);
                assert_close(&[a.ce_loss.unwrap()], &[b.ce_loss.unwrap()], tolerance);
                assert_close(&flat(&a.hidden_grad), &flat(&b.hidden_grad), tolerance);
                assert_eq!(a.item_grad.is_some(), is_tied);
                if let (Some(a), Some(b)) = (a.item_grad, b.item_grad) {
                    assert_close(&flat(&a), &flat(&b), tolerance);
                }
            }
            let (a, b) = (state(fused.adam_params()), state(plain.adam_params()));
            for (name, a) in &a {
                assert_close(a, &b[name], tolerance);
            }
            let rank = |head: &SimilarityHead| {
                let ranking = head.rank(
                    &hidden,
                    &windows,
                    Some(&targets),
                    20,
                    &embedding,
                    &head.bias.param,
                );
                let ranking = ranking.unwrap().unwrap();
                let mut lists = Vec::new();
                for top in &ranking.top {
                    lists.push(top.iter().map(|&(item, _)| item).collect::<Vec<_>>());
                }
                (ranking.ranks, lists)
            };
            assert_eq!(rank(&fused), rank(&plain));
            let row = hidden.narrow(0, 7, 1).unwrap();
            let one = windows.rows(7..8);
            let all: Vec<u32> = (0..150).collect();
            let a = fused
                .scores(&row, &one, &all, &embedding, &fused.bias.param)
                .unwrap();
            let b = plain
                .scores(&row, &one, &all, &embedding, &plain.bias.param)
                .unwrap();
            for (item, (a, b)) in a.iter().zip(&b).enumerate() {
                assert_eq!(a.is_some(), b.is_some(), "item {item}");
                let is_own = one.items.contains(&(item as u32));
                assert_eq!(a.is_none(), is_own && own_items == OwnItems::Exclude);
                assert_close(&[a.unwrap_or(0.0)], &[b.unwrap_or(0.0)], 1e-4);
            }
        }
    }
}
