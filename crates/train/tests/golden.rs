//! Whole training steps against PyTorch: embedding, GRU, prompt block, head, weighted loss and Adam together.

use candle_core::{DType, Device, Tensor};
use prl_core::{BlockConfig, Prompts};
use prl_kernels::adam::Adam;
use prl_sessions::Windows;
use prl_train::{Examples, Model, ModelConfig};

fn fill(n: usize, phase: f64, offset: f64) -> Vec<f64> {
    (0..n).map(|i| offset + 0.5 * (0.7 * i as f64 + phase).sin()).collect()
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
fn check(block: Option<BlockConfig>, losses: &[f64]) {
    let shape = ModelConfig { dim: 4, window: 5, ..ModelConfig::default() };
    let model = Model::new(&shape, block, 7, 0, DType::F64, &Device::Cpu).unwrap();
    // The parameters in the script's order: the i-th, from 1, has phase i / 10.
    let at = |i: usize| (i + 1) as f64 / 10.0;
    let gates: Vec<[Vec<f64>; 3]> = (0..3)
        .map(|g| {
            [16, 16, 4]
                .map(|n| n)
                .iter()
                .enumerate()
                .map(|(j, &n)| fill(n, at(3 + 3 * g + j), 0.0))
                .collect::<Vec<_>>()
                .try_into()
                .unwrap()
        })
        .collect();
    let rows = |part: usize| {
        (0..gates[0][part].len() / 4)
            .flat_map(|r| gates.iter().flat_map(|g| g[part][r * 4..][..4].to_vec()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let block_order = [
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
    for (name, var) in model.parameters() {
        let values = match name {
            "embedding.weight" => fill(32, at(0), 0.0),
            "head.weight" => fill(28, at(1), 0.0),
            "head.bias" => fill(7, at(2), 0.0),
            "encoder.kernel" => [rows(0), rows(1), rows(2)].concat(),
            _ => {
                let i = block_order.iter().position(|b| name == format!("prompt.{b}")).unwrap();
                fill(var.elem_count(), at(12 + i), if name.ends_with(".scale") { 1.0 } else { 0.0 })
            }
        };
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    let windows = Windows {
        width: 5,
        items: [[0, 3, 6, 3, 1], [5, 2, 4, 7, 7], [6, 7, 7, 7, 7], [7; 5]].concat(),
        lengths: vec![5, 3, 1, 1],
        steps: vec![5, 3, 1, 0],
    };
    let prompts = Prompts { returns: vec![0.5, 1.5, 0.8, 1.1], steps: windows.steps.clone() };
    let scale = [0.2, 1.0, 0.2, 1.0].map(|r| if block.is_some() { r } else { 1.0 } / 4.0);
    let examples = Examples { windows, prompts, targets: vec![2, 6, 0, 4], scale: scale.into() };
    for (t, theirs) in (1..).zip(losses) {
        let ours = model.step(Adam::new(0.01), t, &examples, 0, &mut Default::default()).unwrap();
        assert!((ours - theirs).abs() < 5e-8, "step {t}: {ours}, PyTorch has {theirs}");
    }
}

#[test]
fn gru_under_normal_training_agrees_with_pytorch() {
    check(None, &[2.1610458, 2.1192337, 2.0786896, 2.0394172]);
}

#[test]
fn gru_under_prl_agrees_with_pytorch() {
    check(
        Some(BlockConfig { dropout: 0.0, steps: 6, ..BlockConfig::default() }),
        &[2.4655759, 2.3436194, 2.2247992, 2.1113385],
    );
}
