//! Why this crate has layers of its own: candle-nn's have no gradient, or a wrong one.
//!
//! Each test asserts the defect, so it fails once candle mends it, and the layer here can go.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::VarMap;
use prl_testkit::{assert_close, flat, values};

/// The gradient of the sum of squares of `f(x)` by `x`, and its central differences.
fn gradient(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> (Option<Vec<f64>>, Vec<f64>) {
    let loss = |x: &Tensor| f(x).unwrap().sqr().unwrap().sum_all().unwrap();
    let var = Var::from_tensor(x).unwrap();
    let grads = loss(var.as_tensor()).backward().unwrap();
    let start = flat(x);
    let mut numeric = Vec::new();
    for i in 0..start.len() {
        let at = |delta: f64| {
            let mut moved = start.clone();
            moved[i] += delta;
            let moved = Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap();
            loss(&moved).to_scalar::<f64>().unwrap()
        };
        numeric.push((at(1e-5) - at(-1e-5)) / 2e-5);
    }
    (grads.get(&var).map(flat), numeric)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, x| x.abs().max(max))
}

fn differs(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-3)
}

#[test]
fn candle_layer_norm_has_no_gradient() {
    let x = values(&[2, 5], "x");
    let weight = Tensor::ones(5, DType::F32, &Device::Cpu).unwrap();
    let norm = candle_nn::LayerNorm::new(weight.clone(), weight.zeros_like().unwrap(), 1e-8);
    let single = Var::from_tensor(&x.to_dtype(DType::F32).unwrap()).unwrap();
    let theirs = norm
        .forward(&single)
        .unwrap()
        .exp()
        .unwrap()
        .sum_all()
        .unwrap();
    assert!(theirs.backward().unwrap().get(&single).is_none());

    let weight = weight.to_dtype(DType::F64).unwrap();
    let ours = prl_nn::LayerNorm::from_tensors(weight.clone(), weight.zeros_like().unwrap(), 1e-8);
    let (ours, numeric) = gradient(&x, |x| ours.forward(x)?.exp());
    assert!(largest(&numeric) > 0.1);
    assert_close(&ours.unwrap(), &numeric, 1e-6);
}

#[test]
fn candle_softmax_last_dim_has_no_gradient() {
    let x = values(&[2, 5], "x");
    let (theirs, numeric) = gradient(&x, candle_nn::ops::softmax_last_dim);
    assert!(theirs.is_none());
    let (ours, _) = gradient(&x, prl_nn::softmax);
    assert_close(&ours.unwrap(), &numeric, 1e-6);
}

#[test]
fn candle_conv1d_has_a_wrong_kernel_gradient() {
    let x = values(&[3, 2, 7], "x");
    let kernel = values(&[4, 2, 3], "kernel");
    let (theirs, numeric) = gradient(&kernel, |kernel| x.conv1d(kernel, 0, 1, 2, 1));
    assert!(differs(&theirs.unwrap(), &numeric));
}

#[test]
fn candle_relu_has_gradient_one_at_zero() {
    let zero = Var::from_tensor(&Tensor::zeros(1, DType::F64, &Device::Cpu).unwrap()).unwrap();
    let at_zero = |y: Tensor| flat(y.sum_all().unwrap().backward().unwrap().get(&zero).unwrap());
    assert_eq!(at_zero(zero.relu().unwrap()), [1.0]);
    assert_eq!(
        at_zero(prl_nn::relu(&zero).unwrap()),
        [0.0],
        "as in PyTorch"
    );
}

#[test]
fn candle_cpu_generator_takes_no_seed() {
    assert!(Device::Cpu.set_seed(1).is_err());
    let draw = || {
        let vars = VarMap::new();
        let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
        let linear = candle_nn::linear(3, 3, vb).unwrap();
        flat(linear.weight())
    };
    assert_ne!(draw(), draw());
}
