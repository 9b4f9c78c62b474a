//! The fused head and Adam against numbers from PyTorch.

use prl_kernels::ops::adam::{Adam, AdamSlices, update, update_rows};
use prl_kernels::ops::rank::rank;
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, backward, softmax};
use prl_kernels::simd::bf16::Bf16Pair;

fn fill(n: usize, phase: f64, scale: f64) -> Vec<f64> {
    (0..n)
        .map(|i| scale * (0.7 * i as f64 + phase).sin())
        .collect()
}

fn assert_close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len());
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < 5e-8, "{what}[{i}]: {a}, PyTorch has {b}");
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
// B, D, N = 5, 4, 7
// target = torch.tensor([2, 0, 6, 5, 3])
// r = torch.tensor([0.2, 1.0, 0.2, 1.0, 0.0])  # a weight of zero counts in the mean, but pulls at nothing
// H, W, b = fill((B, D), 0.1, 1.0), fill((N, D), 0.2, 0.8), fill((N,), 0.3, 0.5)
// W[5], b[5] = W[2].clone(), b[2].clone()  # items 2 and 5 always tie
// for t in (H, W, b):
//     t.requires_grad_()
// logits = H @ W.T + b
// ce = torch.nn.functional.cross_entropy(logits, target, reduction="none")
// loss = (r * ce).mean()
// loss.backward()
// show("logits", logits)
// show("ce", ce)
// show("loss", loss)
// for name, t in [("dH", H), ("dW", W), ("db", b)]:
//     show(name, t.grad)
// tied = logits[:, [2, 5]].mean(1, keepdim=True).detach()  # exact, however the product was summed
// scores = logits.detach().index_copy(1, torch.tensor([2, 5]), tied.expand(B, 2))
// rank = (scores >= scores.gather(1, target[:, None])).sum(1)  # the target itself is the 1 in 1 + others
// optimistic = 1 + (scores > scores.gather(1, target[:, None])).sum(1)
// print("rank", rank.tolist(), "without ties", optimistic.tolist())
// print("every rank", [(row >= row[:, None]).sum(1).tolist() for row in scores])
#[test]
fn the_weighted_cross_entropy_agrees_with_pytorch() {
    const CE: &[f64] = &[1.2348482, 4.0864137, 3.3389664, 3.2733201, 3.7421743];
    const DH: &[f64] = &[
        0.006417618,
        0.0031887036,
        -0.0015399079,
        -0.0055442767,
        0.0021965631,
        -0.16961718,
        -0.26165732,
        -0.23063593,
        0.017640318,
        0.034356763,
        0.034914684,
        0.019051684,
        0.12712515,
        -0.051136133,
        -0.20534729,
        -0.26298041,
        0.0,
        0.0,
        0.0,
        0.0,
    ];
    const DW: &[f64] = &[
        -0.041339009,
        0.098638733,
        0.19222514,
        0.19540506,
        0.081495105,
        -0.030036241,
        -0.12744107,
        -0.16490838,
        -0.0025703113,
        -0.019357369,
        -0.027040354,
        -0.022005838,
        0.090882967,
        -0.0068957864,
        -0.10143134,
        -0.14826216,
        0.0022336303,
        0.00081484593,
        -0.00098717323,
        -0.0023249094,
        -0.1582744,
        -0.035241108,
        0.10436662,
        0.1948891,
        0.027572015,
        -0.007923074,
        -0.039691818,
        -0.052792879,
    ];
    const DB: &[f64] = &[
        -0.16805016,
        0.17695379,
        -0.0032382373,
        0.16127491,
        0.018895749,
        -0.16323824,
        -0.022597825,
    ];
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
    assert_close("ce", &swept.cross_entropy().collect::<Vec<_>>(), CE);
    let ranks = rank(linear, &hidden, 4, Some(&targets), 1).unwrap().ranks;
    assert_eq!(ranks, [3, 7, 5, 5, 7]);
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
    assert_close("dH", &dh, DH);
    assert_close("dW", &dw, DW);
    assert_close("db", &db, DB);
}

// import torch
// torch.set_default_dtype(torch.float64)
//
// def fill(shape, phase, scale):  # x[i] = scale * sin(0.7 i + phase), row-major, in single precision
//     n = torch.Size(shape).numel()
//     return (scale * torch.sin(0.7 * torch.arange(n) + phase)).reshape(shape).float()
//
// B, D, N = 5, 3, 7
// target = torch.tensor([2, 0, 6, 5, 3])
// r = torch.tensor([0.2, 1.0, 0.2, 1.0, 0.0])
// H, W, b = fill((B, D), 0.1, 1.0), fill((N, D), 0.2, 1.0), fill((N,), 0.3, 0.5)
// for t in (H, W, b):
//     t.requires_grad_()
// logits = H.bfloat16().double() @ W.bfloat16().double().T + b.double()
// ce = torch.nn.functional.cross_entropy(logits, target, reduction="none")
// (r * ce).mean().backward()
// for name, t in [("CE", ce), ("DH", H.grad), ("DW", W.grad), ("DB", b.grad)]:
//     print(name, [float(f"{v:.5g}") if name != "CE" else float(f"{v:.8g}") for v in t.detach().flatten().tolist()])
#[test]
fn the_head_on_rounded_numbers_agrees_with_pytorch() {
    const CE: &[f64] = &[3.6166868, 2.257407, 5.0173359, 4.4411279, 2.0745023];
    const DH: &[f64] = &[
        0.046875, 0.063477, 0.050293, 0.041504, -0.11475, -0.2168, -0.040527, -0.063477, -0.056396,
        0.23535, 0.31641, 0.24902, 0.0, 0.0, 0.0,
    ];
    const DW: &[f64] = &[
        -0.13672, 0.011475, 0.1543, 0.058594, 0.026001, -0.018799, -0.013855, -0.044189, -0.053711,
        0.03064, 0.072266, 0.080078, 0.038818, 0.01709, -0.012695, -0.02771, -0.15332, -0.20605,
        0.050293, 0.070312, 0.057129,
    ];
    const DB: &[f64] = &[
        -0.10329, 0.088421, 0.0057099, 0.11802, 0.05867, -0.17963, 0.012101,
    ];
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
    // Scores are the same numbers; PyTorch rounds gradients at their end, we what they are made of: eight bits in either.
    for (ours, theirs) in swept.cross_entropy().zip(CE) {
        assert!((ours - theirs).abs() < 2e-6, "{ours}, PyTorch has {theirs}");
    }
    for (what, ours, theirs) in [("dH", dh, DH), ("dW", dw, DW), ("db", db, DB)] {
        assert_eq!(ours.len(), theirs.len());
        for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!(
                (f64::from(*a) - b).abs() < 1e-3 + b.abs() / 128.0,
                "{what}[{i}]: {a}, PyTorch has {b}"
            );
        }
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
// p = fill((3, 4), 0.5, 1.0).requires_grad_()
// adam = torch.optim.Adam([p], lr=0.01, betas=(0.9, 0.999), eps=1e-8)
// show("before", p)
// for k in range(5):
//     p.grad = fill((3, 4), float(k), 1.0)
//     if k > 0:
//         p.grad[1] = 0  # row 1 is touched in the first step only, and moves in all five
//     adam.factors()
//     if k in (0, 4):
//         show(f"after {k + 1}", p)
// show("m", adam.state[p]["exp_avg"])
// show("v", adam.state[p]["exp_avg_sq"])
#[test]
fn adam_agrees_with_pytorch_touched_or_not() {
    const ONE: &[f64] = &[
        0.47942554,
        0.92203909,
        0.93630009,
        0.50550137,
        -0.16774569,
        -0.7468025,
        -0.98992326,
        -0.76276449,
        -0.1721625,
        0.48411336,
        0.92799998,
        0.93073056,
    ];
    const FIVE: &[f64] = &[
        0.4530392,
        0.89793141,
        0.92242923,
        0.50663149,
        -0.18745476,
        -0.72709343,
        -0.97021419,
        -0.74305542,
        -0.18335341,
        0.45760186,
        0.90407544,
        0.9171633,
    ];
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
            0 => assert_close("after 1", &whole, ONE),
            4 => assert_close("after 5", &whole, FIVE),
            _ => {}
        }
    }
}
