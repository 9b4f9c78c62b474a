//! Full training steps compared with PyTorch: embedding, GRU, prompt block, heads, losses and Adam.
#![cfg(feature = "gru")]

use candle_core::{DType, Device, Tensor};
use prl_baselines::Critic;
use prl_core::{PromptBlockConfig, Prompts};
use prl_dataset::{Kind, NextStates, Windows};
use prl_kernels::ops::adam::Adam;
use prl_model::{MainNetwork, Model, ModelConfig, ModelSpec, TrainingBatch, Transitions};
use prl_testkit::{assert_close, flat, golden};

fn fill(n: usize, phase: f64, offset: f64) -> Vec<f64> {
    (0..n)
        .map(|i| offset + 0.5 * (0.7 * i as f64 + phase).sin())
        .collect()
}

/// The packed GRU kernel from the script's nine parameters: W, U and b for each of the gates z, g
/// and s, starting at phase `phase`.
fn gru_kernel(phase: f64) -> Vec<f64> {
    let part = |rows: usize, which: usize| {
        let gates: Vec<Vec<f64>> = (0..3)
            .map(|gate| fill(rows * 4, phase + (3 * gate + which) as f64 / 10.0, 0.0))
            .collect();
        (0..rows)
            .flat_map(|r| {
                gates
                    .iter()
                    .flat_map(|g| g[4 * r..][..4].to_vec())
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    [part(4, 0), part(4, 1), part(1, 2)].concat()
}

/// The parameters of the prompt block in the script's order.
const BLOCK: [&str; 12] = [
    "reward",
    "step",
    "norm_in.scale",
    "norm_in.shift",
    "query.weight",
    "query.bias",
    "key.weight",
    "key.bias",
    "value.weight",
    "value.bias",
    "norm_out.scale",
    "norm_out.shift",
];

/// The values of a parameter of `n` elements. The script's i-th parameter, from 1, has phase i /
/// 10; a second network adds 3.
fn values(name: &str, n: usize) -> Vec<f64> {
    let (name, offset) = name
        .strip_prefix("second.")
        .map_or((name, 0.0), |name| (name, 3.0));
    let at = |i: usize| i as f64 / 10.0 + offset;
    match name {
        "embedding.weight" => fill(n, at(1), 0.0),
        "head.weight" => fill(n, at(2), 0.0),
        "head.bias" => fill(n, at(3), 0.0),
        "encoder.kernel" => gru_kernel(at(4)),
        "critic.weight" => fill(n, at(13), 0.0),
        "critic.bias" => fill(n, at(14), 0.0),
        _ => {
            let i = BLOCK
                .iter()
                .position(|b| name == format!("prompt.{b}"))
                .unwrap();
            fill(
                n,
                at(13 + i),
                if name.ends_with(".scale") { 1.0 } else { 0.0 },
            )
        }
    }
}

fn model(block: Option<PromptBlockConfig>, is_double: bool) -> Model {
    let shape = ModelConfig {
        dim: 4,
        window: 5,
        ..ModelConfig::default()
    };
    let plan = ModelSpec {
        dim: 4,
        items: 7,
        block,
        is_double,
        seed: 0,
        dtype: DType::F64,
        options: prl_model::NetworkOptions::default(),
    };
    let model = Model::new(&shape, &plan, &Device::Cpu).unwrap();
    for (name, var) in model.parameters() {
        let values = values(&prl_nn::format1_name(&name), var.elem_count());
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap())
            .unwrap();
    }
    model
}

/// The script's batch with uniform loss weights.
fn batch() -> TrainingBatch {
    let windows = Windows {
        window_len: 5,
        items: [[0, 3, 6, 3, 1], [5, 2, 4, 7, 7], [6, 7, 7, 7, 7], [7; 5]].concat(),
        lengths: vec![5, 3, 1, 1],
        kinds: vec![Kind::Click; 20],
        time_steps: vec![5, 3, 1, 0],
    };
    let prompts = Prompts {
        returns: vec![0.5, 1.5, 0.8, 1.1],
        steps: windows.time_steps.clone(),
        tilt: 0.0,
    };
    TrainingBatch {
        windows,
        prompts,
        targets: vec![2, 6, 0, 4],
        loss_weights: vec![0.25; 4],
        transitions: None,
        sequences: None,
    }
}

const REWARDS: [f64; 4] = [0.2, 1.0, 0.2, 1.0];

/// Compares the losses of the steps with the golden losses of a method, from
/// `golden/training_step.py`.
fn check(method: &str, model: &Model, turns: &[MainNetwork], batch: &TrainingBatch) {
    let golden = golden(env!("CARGO_MANIFEST_DIR"), "training_step");
    let mut losses = Vec::new();
    for turn in turns {
        let loss = model.step(Adam::new(0.01), *turn, batch, &mut Default::default());
        losses.push(loss.unwrap());
    }
    assert_close(&losses, &flat(&golden[method]), 1e-12);
}

#[test]
fn normal_training_steps_match_pytorch() {
    let turns = [1, 2, 3, 4].map(MainNetwork::single);
    check("normal", &model(None, false), &turns, &batch());
}

#[test]
fn prl_training_steps_match_pytorch() {
    let block = PromptBlockConfig {
        dropout: 0.0,
        steps: 6,
        ..PromptBlockConfig::default()
    };
    let batch = TrainingBatch {
        loss_weights: REWARDS.map(|r| r / 4.0).into(),
        ..batch()
    };
    let turns = [1, 2, 3, 4].map(MainNetwork::single);
    check("prl", &model(Some(block), false), &turns, &batch);
}

fn check_double(method: &str, critic: Option<Critic>) {
    let windows = Windows {
        window_len: 5,
        items: [
            [3, 6, 3, 1, 2],
            [5, 2, 4, 6, 7],
            [6, 0, 7, 7, 7],
            [4, 7, 7, 7, 7],
        ]
        .concat(),
        lengths: vec![5, 4, 2, 1],
        kinds: vec![Kind::Click; 20],
        time_steps: vec![6, 4, 2, 1],
    };
    let next = NextStates {
        windows,
        done: vec![false, true, false, false],
    };
    let transitions = Transitions {
        rewards: REWARDS.into(),
        next,
        gamma: 0.5,
        critic,
    };
    let turn = |step, main, optimizer_step| MainNetwork {
        step,
        main,
        optimizer_step,
    };
    let turns = [turn(1, 0, 1), turn(2, 1, 1), turn(3, 0, 2), turn(4, 1, 2)];
    let batch = TrainingBatch {
        transitions: Some(transitions),
        ..batch()
    };
    check(method, &model(None, true), &turns, &batch);
}

#[test]
fn sqn_training_steps_match_pytorch() {
    check_double("sqn", None);
}

#[test]
fn sac_training_steps_match_pytorch() {
    check_double("sac", Some(Critic { warm_up: 0 }));
}
