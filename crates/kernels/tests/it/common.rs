//! Helpers of the fused operations' tests: arguments, losses and gradients.

use candle_core::{DType, Device, Result, Tensor, Var};

/// Waves that do not repeat within any test.
pub fn fill(shape: &[usize], phase: f64, scale: f64) -> Tensor {
    let n = shape.iter().product::<usize>();
    let values: Vec<f64> = (0..n)
        .map(|i| scale * ((0.7 * i as f64 + phase).sin() + (0.013 * i as f64).cos()))
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A weighted sum of what `f` puts out.
fn loss(f: &dyn Fn(&[&Tensor]) -> Result<Tensor>, args: &[&Tensor]) -> Tensor {
    let y = f(args).unwrap();
    let weights = fill(y.dims(), 2.0, 1.0).to_dtype(y.dtype()).unwrap();
    (y * weights).unwrap().sum_all().unwrap()
}

/// The gradients of the weighted sum by each argument.
pub fn gradients(f: &dyn Fn(&[&Tensor]) -> Result<Tensor>, args: &[Tensor]) -> Vec<Vec<f64>> {
    let vars: Vec<Var> = args.iter().map(|a| Var::from_tensor(a).unwrap()).collect();
    let grads = loss(f, &vars.iter().map(|v| v.as_tensor()).collect::<Vec<_>>())
        .backward()
        .unwrap();
    vars.iter().map(|v| flat(grads.get(v).unwrap())).collect()
}

pub fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// That the gradients are the central differences, at every `step`-th element.
pub fn assert_differences(f: &dyn Fn(&[&Tensor]) -> Result<Tensor>, args: &[Tensor], step: usize) {
    for (which, grad) in gradients(f, args).iter().enumerate() {
        for i in (0..grad.len()).step_by(step) {
            let at = |delta: f64| {
                let mut values = flat(&args[which]);
                values[i] += delta;
                let mut args = args.to_vec();
                args[which] = Tensor::from_vec(values, args[which].shape(), &Device::Cpu).unwrap();
                loss(f, &args.iter().collect::<Vec<_>>())
                    .to_scalar::<f64>()
                    .unwrap()
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            let error = (numeric - grad[i]).abs() / grad[i].abs().max(1.0);
            assert!(
                error < 1e-6,
                "argument {which}, element {i}: {numeric} and {}",
                grad[i]
            );
        }
    }
}
