//! The layers: fused against reference, gradients against finite differences.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use prl_nn::{Backend, LayerNorm, Linear, SeededVarMap, fused, relu, softmax};
use prl_testkit::{assert_gradients, assert_same, flat, values};
use proptest::prelude::*;

/// A linear layer of `args[1]` `[outputs, inputs]` and `args[2]`.
///
/// The arguments are variables, which a layer uses as they are; for the kernel they are packed
/// here, differentiably.
fn linear(args: &[&Tensor], is_fused: bool, has_relu: bool) -> Result<Tensor> {
    if is_fused {
        let packed = args[1].t()?.contiguous()?;
        return prl_kernels::ops::linear::linear(args[0], &packed, args[2], has_relu);
    }
    let layer = layer(args[1], args[2])?;
    let y = layer.forward(args[0])?;
    if has_relu { relu(&y) } else { Ok(y) }
}

fn layer(weight: &Tensor, bias: &Tensor) -> Result<Linear> {
    let (outputs, inputs) = weight.dims2()?;
    let named = [("weight", weight.clone()), ("bias", bias.clone())];
    let named = named.map(|(name, tensor)| (name.to_owned(), tensor));
    let vb = VarBuilder::from_tensors(named.into(), weight.dtype(), &Device::Cpu);
    Linear::new(inputs, outputs, vb)
}

fn norm(args: &[&Tensor]) -> LayerNorm {
    LayerNorm::from_tensors(args[1].clone(), args[2].clone(), 1e-8)
}

#[test]
fn layer_gradients_agree_with_finite_differences() {
    let x = &values(&[2, 3, 5], "x");
    let (weight, bias, scale) = (
        &values(&[19, 5], "w"),
        &values(&[19], "b"),
        &values(&[5], "s"),
    );
    for is_fused in [true, false] {
        assert_gradients(&[x, weight, bias], |a| linear(a, is_fused, false));
        assert_gradients(&[x, weight, bias], |a| linear(a, is_fused, true));
    }
    assert_gradients(&[x, scale, scale], |a| norm(a).forward(a[0]));
    assert_gradients(&[x, scale, scale], |a| fused::layer_norm(&norm(a), a[0]));
    assert_gradients(&[x], |a| softmax(a[0]));
}

proptest! {
    #[test]
    fn fused_layers_match_the_reference(
        rows in 1..150usize, more in 1..4usize, inputs in 2..40usize, outputs in 1..40usize
    ) {
        let x = &values(&[rows, more, inputs], "x");
        let (weight, bias) = (&values(&[outputs, inputs], "w"), &values(&[outputs], "b"));
        let scale = &values(&[inputs], "s");
        for has_relu in [false, true] {
            assert_same(
                &[x, weight, bias],
                |a| linear(a, true, has_relu),
                |a| linear(a, false, has_relu),
            );
        }
        assert_same(
            &[x, scale, scale],
            |a| fused::layer_norm(&norm(a), a[0]),
            |a| norm(a).forward(a[0]),
        );
    }
}

#[test]
fn layers_of_a_seeded_store_run_fused_and_reference_alike() {
    let vars = SeededVarMap::new(3);
    let layer = Linear::new(4, 3, vars.var_builder(DType::F64, &Device::Cpu)).unwrap();
    assert_eq!(layer.backend(), Backend::CpuFused);
    assert_eq!(layer.weight().dims(), [3, 4]);
    let x = values(&[5, 4], "x");
    let (ours, theirs) = (
        fused::linear(&layer, &x).unwrap(),
        layer.forward(&x).unwrap(),
    );
    prl_testkit::assert_close(&flat(&ours), &flat(&theirs), 1e-12);
    let module = candle_nn::Linear::new(layer.weight().clone(), Some(layer.bias().clone()));
    let candles = module.forward(&x).unwrap();
    prl_testkit::assert_close(&flat(&ours), &flat(&candles), 1e-12);
}

#[test]
fn named_weight_sees_an_update_of_the_packed_variable() {
    let vars = SeededVarMap::new(3);
    let layer = Linear::new(4, 3, vars.var_builder(DType::F64, &Device::Cpu)).unwrap();
    let params = vars.params();
    let weight = params
        .iter()
        .find(|p| p.format1_name() == "weight")
        .unwrap();
    let packed = values(&[4, 3], "packed");
    weight.var().set(&packed).unwrap();
    assert_eq!(
        flat(layer.weight()),
        flat(&packed.t().unwrap().contiguous().unwrap())
    );
}

#[test]
fn variables_of_another_store_are_trained_by_the_reference() {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let layer = Linear::new(4, 3, vb).unwrap();
    assert_eq!(layer.backend(), Backend::Reference);
    let x = values(&[5, 4], "x");
    assert!(fused::linear(&layer, &x).is_err());
    let grads = layer
        .forward(&x)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    assert!(vars.all_vars().iter().all(|var| grads.get(var).is_some()));
}

#[test]
fn layer_norm_has_mean_zero_and_variance_one() {
    let ones = Tensor::ones(5, DType::F64, &Device::Cpu).unwrap();
    let layer = norm(&[&ones, &ones, &ones.zeros_like().unwrap()]);
    let y = fused::layer_norm(&layer, &values(&[6, 5], "x")).unwrap();
    for row in y.to_vec2::<f64>().unwrap() {
        let mean = row.iter().sum::<f64>() / 5.0;
        let variance = row.iter().map(|x| x * x).sum::<f64>() / 5.0;
        assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-6);
    }
}

#[test]
fn shapes_that_do_not_fit_are_an_error() {
    let (x, weight, bias) = (
        values(&[2, 5], "x"),
        values(&[3, 4], "w"),
        values(&[3], "b"),
    );
    let layer = layer(&weight, &bias).unwrap();
    assert!(layer.forward(&x).is_err() && fused::linear(&layer, &x).is_err());
    let norm = norm(&[&x, &bias, &bias]);
    assert!(norm.forward(&x).is_err() && fused::layer_norm(&norm, &x).is_err());
}
