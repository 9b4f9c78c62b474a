//! Whole training steps against PyTorch: embedding, GRU, prompt block, heads, losses and Adam together.
#![cfg(feature = "gru")]

use candle_core::{DType, Device, Tensor};
use prl_baselines::Critic;
use prl_core::{PromptBlockConfig, Prompts};
use prl_dataset::{NextStates, Windows};
use prl_kernels::ops::adam::Adam;
use prl_model::{MainNetwork, Model, ModelConfig, ModelSpec, TrainingBatch, Transitions};

fn fill(n: usize, phase: f64, offset: f64) -> Vec<f64> {
    (0..n)
        .map(|i| offset + 0.5 * (0.7 * i as f64 + phase).sin())
        .collect()
}

/// The GRU's kernel from the script's nine parameters: gates z, g, s with W, U, b each, the first at this phase.
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

/// The values of a parameter of `n` elements: the i-th of the script, from 1, has phase i / 10, in a second network 3 more.
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
    };
    let model = Model::new(&shape, &plan, &Device::Cpu).unwrap();
    for (name, var) in model.parameters() {
        let values = values(&prl_nn::format1_name(&name), var.elem_count());
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap())
            .unwrap();
    }
    model
}

/// The script's batch, weighted alike.
fn batch() -> TrainingBatch {
    let windows = Windows {
        window_len: 5,
        items: [[0, 3, 6, 3, 1], [5, 2, 4, 7, 7], [6, 7, 7, 7, 7], [7; 5]].concat(),
        lengths: vec![5, 3, 1, 1],
        time_steps: vec![5, 3, 1, 0],
    };
    let prompts = Prompts {
        returns: vec![0.5, 1.5, 0.8, 1.1],
        steps: windows.time_steps.clone(),
    };
    TrainingBatch {
        windows,
        prompts,
        targets: vec![2, 6, 0, 4],
        loss_weights: vec![0.25; 4],
        transitions: None,
    }
}

const REWARDS: [f64; 4] = [0.2, 1.0, 0.2, 1.0];

fn check(model: &Model, turns: &[MainNetwork], examples: &TrainingBatch, losses: &[f64]) {
    assert_eq!(turns.len(), losses.len());
    for (turn, theirs) in turns.iter().zip(losses) {
        let ours = model
            .step(Adam::new(0.01), *turn, examples, &mut Default::default())
            .unwrap();
        assert!(
            (ours - theirs).abs() < 5e-8,
            "step {}: {ours}, PyTorch has {theirs}",
            turn.step
        );
    }
}

// import math, torch
// import torch.nn.functional as F
// torch.set_default_dtype(torch.float64)
// def fill(shape, phase, scale):  # x[i] = scale * sin(0.7 i + phase), row-major
//     return (scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)).reshape(shape)
//
// N, D, L, B, T = 7, 4, 5, 4, 6
// pad = N  # the last session is empty: it reads the pad row once, and so the pad row learns
// items = torch.tensor([[0, 3, 6, 3, 1], [5, 2, 4, 7, 7], [6, 7, 7, 7, 7], [pad] * L])
// length, target = torch.tensor([5, 3, 1, 1]), torch.tensor([2, 6, 0, 4])
// r, ratio, step = torch.tensor([0.2, 1.0, 0.2, 1.0]), torch.tensor([0.5, 1.5, 0.8, 1.1]), torch.tensor([5, 3, 1, 0])
// VEC, MAT = (D,), (D, D)
// gru = [(k + g, MAT if k in "WU" else VEC) for g in "zgs" for k in "WUb"]
// block = [("e_r", VEC), ("steps", (T, D)), ("gamma_in", VEC), ("beta_in", VEC), ("Wq", MAT), ("bq", VEC), ("Wk", MAT),
//          ("bk", VEC), ("Wv", MAT), ("bv", VEC), ("gamma_out", VEC), ("beta_out", VEC)]
// for method in ["normal", "prl"]:  # the i-th parameter, from 1, has phase i / 10; a gamma is 1 + its fill
//     spec = [("items", (N + 1, D)), ("W", (N, D)), ("b", (N,))] + gru + (block if method == "prl" else [])
//     p = {k: (("gamma" in k) + fill(s, (i + 1) / 10, 0.5)).requires_grad_() for i, (k, s) in enumerate(spec)}
//     adam, losses = torch.optim.Adam(p.values(), lr=0.01), []
//     for _ in range(4):  # three updates, and the loss after the third
//         x, s, last = p["items"][items], torch.zeros(B, D), torch.zeros(B, D)
//         for t in range(L):
//             z, g = (torch.sigmoid(x[:, t] @ p["W" + k] + s @ p["U" + k] + p["b" + k]) for k in "zg")
//             s = (1 - z) * s + z * torch.tanh(x[:, t] @ p["Ws"] + (g * s) @ p["Us"] + p["bs"])
//             last = torch.where((length == t + 1)[:, None], s, last)
//         if method == "prl":
//             P = torch.stack([ratio[:, None] * p["e_r"], last, p["steps"][step]], 1)
//             n = F.layer_norm(P, VEC, p["gamma_in"], p["beta_in"], 1e-8)
//             q, k, v = n @ p["Wq"] + p["bq"], P @ p["Wk"] + p["bk"], P @ p["Wv"] + p["bv"]
//             n = n + torch.softmax(q @ k.mT / math.sqrt(D), -1) @ v
//             last = F.layer_norm(n[:, 1], VEC, p["gamma_out"], p["beta_out"], 1e-8)
//         ce = F.cross_entropy(last @ p["W"].T + p["b"], target, reduction="none")
//         loss = (r * ce if method == "prl" else ce).mean()
//         adam.zero_grad(); loss.backward(); adam.step(); losses.append(float(f"{loss.item():.8g}"))
//     print(method, losses)
#[test]
fn gru_under_normal_training_agrees_with_pytorch() {
    check(
        &model(None, false),
        &[1, 2, 3, 4].map(MainNetwork::single),
        &batch(),
        &[2.1610458, 2.1192337, 2.0786896, 2.0394172],
    );
}

#[test]
fn gru_under_prl_agrees_with_pytorch() {
    let block = PromptBlockConfig {
        dropout: 0.0,
        steps: 6,
        ..PromptBlockConfig::default()
    };
    let examples = TrainingBatch {
        loss_weights: REWARDS.map(|r| r / 4.0).into(),
        ..batch()
    };
    let losses = [2.4655759, 2.3436194, 2.2247992, 2.1113385];
    check(
        &model(Some(block), false),
        &[1, 2, 3, 4].map(MainNetwork::single),
        &examples,
        &losses,
    );
}

// import math, torch
// import torch.nn.functional as F
// torch.set_default_dtype(torch.float64)
// def fill(shape, phase, scale):  # x[i] = scale * sin(0.7 i + phase), row-major
//     return (scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)).reshape(shape)
//
// N, D, L, B, gamma = 7, 4, 5, 4, 0.5
// pad = N
// items = torch.tensor([[0, 3, 6, 3, 1], [5, 2, 4, 7, 7], [6, 7, 7, 7, 7], [pad] * L])
// length, action = torch.tensor([5, 3, 1, 1]), torch.tensor([2, 6, 0, 4])
// after = torch.tensor([[3, 6, 3, 1, 2], [5, 2, 4, 6, 7], [6, 0, 7, 7, 7], [4, 7, 7, 7, 7]])  # the action pushed in
// length2, end = torch.tensor([5, 4, 2, 1]), torch.tensor([0.0, 1.0, 0.0, 0.0])
// r = torch.tensor([0.2, 1.0, 0.2, 1.0])
// VEC, MAT = (D,), (D, D)
// gru = [(k + g, MAT if k in "WU" else VEC) for g in "zgs" for k in "WUb"]
// spec = [("items", (N + 1, D)), ("W", (N, D)), ("b", (N,))] + gru + [("V", (N, D)), ("c", (N,))]
//
// def state(p, items, length):
//     x, s, last = p["items"][items], torch.zeros(B, D), torch.zeros(B, D)
//     for t in range(L):
//         z, g = (torch.sigmoid(x[:, t] @ p["W" + k] + s @ p["U" + k] + p["b" + k]) for k in "zg")
//         s = (1 - z) * s + z * torch.tanh(x[:, t] @ p["Ws"] + (g * s) @ p["Us"] + p["bs"])
//         last = torch.where((length == t + 1)[:, None], s, last)
//     return last
//
// for method in ["sqn", "sac"]:  # the i-th parameter, from 1, of network n has phase i / 10 + 3 n
//     nets = [{k: fill(s, (i + 1) / 10 + 3 * n, 0.5).requires_grad_() for i, (k, s) in enumerate(spec)} for n in (0, 1)]
//     adams, losses = [torch.optim.Adam(p.values(), lr=0.01) for p in nets], []
//     for main in [0, 1, 0, 1]:
//         p, other = nets[main], nets[1 - main]
//         s, q = state(p, items, length), lambda p, s: s @ p["V"].T + p["c"]
//         with torch.no_grad():
//             best = q(p, state(p, after, length2)).argmax(1, keepdim=True)
//             target = r + gamma * (1 - end) * q(other, state(other, after, length2)).gather(1, best)[:, 0]
//         value = q(p, s).gather(1, action[:, None])[:, 0]
//         ce = F.cross_entropy(s @ p["W"].T + p["b"], action, reduction="none")
//         loss = ((value.detach() * ce if method == "sac" else ce) + 0.5 * (target - value) ** 2).mean()
//         adams[main].zero_grad(); loss.backward(); adams[main].step(); losses.append(float(f"{loss.item():.8g}"))
//     print(method, losses)
fn check_double(critic: Option<Critic>, losses: &[f64]) {
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
    check(
        &model(None, true),
        &turns,
        &TrainingBatch {
            transitions: Some(transitions),
            ..batch()
        },
        losses,
    );
}

#[test]
fn gru_under_sqn_agrees_with_pytorch() {
    check_double(None, &[2.6890164, 2.1723265, 2.6216688, 2.1325893]);
}

#[test]
fn gru_under_sac_agrees_with_pytorch() {
    check_double(
        Some(Critic { warm_up: 0 }),
        &[0.63998591, 0.36785168, 0.61897504, 0.41612543],
    );
}
