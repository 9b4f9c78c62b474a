//! What the tests share: an operation against another, and its gradients against finite differences.

use candle_core::{Device, Result, Tensor, Var};

use crate::Init;

type Op<'a> = &'a dyn Fn(&[&Tensor]) -> Result<Tensor>;

/// Normal values in f64.
pub(crate) fn values(shape: &[usize], name: &str) -> Tensor {
    let values = Init::Normal(1.0)
        .values(&[shape.iter().product()], &mut prl_seed::stream(1, name, 0))
        .unwrap();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A weighted sum of what `f` puts out.
fn loss(args: &[&Tensor], f: Op<'_>) -> Tensor {
    let y = f(args).unwrap();
    let w: Vec<f64> = (0..y.elem_count())
        .map(|i| (0.9 * i as f64).cos())
        .collect();
    (&y * Tensor::from_vec(w, y.shape(), &Device::Cpu).unwrap())
        .unwrap()
        .sum_all()
        .unwrap()
}

/// What `f` puts out, and the gradients of the weighted sum by each argument.
fn run(args: &[&Tensor], f: Op<'_>) -> Vec<Vec<f64>> {
    let vars: Vec<Var> = args.iter().map(|a| Var::from_tensor(a).unwrap()).collect();
    let vars: Vec<&Tensor> = vars.iter().map(|v| v.as_tensor()).collect();
    let grads = loss(&vars, f).backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let grads = vars.iter().map(|v| flat(grads.get(v).unwrap()));
    [flat(&f(&vars).unwrap())]
        .into_iter()
        .chain(grads)
        .collect()
}

/// That two operations have the same result and the same gradients.
pub(crate) fn one(
    args: &[&Tensor],
    f: impl Fn(&[&Tensor]) -> Result<Tensor>,
    g: impl Fn(&[&Tensor]) -> Result<Tensor>,
) {
    for (which, (a, b)) in run(args, &f).iter().zip(run(args, &g)).enumerate() {
        assert_eq!(a.len(), b.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!(
                (a - b).abs() < 1e-11 * b.abs().max(1.0),
                "array {which}, element {i}: {a} and {b}"
            );
        }
    }
}

/// That the gradients of an operation are its central differences, at every element.
pub(crate) fn differences(args: &[&Tensor], f: impl Fn(&[&Tensor]) -> Result<Tensor>) {
    let grads = run(args, &f);
    for (which, grad) in grads[1..].iter().enumerate() {
        let start = args[which].flatten_all().unwrap().to_vec1::<f64>().unwrap();
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
            assert!(
                (numeric - ours).abs() < 1e-8 * ours.abs().max(1.0),
                "array {which}, element {i}: {numeric} and {ours}"
            );
        }
    }
}
