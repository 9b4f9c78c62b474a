//! States and gradients against PyTorch, with the parameters under candle's names and layouts.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use prl_encoders::{EncoderKind, PaddedBatch, SessionEncoder};
use prl_nn::{ForwardCtx, SeededVarMap};
use prl_testkit::{assert_close, flat};

/// x[i] = sin(0.7 i + 2), as in the scripts: the gradient of the output.
fn output_gradient(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    let values = (0..n).map(|i| (0.7 * i as f64 + 2.0).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// An encoder with the golden parameters.
fn load(
    kind: EncoderKind,
    golden: &HashMap<String, Tensor>,
) -> (SeededVarMap, Box<dyn SessionEncoder>) {
    let (_, window, dim) = golden["xs"].dims3().unwrap();
    let vars = SeededVarMap::new(0);
    let vb = vars.var_builder(DType::F64, &Device::Cpu);
    let encoder = kind.config().build(dim, window, vb).unwrap();
    for param in vars.params() {
        let named: Vec<Tensor> = param
            .names()
            .map(|name| golden[&format!("param.{name}")].clone())
            .collect();
        param.var().set(&param.pack(&named).unwrap()).unwrap();
    }
    (vars, encoder)
}

/// Compares `output`, made of the golden windows, and its gradients under `prefix`.
fn check(
    kind: EncoderKind,
    name: &str,
    prefix: &str,
    output: impl Fn(&dyn SessionEncoder, &PaddedBatch<'_>) -> Tensor,
) {
    let golden = prl_testkit::golden(env!("CARGO_MANIFEST_DIR"), kind.name());
    let (vars, encoder) = load(kind, &golden);
    let xs = Var::from_tensor(&golden["xs"]).unwrap();
    let lengths: Vec<u32> = flat(&golden["lengths"]).iter().map(|&n| n as u32).collect();
    let batch = PaddedBatch {
        xs: xs.as_tensor(),
        lengths: &lengths,
    };
    let y = output(&*encoder, &batch);
    assert_close(&flat(&y), &flat(&golden[name]), 1e-10);
    let loss = (&y * output_gradient(y.dims())).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let xs_grad = &golden[&format!("{prefix}.xs")];
    assert_close(&flat(grads.get(&xs).unwrap()), &flat(xs_grad), 1e-9);
    for param in vars.params() {
        for (name, grad) in param.unpack(grads.get(param.var()).unwrap()).unwrap() {
            let theirs = &golden[&format!("{prefix}.{name}")];
            assert_eq!(grad.dims(), theirs.dims(), "{name}");
            assert_close(&flat(&grad), &flat(theirs), 1e-9);
        }
    }
}

#[test]
fn states_and_gradients_agree_with_pytorch() {
    for &kind in EncoderKind::ALL {
        check(kind, "state", "grad", |encoder, batch| {
            encoder.encode(batch, &ForwardCtx::infer()).unwrap()
        });
    }
}

#[test]
fn sasrec_outputs_and_gradients_agree_with_pytorch() {
    check(
        EncoderKind::SasRec,
        "outputs",
        "outputs_grad",
        |encoder, batch| {
            encoder
                .outputs(batch, &ForwardCtx::infer())
                .unwrap()
                .unwrap()
        },
    );
}
