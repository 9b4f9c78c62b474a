//! Initial values: a function of the seed and the parameter's name, unchanged since format 1.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use prl_nn::{Init, LayerNorm, Linear, PackedLayout, PackedPart, PackedWeights, SeededVarMap, get};
use prl_testkit::{flat, golden};

fn store(seed: u64) -> (SeededVarMap, VarBuilder<'static>) {
    let vars = SeededVarMap::new(seed);
    let vb = vars.var_builder(DType::F64, &Device::Cpu);
    (vars, vb)
}

/// The golden file holds the values, and the packed layouts, of the code that wrote format 1.
#[test]
fn initial_values_are_those_of_format_1() {
    let (vars, vb) = store(7);
    let vb = vb.pp("a");
    Linear::new(3, 5, vb.pp("linear")).unwrap();
    LayerNorm::new(3, 1e-8, vb.pp("norm")).unwrap();
    get(&vb, (4, 3), "glorot", Init::Glorot).unwrap();
    get(&vb, 9, "normal", Init::Normal(0.5)).unwrap();
    get(&vb, (3, 5), "truncated", Init::TruncatedNormal(0.1)).unwrap();
    let then = golden(env!("CARGO_MANIFEST_DIR"), "initial_values");
    assert_eq!(vars.params().len(), then.len());
    for param in vars.params() {
        let name = param.format1_name().replace("norm.weight", "norm.scale");
        let name = name.replace("norm.bias", "norm.shift");
        assert_eq!(param.var().dims(), then[&name].dims(), "{name}");
        assert_eq!(flat(param.var()), flat(&then[&name]), "{name}");
    }
}

#[test]
fn initial_values_depend_on_seed_and_name_alone() {
    let first = |seed, name: &str, has_other: bool| {
        let (_, vb) = store(seed);
        if has_other {
            get(&vb, (2, 2), "other", Init::Glorot).unwrap();
        }
        flat(&get(&vb, 3, name, Init::Normal(1.0)).unwrap())
    };
    assert_eq!(first(1, "x", false), first(1, "x", true));
    assert_ne!(first(1, "x", false), first(2, "x", false));
    assert_ne!(first(1, "x", false), first(1, "y", false));
}

#[test]
fn a_parameter_made_twice_is_an_error() {
    let (_, vb) = store(1);
    get(&vb, 3, "x", Init::Const(0.0)).unwrap();
    assert!(get(&vb, 3, "x", Init::Const(0.0)).is_err());
}

#[test]
fn modules_of_candle_nn_are_seeded_recorded_and_may_share() {
    let weights = |seed| {
        let (vars, vb) = store(seed);
        let linear = candle_nn::linear(3, 2, vb.pp("fc")).unwrap();
        let again = candle_nn::linear(3, 2, vb.pp("fc")).unwrap();
        assert_eq!(flat(linear.weight()), flat(again.weight()));
        assert!(candle_nn::linear(4, 2, vb.pp("fc")).is_err());
        candle_nn::layer_norm(2, 1e-5, vb.pp("norm")).unwrap();
        candle_nn::embedding(5, 2, vb.pp("emb")).unwrap();
        let mut names: Vec<String> = Vec::new();
        for param in vars.params() {
            names.extend(param.names().map(str::to_owned));
        }
        let expected = [
            "emb.weight",
            "fc.bias",
            "fc.weight",
            "norm.bias",
            "norm.weight",
        ];
        assert_eq!(names, expected);
        flat(linear.weight())
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}

/// A layout with a transposed matrix, a cube with all axes exchanged, and a vector.
fn layout() -> PackedLayout {
    let parts = vec![
        PackedPart::permuted("a.weight", [2, 3], [1, 0], Init::Normal(1.0)),
        PackedPart::permuted("b.weight", [2, 3, 4], [2, 0, 1], Init::Normal(1.0)),
        PackedPart::plain("b.bias", &[5], Init::Const(0.0)),
    ];
    PackedLayout::new("packed", &[5, 7], parts).unwrap()
}

#[test]
fn unpacked_tensors_pack_to_the_same_bits() {
    let (vars, vb) = store(3);
    let draw = |rng: &mut prl_seed::Rng| Init::Normal(1.0).values(&[35], rng);
    let weights = PackedWeights::new(&vb, &layout(), draw).unwrap();
    let param = &vars.params()[0];
    let named = param.unpack(param.var()).unwrap();
    let shapes: Vec<&[usize]> = named.iter().map(|(_, t)| t.dims()).collect();
    assert_eq!(shapes, [&[3, 2][..], &[4, 2, 3], &[5]]);
    for (i, (_, tensor)) in named.iter().enumerate() {
        assert_eq!(flat(tensor), flat(&weights.named(i)));
    }
    let tensors: Vec<Tensor> = named.into_iter().map(|(_, tensor)| tensor).collect();
    assert_eq!(flat(&param.pack(&tensors).unwrap()), flat(param.var()));
    assert!(
        param
            .pack(&[tensors[1].clone(), tensors[1].clone(), tensors[2].clone()])
            .is_err()
    );
}

#[test]
fn tensors_of_a_file_are_packed_as_the_store_packs_them() {
    let (vars, vb) = store(3);
    let draw = |rng: &mut prl_seed::Rng| Init::Normal(1.0).values(&[35], rng);
    PackedWeights::new(&vb.pp("m"), &layout(), draw).unwrap();
    let param = &vars.params()[0];
    let named = param.unpack(param.var()).unwrap().into_iter().collect();
    let vb = VarBuilder::from_tensors(named, DType::F64, &Device::Cpu);
    let loaded = PackedWeights::new(&vb.pp("m"), &layout(), draw).unwrap();
    assert_eq!(flat(loaded.packed().unwrap()), flat(param.var()));
    let missing = VarBuilder::from_tensors(Default::default(), DType::F64, &Device::Cpu);
    let error = PackedWeights::new(&missing, &layout(), draw).unwrap_err();
    assert!(error.to_string().contains("a.weight"), "{error}");
}

#[test]
fn layout_that_does_not_cover_the_packed_tensor_is_an_error() {
    let part = PackedPart::plain("x", &[3], Init::Const(0.0));
    assert!(PackedLayout::new("packed", &[4], vec![part]).is_err());
}
