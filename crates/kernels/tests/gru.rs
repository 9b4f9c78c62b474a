//! The GRU against PyTorch's autograd and against finite differences.

use candle_core::{DType, Device, Tensor, Var};
use prl_kernels::ops::gru::gru;

fn fill(n: usize, phase: f64, scale: f64) -> Vec<f64> {
    (0..n)
        .map(|i| scale * (0.7 * i as f64 + phase).sin())
        .collect()
}

/// `[i + d + 1, 3 d]` out of nine arrays filled as in the script.
fn kernel(input: usize, d: usize) -> Vec<f64> {
    let gates: Vec<[Vec<f64>; 3]> = (0..3)
        .map(|gate| {
            let phase = |j: usize| 0.1 * (3 * gate + j + 1) as f64;
            [
                fill(input * d, phase(0), 0.5),
                fill(d * d, phase(1), 0.5),
                fill(d, phase(2), 0.5),
            ]
        })
        .collect();
    let rows = |part: usize, rows: usize| -> Vec<f64> {
        (0..rows)
            .flat_map(|r| {
                gates
                    .iter()
                    .flat_map(move |g| g[part][r * d..][..d].to_vec())
            })
            .collect()
    };
    [rows(0, input), rows(1, d), rows(2, 1)].concat()
}

fn assert_close(what: &str, ours: &Tensor, theirs: &[f64]) {
    let ours = ours
        .to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < 1e-6, "{what}[{i}]: {a}, PyTorch has {b}");
    }
}

// import torch
// torch.set_default_dtype(torch.float64)
//
// def fill(shape, phase, scale):  # x[i] = scale * sin(0.7 i + phase), row-major
//     n = torch.Size(shape).numel()
//     return (scale * torch.sin(0.7 * torch.arange(n) + phase)).reshape(shape)
//
// def show(name, t):
//     print(name, list(t.shape), [float(f"{v:.8g}") for v in t.detach().flatten().tolist()])
//
// B, L, D_IN, D = 3, 5, 3, 4
// lengths = torch.tensor([5, 2, 1])
// p = {}
// for i, gate in enumerate("zgs"):  # update, reset, candidate
//     for j, (k, s) in enumerate([("W", (D_IN, D)), ("U", (D, D)), ("b", (D,))]):
//         p[k + gate] = fill(s, 0.1 * (3 * i + j + 1), 0.5).requires_grad_()
// x = fill((B, L, D_IN), 1.0, 1.0).requires_grad_()
//
// s, states = torch.zeros(B, D), []
// for t in range(L):
//     z = torch.sigmoid(x[:, t] @ p["Wz"] + s @ p["Uz"] + p["bz"])
//     g = torch.sigmoid(x[:, t] @ p["Wg"] + s @ p["Ug"] + p["bg"])
//     c = torch.tanh(x[:, t] @ p["Ws"] + (g * s) @ p["Us"] + p["bs"])
//     s = (1 - z) * s + z * c
//     states.append(s)
// last = torch.stack(states, 1)[torch.arange(B), lengths - 1]
// (last * fill((B, D), 2.0, 1.0)).sum().backward()
//
// show("state", last)
// for name, w in p.items():
//     show("d" + name, w.grad)
// show("dx", x.grad)
// padded = torch.arange(L)[None] >= lengths[:, None]
// print("largest |dx| at positions >= length:", x.grad[padded].abs().max().item())
#[test]
fn the_gru_agrees_with_pytorch() {
    const STATE: &[f64] = &[
        0.45007348,
        0.49538038,
        0.32480124,
        -0.0054622052,
        0.29023723,
        0.45297409,
        0.41215699,
        0.14716581,
        0.26765035,
        0.26553123,
        0.12026821,
        -0.078653192,
    ];
    const DX: &[f64] = &[
        0.0067795681,
        -0.0020362106,
        -0.0029424419,
        0.015616322,
        -0.003482813,
        -0.0090531539,
        0.02543801,
        -0.0043589542,
        -0.017223802,
        0.028545411,
        0.035952232,
        -0.096295404,
        0.12504303,
        0.021619753,
        -0.16578426,
        -0.13646216,
        0.072256417,
        0.000298937,
        -0.26043651,
        0.10653722,
        0.059673003,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.50186316,
        -0.37244458,
        0.19998806,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    ];
    const DKERNEL: &[f64] = &[
        -0.020235946,
        -0.04415341,
        -0.010533725,
        0.003355758,
        -0.0043647612,
        0.0067940539,
        -0.0042064879,
        0.00034761445,
        0.013762568,
        -0.1568384,
        -0.060006408,
        0.1300142,
        -0.13710607,
        -0.11225448,
        -0.037143372,
        -0.038690497,
        -0.011941025,
        0.0069490391,
        0.0059967435,
        -0.0071831851,
        -0.70273843,
        -0.65052691,
        -0.14755451,
        0.55669274,
        -0.18949307,
        -0.12756051,
        -0.04628391,
        -0.062540006,
        -0.013901238,
        0.0038357826,
        0.013379613,
        -0.011335621,
        -1.0887306,
        -0.83826245,
        -0.16570542,
        0.72154998,
        0.0045061685,
        -0.0071808661,
        0.0023371468,
        0.022844536,
        0.0070239771,
        0.00043904758,
        -0.0085223931,
        0.0049888645,
        0.14646479,
        0.053924012,
        -0.067797407,
        -0.11519798,
        0.0020211067,
        -0.014041876,
        0.0032769933,
        0.032259184,
        0.009094834,
        0.0010193513,
        -0.011702684,
        0.0067264747,
        0.19257589,
        0.064926541,
        -0.099265105,
        -0.15179922,
        -0.00043614743,
        -0.014619845,
        0.0029963302,
        0.028480152,
        0.0073796457,
        0.0011813318,
        -0.010064102,
        0.0057335107,
        0.14191154,
        0.043880382,
        -0.080616828,
        -0.11410767,
        -0.0024309143,
        -0.0075147049,
        0.0010381805,
        0.0099789901,
        0.0018939718,
        0.00075913448,
        -0.0033070829,
        0.0018267894,
        0.023488238,
        0.0039791395,
        -0.020680328,
        -0.024245335,
        0.033570238,
        0.0068374573,
        0.015571142,
        0.079091735,
        0.014971026,
        0.0055258251,
        -0.023358791,
        0.011161918,
        0.54052321,
        0.40869969,
        -0.13345681,
        -0.31467817,
    ];
    for dtype in [DType::F64, DType::F32] {
        let var = |v: Vec<f64>, shape: &[usize]| {
            Var::from_tensor(
                &Tensor::from_vec(v, shape, &Device::Cpu)
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap(),
            )
            .unwrap()
        };
        let (x, kernel) = (
            var(fill(45, 1.0, 1.0), &[3, 5, 3]),
            var(kernel(3, 4), &[8, 12]),
        );
        let state = gru(x.as_tensor(), kernel.as_tensor(), &[5, 2, 1]).unwrap();
        assert_close("state", &state, STATE);
        let weights = Tensor::from_vec(fill(12, 2.0, 1.0), (3, 4), &Device::Cpu)
            .unwrap()
            .to_dtype(dtype)
            .unwrap();
        let grads = (state * weights)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        assert_close("dx", grads.get(&x).unwrap(), DX);
        assert_close("dkernel", grads.get(&kernel).unwrap(), DKERNEL);
    }
}

#[test]
fn gradients_agree_with_finite_differences_past_one_block() {
    let (batch, length, input, d) = (70, 4, 5, 19);
    let lengths: Vec<u32> = (0..batch).map(|b| 1 + (b % length) as u32).collect();
    let arrays = [
        fill(batch * length * input, 0.4, 1.0),
        fill((input + d + 1) * 3 * d, 0.9, 0.3),
    ];
    let shapes: [&[usize]; 2] = [&[batch, length, input], &[input + d + 1, 3 * d]];
    let weights = Tensor::from_vec(fill(batch * d, 2.0, 1.0), (batch, d), &Device::Cpu).unwrap();
    let loss = |x: &Tensor, k: &Tensor| {
        (gru(x, k, &lengths).unwrap() * &weights)
            .unwrap()
            .sum_all()
            .unwrap()
    };
    let vars: Vec<Var> = arrays
        .iter()
        .zip(shapes)
        .map(|(a, s)| Var::from_slice(a, s, &Device::Cpu).unwrap())
        .collect();
    let grads = loss(&vars[0], &vars[1]).backward().unwrap();
    for which in 0..2 {
        let grad = grads
            .get(&vars[which])
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f64>()
            .unwrap();
        for i in (0..grad.len()).step_by(41) {
            let at = |delta: f64| {
                let mut moved = arrays.clone();
                moved[which][i] += delta;
                let t: Vec<Tensor> = moved
                    .iter()
                    .zip(shapes)
                    .map(|(a, s)| Tensor::from_slice(a, s, &Device::Cpu).unwrap())
                    .collect();
                loss(&t[0], &t[1]).to_scalar::<f64>().unwrap()
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!(
                (numeric - grad[i]).abs() < 1e-7,
                "array {which}, element {i}: {numeric} and {}",
                grad[i]
            );
        }
    }
}

#[test]
fn what_stands_in_pad_positions_changes_nothing() {
    let kernel = Tensor::from_vec(kernel(3, 4), (8, 12), &Device::Cpu).unwrap();
    let state = |pad: f64| {
        let mut x = fill(30, 1.0, 1.0);
        x[6..15].fill(pad);
        gru(
            &Tensor::from_vec(x, (2, 5, 3), &Device::Cpu).unwrap(),
            &kernel,
            &[2, 5],
        )
        .unwrap()
        .to_vec2::<f64>()
        .unwrap()
    };
    assert_eq!(state(0.0), state(1e9));
}
