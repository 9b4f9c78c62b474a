//! The output layer's step by tensor cores, compared with fp32.

use candle_core::{DType, Device, Tensor};
use prl_kernels::cuda::FiniteCheck;
use prl_kernels::ops::adam::Adam;
use prl_kernels::ops::softmax_head::cuda::{CudaOutputLayer, LossScales, Precision};

use super::{flat, values};

/// Results of one step: the loss, the gradient of the hidden vectors, and Adam's first moments,
/// a tenth of the gradients of weight and bias.
struct Step {
    loss: f64,
    grads: [Vec<f64>; 3],
}

fn step(precision: Precision, [batch, width, items]: [usize; 3]) -> Step {
    let gpu = prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`");
    let on_gpu = |t: Tensor| t.to_dtype(DType::F32).unwrap().to_device(&gpu).unwrap();
    let weight = on_gpu(values(&[items, width], 1));
    let bias = on_gpu(values(&[items], 2));
    let hidden = on_gpu((values(&[batch, width], 3) / (width as f64).sqrt()).unwrap());
    let zeros = |t: &Tensor| t.zeros_like().unwrap();
    let (first, second) = (zeros(&weight), zeros(&weight));
    let (bias_first, bias_second) = (zeros(&bias), zeros(&bias));
    let targets: Vec<u32> = (0..batch).map(|i| (i * 37 % items) as u32).collect();
    let scales: Vec<f64> = (0..batch).map(|i| 0.1 + (i % 4) as f64 * 0.3).collect();
    let layer = CudaOutputLayer {
        weight: &weight,
        bias: &bias,
        precision,
    };
    let check = FiniteCheck::new(&gpu, batch).unwrap();
    let losses = layer
        .losses(&hidden, &targets, LossScales::Host(&scales), &check)
        .unwrap();
    let (moments, bias_moments) = ([&first, &second], [&bias_first, &bias_second]);
    let factors = Adam::new(0.1).factors(1);
    let gradient = layer
        .step(factors, moments, bias_moments, &hidden, losses, &check)
        .unwrap();
    Step {
        loss: check.read().unwrap().loss,
        grads: [&gradient, &first, &bias_first].map(flat),
    }
}

/// Norm of the difference relative to the norm.
fn distance(x: &[f64], y: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let apart = norm(&mut x.iter().zip(y).map(|(x, y)| x - y));
    apart / norm(&mut y.iter().copied()).max(f64::MIN_POSITIVE)
}

#[test]
fn tensor_cores_match_fp32_within_their_rounding() {
    let sizes = [
        [2, 16, 40],
        [5, 33, 2400],
        [33, 64, 97],
        [64, 7, 1030],
        [65, 65, 131],
        [256, 64, 290],
        [300, 130, 227],
    ];
    // Half a unit in the last of 8 and of 11 bits, with room for the roundings of both factors and
    // of the gradients.
    for (precision, unit) in [
        (Precision::Bf16, 1.0 / 512.0),
        (Precision::Tf32, 1.0 / 4096.0),
    ] {
        for size in sizes {
            let (exact, rounded) = (step(Precision::Fp32, size), step(precision, size));
            let name = format!("{precision:?}, {size:?}");
            let loss = (rounded.loss - exact.loss).abs() / exact.loss.abs();
            assert!(loss < 6.0 * unit, "{name}: losses are {loss} apart");
            for (what, (x, y)) in ["hidden", "weight", "bias"]
                .iter()
                .zip(rounded.grads.iter().zip(&exact.grads))
            {
                let apart = distance(x, y);
                assert!(apart < 6.0 * unit, "{name}: {what} is {apart} apart");
            }
            let apart = distance(&rounded.grads[1], &exact.grads[1]);
            assert!(apart > unit / 100.0, "{name}: nothing is rounded, {apart}");
        }
    }
}

#[test]
fn tensor_cores_multiply_short_numbers_exactly() {
    // One item each: scores are all that depends on the factors, and the factors are integers.
    let gpu = prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`");
    let integers = |shape: (usize, usize), factor: usize| {
        let mut all = Vec::new();
        for i in 0..shape.0 * shape.1 {
            all.push((i * factor % 17) as f32 - 8.0);
        }
        Tensor::from_vec(all, shape, &Device::Cpu)
            .unwrap()
            .to_device(&gpu)
            .unwrap()
    };
    let (weight, hidden) = (integers((130, 64), 7), integers((40, 64), 11));
    let hidden = (hidden / 128.0).unwrap();
    let bias = Tensor::zeros(130, DType::F32, &gpu).unwrap();
    let targets: Vec<u32> = (0..40).map(|i| i * 3).collect();
    let losses = [Precision::Fp32, Precision::Tf32, Precision::Bf16].map(|precision| {
        let layer = CudaOutputLayer {
            weight: &weight,
            bias: &bias,
            precision,
        };
        let check = FiniteCheck::new(&gpu, 40).unwrap();
        layer
            .losses(&hidden, &targets, LossScales::Host(&[1.0; 40]), &check)
            .unwrap();
        check.read().unwrap().loss
    });
    for loss in &losses[1..] {
        assert!((loss - losses[0]).abs() < 1e-5 * losses[0], "{losses:?}");
    }
}
