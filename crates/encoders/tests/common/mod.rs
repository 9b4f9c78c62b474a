//! What the golden tests share: arrays filled as in their scripts, and one encoder held against them.

use candle_core::{DType, Device, Tensor, Var};
use prl_encoders::{PaddedBatch, SessionEncoder};
use prl_nn::{ForwardCtx, Params};

/// x[i] = offset + scale * sin(0.7 i + phase), row-major.
pub fn fill(shape: &[usize], phase: f64, scale: f64, offset: f64) -> Tensor {
    let n = shape.iter().product::<usize>();
    let values: Vec<f64> = (0..n)
        .map(|i| offset + scale * (0.7 * i as f64 + phase).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub fn assert_close(what: &str, ours: &Tensor, theirs: &[f64]) {
    let ours = ours.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!(
            (a - b).abs() < 1e-6 * b.abs().max(1.0),
            "{what}[{i}]: {a}, PyTorch has {b}"
        );
    }
}

/// Fills the parameters `(name, phase, scale, offset)` and compares `y`, made from the windows `x`, and the gradients of
/// `sum of y * fill(2, 1)` by `x` and the parameters named.
pub fn check(
    params: &Params,
    fills: &[(&str, f64, f64, f64)],
    (shape, lengths): ([usize; 3], &[u32]),
    encode: impl Fn(&PaddedBatch<'_>) -> Tensor,
    y: &[f64],
    grads: &[(&str, &[f64])],
) {
    for (name, var) in params.iter() {
        let &(_, phase, scale, offset) = fills.iter().find(|f| f.0 == name).unwrap();
        var.set(&fill(var.dims(), phase, scale, offset)).unwrap();
    }
    let x = Var::from_tensor(&fill(&shape, 0.1, 1.0, 0.0)).unwrap();
    let ours = encode(&PaddedBatch {
        x: x.as_tensor(),
        lengths,
    });
    assert_close("y", &ours, y);
    let loss = (&ours * fill(ours.dims(), 2.0, 1.0, 0.0))
        .unwrap()
        .sum_all()
        .unwrap();
    let ours = loss.backward().unwrap();
    assert_eq!(grads.len(), 1 + fills.len());
    for (name, theirs) in grads {
        let var = if *name == "x" {
            &x
        } else {
            params.iter().find(|p| p.0 == *name).unwrap().1
        };
        assert_close(name, ours.get(var).unwrap(), theirs);
    }
}

/// Parameters in f64, and the encoder that `new` makes of them.
pub fn make<E: SessionEncoder>(
    new: impl FnOnce(prl_nn::Scope<'_>) -> candle_core::Result<E>,
) -> (Params, E) {
    let mut params = Params::new(DType::F64, &Device::Cpu, 0);
    let encoder = new(params.scope("e")).unwrap();
    (params, encoder)
}

/// The state in inference.
pub fn state(encoder: &impl SessionEncoder) -> impl Fn(&PaddedBatch<'_>) -> Tensor {
    |windows| encoder.encode(windows, &ForwardCtx::infer()).unwrap()
}
