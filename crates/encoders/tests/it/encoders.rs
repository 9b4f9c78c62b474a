//! Properties of every encoder.

use candle_core::{DType, Device, Tensor, Var};
use prl_encoders::{EncoderKind, PaddedBatch, SessionEncoder};
use prl_nn::{ForwardCtx, Init, SeededVarMap};

const WINDOW: usize = 10;
const DIM: usize = 64;
const BATCH: usize = 40;

fn items(phase: &str) -> Vec<f32> {
    let mut rng = prl_seed::stream(1, phase, 0);
    let values = Init::Normal(0.5)
        .values(&[BATCH * WINDOW * DIM], &mut rng)
        .unwrap();
    values.into_iter().map(|x| x as f32).collect()
}

fn tensor(values: Vec<f32>) -> Tensor {
    Tensor::from_vec(values, (BATCH, WINDOW, DIM), &Device::Cpu).unwrap()
}

fn lengths() -> Vec<u32> {
    (0..BATCH as u32)
        .map(|b| 1 + 7 * b % WINDOW as u32)
        .collect()
}

fn build(kind: EncoderKind) -> (SeededVarMap, Box<dyn SessionEncoder>) {
    let vars = SeededVarMap::new(2);
    let vb = vars.var_builder(DType::F32, &Device::Cpu);
    let encoder = kind.config().build(DIM, WINDOW, vb.pp("e")).unwrap();
    (vars, encoder)
}

/// States of a newly built encoder, and the gradients of their squares by the items and the
/// parameters.
fn run(kind: EncoderKind, x: &Tensor, ctx: &ForwardCtx) -> Vec<Vec<f32>> {
    let (vars, encoder) = build(kind);
    let (x, lengths) = (Var::from_tensor(x).unwrap(), lengths());
    let batch = PaddedBatch {
        xs: x.as_tensor(),
        lengths: &lengths,
    };
    let state = encoder.encode(&batch, ctx).unwrap();
    assert_eq!(state.dims(), [BATCH, encoder.width()]);
    let grads = state.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut all = vec![flat(&state), flat(grads.get(&x).unwrap())];
    for param in vars.params() {
        all.push(flat(grads.get(param.var()).unwrap()));
    }
    all
}

#[test]
fn padding_changes_no_bit_and_gets_no_gradient() {
    let (valid, other) = (items("x"), items("pads"));
    let is_padding = |i: usize| i / DIM % WINDOW >= lengths()[i / DIM / WINDOW] as usize;
    let mut mixed = valid.clone();
    for i in 0..mixed.len() {
        if is_padding(i) {
            mixed[i] = 1e6 * other[i];
        }
    }
    for &kind in EncoderKind::ALL {
        let first = run(kind, &tensor(valid.clone()), &ForwardCtx::train(3, 1));
        let second = run(kind, &tensor(mixed.clone()), &ForwardCtx::train(3, 1));
        assert!(first == second, "{}: padding shows", kind.name());
        assert!(
            (0..valid.len()).all(|i| !is_padding(i) || first[1][i] == 0.0),
            "{}: padding has a gradient",
            kind.name()
        );
    }
}

#[test]
fn state_of_a_window_alone_is_that_in_a_batch() {
    let (x, lengths) = (tensor(items("x")), lengths());
    let ctx = ForwardCtx::infer();
    for &kind in EncoderKind::ALL {
        let (_, encoder) = build(kind);
        let batch = PaddedBatch {
            xs: &x,
            lengths: &lengths,
        };
        let states = encoder.encode(&batch, &ctx).unwrap();
        for b in 0..BATCH {
            let alone = PaddedBatch {
                xs: &x.narrow(0, b, 1).unwrap(),
                lengths: &lengths[b..=b],
            };
            let alone = encoder
                .encode(&alone, &ctx)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap();
            let in_batch = states.get(b).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(alone[0], in_batch, "{}", kind.name());
        }
    }
}

#[test]
fn number_of_threads_changes_no_bit() {
    let x = tensor(items("x"));
    let with = |threads: usize, kind| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap()
            .install(|| run(kind, &x, &ForwardCtx::train(3, 1)))
    };
    for &kind in EncoderKind::ALL {
        assert!(with(1, kind) == with(3, kind), "{}", kind.name());
    }
}

#[test]
fn last_output_is_the_state() {
    let (x, lengths) = (tensor(items("x")), lengths());
    let ctx = ForwardCtx::infer();
    for &kind in EncoderKind::ALL {
        let (_, encoder) = build(kind);
        let batch = PaddedBatch {
            xs: &x,
            lengths: &lengths,
        };
        let states = encoder
            .encode(&batch, &ctx)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        let outputs = encoder.outputs(&batch, &ctx).unwrap();
        assert_eq!(outputs.is_some(), kind.has_outputs());
        let Some(outputs) = outputs else {
            continue;
        };
        let outputs = outputs.to_vec3::<f32>().unwrap();
        for (b, state) in states.iter().enumerate() {
            assert_eq!(
                *state,
                outputs[b][lengths[b] as usize - 1],
                "{}",
                kind.name()
            );
        }
    }
}

#[test]
fn length_outside_the_window_is_an_error() {
    let x = tensor(items("x"));
    for &kind in EncoderKind::ALL {
        let (_, encoder) = build(kind);
        for wrong in [0, WINDOW as u32 + 1] {
            let mut lengths = lengths();
            lengths[3] = wrong;
            let batch = PaddedBatch {
                xs: &x,
                lengths: &lengths,
            };
            assert!(encoder.encode(&batch, &ForwardCtx::infer()).is_err());
        }
    }
}
