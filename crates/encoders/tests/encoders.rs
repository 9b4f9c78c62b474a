//! What holds for every encoder.

use candle_core::{DType, Device, Tensor, Var};
use prl_encoders::{EncoderKind, PaddedBatch, Shape};
use prl_nn::{ForwardCtx, Init, Params};

const WINDOW: usize = 10;
const DIM: usize = 64;
const BATCH: usize = 40;

fn items(phase: &str) -> Vec<f32> {
    let values = Init::Normal(0.5)
        .values(&[BATCH * WINDOW * DIM], &mut prl_seed::stream(1, phase, 0))
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

/// States, and the gradients of their squares by the items and the parameters, by a freshly made encoder.
fn run(kind: EncoderKind, x: &Tensor, pass: &ForwardCtx) -> Vec<Vec<f32>> {
    let mut params = Params::new(DType::F32, &Device::Cpu, 2);
    let encoder = kind
        .build(Shape::new(DIM, WINDOW), params.scope("e"))
        .unwrap();
    let (x, lengths) = (Var::from_tensor(x).unwrap(), lengths());
    let state = encoder
        .encode(
            &PaddedBatch {
                x: x.as_tensor(),
                lengths: &lengths,
            },
            pass,
        )
        .unwrap();
    assert_eq!(state.dims(), [BATCH, encoder.width()]);
    let grads = state.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let grads = [&x]
        .into_iter()
        .chain(params.iter().map(|p| p.1))
        .map(|var| grads.get(var).unwrap());
    [&state]
        .into_iter()
        .chain(grads)
        .map(|t| t.flatten_all().unwrap().to_vec1().unwrap())
        .collect()
}

#[test]
fn what_stands_past_the_length_changes_no_bit_and_gets_no_gradient() {
    let (valid, other) = (items("x"), items("pads"));
    let past = |i: usize| i / DIM % WINDOW >= lengths()[i / DIM / WINDOW] as usize;
    let mixed: Vec<f32> = (0..valid.len())
        .map(|i| if past(i) { 1e6 * other[i] } else { valid[i] })
        .collect();
    for &kind in EncoderKind::ALL {
        let first = run(kind, &tensor(valid.clone()), &ForwardCtx::train(3, 1));
        let second = run(kind, &tensor(mixed.clone()), &ForwardCtx::train(3, 1));
        assert!(first == second, "{}: padding shows", kind.name());
        assert!(
            (0..valid.len()).all(|i| !past(i) || first[1][i] == 0.0),
            "{}: padding has a gradient",
            kind.name()
        );
    }
}

#[test]
fn a_window_alone_has_the_state_it_has_in_a_batch() {
    let (x, lengths) = (tensor(items("x")), lengths());
    for &kind in EncoderKind::ALL {
        let mut params = Params::new(DType::F32, &Device::Cpu, 2);
        let encoder = kind
            .build(Shape::new(DIM, WINDOW), params.scope("e"))
            .unwrap();
        let states = encoder
            .encode(
                &PaddedBatch {
                    x: &x,
                    lengths: &lengths,
                },
                &ForwardCtx::infer(),
            )
            .unwrap();
        for b in 0..BATCH {
            let alone = PaddedBatch {
                x: &x.narrow(0, b, 1).unwrap(),
                lengths: &lengths[b..=b],
            };
            let alone = encoder
                .encode(&alone, &ForwardCtx::infer())
                .unwrap()
                .to_vec2::<f32>()
                .unwrap();
            assert_eq!(
                alone[0],
                states.get(b).unwrap().to_vec1::<f32>().unwrap(),
                "{}",
                kind.name()
            );
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let x = tensor(items("x"));
    let with = |threads: usize, kind| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| run(kind, &x, &ForwardCtx::train(3, 1)))
    };
    for &kind in EncoderKind::ALL {
        assert!(with(1, kind) == with(3, kind), "{}", kind.name());
    }
}

#[test]
fn the_last_output_is_the_state() {
    let (x, lengths) = (tensor(items("x")), lengths());
    for &kind in EncoderKind::ALL {
        let mut params = Params::new(DType::F32, &Device::Cpu, 2);
        let encoder = kind
            .build(Shape::new(DIM, WINDOW), params.scope("e"))
            .unwrap();
        let windows = PaddedBatch {
            x: &x,
            lengths: &lengths,
        };
        let states = encoder
            .encode(&windows, &ForwardCtx::infer())
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        if let Some(outputs) = encoder.outputs(&windows, &ForwardCtx::infer()).unwrap() {
            let outputs = outputs.to_vec3::<f32>().unwrap();
            for ((state, outputs), &n) in states.iter().zip(outputs).zip(&lengths) {
                assert_eq!(*state, outputs[n as usize - 1], "{}", kind.name());
            }
        }
    }
}

#[test]
fn a_length_beyond_the_window_is_an_error() {
    let x = tensor(items("x"));
    for &kind in EncoderKind::ALL {
        let mut params = Params::new(DType::F32, &Device::Cpu, 2);
        let encoder = kind
            .build(Shape::new(DIM, WINDOW), params.scope("e"))
            .unwrap();
        for wrong in [0, WINDOW as u32 + 1] {
            let mut lengths = lengths();
            lengths[3] = wrong;
            assert!(
                encoder
                    .encode(
                        &PaddedBatch {
                            x: &x,
                            lengths: &lengths
                        },
                        &ForwardCtx::infer()
                    )
                    .is_err()
            );
        }
    }
}
