//! The GRU against PyTorch (`tests/golden/gru.py`) and finite differences.

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

#[test]
fn gru_matches_pytorch() {
    let golden = prl_testkit::golden(env!("CARGO_MANIFEST_DIR"), "gru");
    let expected = |name: &str| prl_testkit::flat(&golden[name]);
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
        assert_close("state", &state, &expected("state"));
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
        assert_close("dx", grads.get(&x).unwrap(), &expected("grad.x"));
        assert_close(
            "dkernel",
            grads.get(&kernel).unwrap(),
            &expected("grad.kernel"),
        );
    }
}

#[test]
fn gru_gradients_of_several_blocks_match_finite_differences() {
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
fn gru_state_ignores_padding() {
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
