//! Comparison of an encoder's reference with its fused path.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::VarBuilder;
use prl_nn::{ForwardCtx, SeededVarMap};
use prl_testkit::{assert_close, flat, values};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::{PaddedBatch, SessionEncoder};

/// Tolerance of f32, relative to max(1, |element|), where the arithmetic is well conditioned.
const SINGLE: f64 = 2e-3;

/// Asserts that a reference and `encode` have the same states and gradients, by the items and every
/// parameter, in f32 and f64, for any window, width and lengths.
///
/// In f32 a state near a ReLU's kink or of nearly no variance has gradients that rounding alone
/// changes: the paths may then differ by a small multiple of the reference's own error, its
/// distance from f64.
pub(crate) fn assert_reference_matches_fused<E: SessionEncoder>(
    new: impl Fn(usize, usize, VarBuilder) -> Result<E>,
    reference: impl Fn(&E, &PaddedBatch<'_>, &ForwardCtx) -> Result<Tensor>,
) {
    let sizes = (4..12_usize).prop_flat_map(|window| {
        let lengths = prop::collection::vec(1..=window as u32, 1..40);
        (Just(window), lengths, 2..22_usize)
    });
    let config = ProptestConfig {
        cases: 24,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    };
    proptest!(config, |((window, lengths, dim) in sizes)| {
        let both_paths = |dtype| {
            let vars = SeededVarMap::new(2);
            let encoder = new(dim, window, vars.var_builder(dtype, &Device::Cpu)).unwrap();
            let xs = values(&[lengths.len(), window, dim], "xs").to_dtype(dtype).unwrap();
            let xs = Var::from_tensor(&xs).unwrap();
            let batch = PaddedBatch { xs: xs.as_tensor(), lengths: &lengths };
            let gradients = |states: Tensor| {
                let weights = values(states.dims(), "weights").to_dtype(dtype).unwrap();
                let loss = (&states * weights).unwrap().sum_all().unwrap();
                let grads = loss.backward().unwrap();
                let mut all = vec![flat(&states), flat(grads.get(&xs).unwrap())];
                for param in vars.params() {
                    all.push(flat(grads.get(param.var()).unwrap()));
                }
                all.concat()
            };
            let ctx = ForwardCtx::infer();
            let fused = gradients(encoder.encode(&batch, &ctx).unwrap());
            let plain = gradients(reference(&encoder, &batch, &ctx).unwrap());
            (fused, plain)
        };
        let (fused, exact) = both_paths(DType::F64);
        assert_close(&fused, &exact, 1e-9);
        let (fused, plain) = both_paths(DType::F32);
        assert_close(&fused, &plain, SINGLE.max(8.0 * distance(&plain, &exact)));
    });
}

/// The largest |a - b| / max(1, |b|).
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let mut largest = 0.0_f64;
    for (a, b) in a.iter().zip(b) {
        largest = largest.max((a - b).abs() / b.abs().max(1.0));
    }
    largest
}
