//! Helpers that the tests of several crates share: seeded inputs, golden files, comparison of two
//! operations, and gradients against finite differences.
//!
//! A dev-dependency only. Every helper panics with the place of the first difference.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor, Var};
use prl_seed::stream;
use rand_distr::{Distribution, StandardNormal};

/// An operation on any number of tensors.
pub type Op<'a> = &'a dyn Fn(&[&Tensor]) -> Result<Tensor>;

/// Standard normal values in f64 on the CPU, a function of `name` and the shape.
pub fn values(shape: &[usize], name: &str) -> Tensor {
    let mut rng = stream(1, name, 0);
    let mut data: Vec<f64> = Vec::new();
    for _ in 0..shape.iter().product() {
        data.push(StandardNormal.sample(&mut rng));
    }
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// All elements of a tensor as f64, in row-major order.
pub fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(candle_core::DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Golden tensors of `tests/golden/<name>.safetensors` of the crate whose manifest directory is
/// `crate_dir` (pass `env!("CARGO_MANIFEST_DIR")`). The script beside the file writes it.
pub fn golden(crate_dir: &str, name: &str) -> HashMap<String, Tensor> {
    let path = Path::new(crate_dir)
        .join("tests/golden")
        .join(format!("{name}.safetensors"));
    match candle_core::safetensors::load(&path, &Device::Cpu) {
        Ok(tensors) => tensors,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Asserts that two lists of numbers agree: |a - b| <= `tolerance` x max(1, |b|) at every index.
#[track_caller]
pub fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len(), "lengths differ");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1.0),
            "element {i}: {a} and {b}"
        );
    }
}

/// Asserts that two operations have the same result and the same gradients (f64, 1e-11).
#[track_caller]
pub fn assert_same(
    args: &[&Tensor],
    f: impl Fn(&[&Tensor]) -> Result<Tensor>,
    g: impl Fn(&[&Tensor]) -> Result<Tensor>,
) {
    let (ours, theirs) = (
        result_and_gradients(args, &f),
        result_and_gradients(args, &g),
    );
    for (which, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(a.len(), b.len(), "array {which} (0 is the result)");
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            let is_close = (a - b).abs() < 1e-11 * b.abs().max(1.0);
            assert!(
                is_close,
                "array {which} (0 is the result), element {i}: {a} and {b}"
            );
        }
    }
}

/// Asserts that an operation's gradients are its central differences at every element (f64).
#[track_caller]
pub fn assert_gradients(args: &[&Tensor], f: impl Fn(&[&Tensor]) -> Result<Tensor>) {
    let all = result_and_gradients(args, &f);
    for (which, grad) in all[1..].iter().enumerate() {
        let start = flat(args[which]);
        for (i, ours) in grad.iter().enumerate() {
            let at = |delta: f64| {
                let mut moved = start.clone();
                moved[i] += delta;
                let moved = Tensor::from_vec(moved, args[which].shape(), &Device::Cpu).unwrap();
                let mut args = args.to_vec();
                args[which] = &moved;
                loss(&args, &f).to_scalar::<f64>().unwrap()
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            let is_close = (numeric - ours).abs() < 1e-8 * ours.abs().max(1.0);
            assert!(
                is_close,
                "argument {which}, element {i}: {numeric} and {ours}"
            );
        }
    }
}

/// Weighted sum of an operation's result, so that every element has its own gradient.
fn loss(args: &[&Tensor], f: Op<'_>) -> Tensor {
    let y = f(args).unwrap();
    let weights: Vec<f64> = (0..y.elem_count())
        .map(|i| (0.9 * i as f64).cos())
        .collect();
    let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu).unwrap();
    (&y * weights).unwrap().sum_all().unwrap()
}

/// The result of an operation, then the gradient of its weighted sum by each argument.
fn result_and_gradients(args: &[&Tensor], f: Op<'_>) -> Vec<Vec<f64>> {
    let vars: Vec<Var> = args.iter().map(|a| Var::from_tensor(a).unwrap()).collect();
    let vars: Vec<&Tensor> = vars.iter().map(|v| v.as_tensor()).collect();
    let grads = loss(&vars, f).backward().unwrap();
    let mut all = vec![flat(&f(&vars).unwrap())];
    for var in &vars {
        all.push(flat(grads.get(var).unwrap()));
    }
    all
}
