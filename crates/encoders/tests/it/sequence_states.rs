//! States of whole sequences against those of their prefixes as windows.

use candle_core::{DType, Device, Tensor, Var};
use prl_encoders::{EncoderKind, PaddedBatch};
use prl_kernels::packed::SeqOffsets;
use prl_nn::{ForwardCtx, SeededVarMap};
use prl_testkit::{assert_close, flat, values};

const WINDOW: usize = 7;
const DIM: usize = 12;

/// The states of 60 sequences, or of each of their prefixes on its own; and the gradients of a
/// weighted sum by the items and the parameters.
fn run(kind: EncoderKind, is_whole: bool) -> Vec<f64> {
    let vars = SeededVarMap::new(2);
    let vb = vars.var_builder(DType::F64, &Device::Cpu);
    let encoder = kind.config().build(DIM, WINDOW, vb).unwrap();
    let offsets = SeqOffsets::new((0..60).map(|s| 1 + (5 * s) % WINDOW));
    let xs = Var::from_tensor(&values(&[offsets.rows(), DIM], "xs")).unwrap();
    let ctx = ForwardCtx::infer();
    let states = if is_whole {
        let states = encoder.sequence_states(&xs, &offsets, &ctx).unwrap();
        states.unwrap()
    } else {
        let (mut rows, mut lengths) = (Vec::new(), Vec::new());
        for sequence in offsets.iter() {
            for row in sequence.clone() {
                // Any row stands in the padding.
                let items = (sequence.start..=row).chain(0..WINDOW - 1 - (row - sequence.start));
                rows.extend(items.map(|row| row as u32));
                lengths.push((row - sequence.start) as u32 + 1);
            }
        }
        let rows = Tensor::new(rows, &Device::Cpu).unwrap();
        let windows = xs.index_select(&rows, 0).unwrap();
        let windows = windows.reshape((lengths.len(), WINDOW, DIM)).unwrap();
        let batch = PaddedBatch {
            xs: &windows,
            lengths: &lengths,
        };
        encoder.encode(&batch, &ctx).unwrap()
    };
    let weights = values(states.dims(), "weights");
    let loss = (&states * weights).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let mut all = [flat(&states), flat(grads.get(&xs).unwrap())].concat();
    for param in vars.params() {
        all.extend(flat(grads.get(param.var()).unwrap()));
    }
    all
}

#[test]
fn sequence_states_of_every_causal_encoder_are_those_of_the_prefixes() {
    for &kind in EncoderKind::ALL {
        if kind.is_causal() {
            assert_close(&run(kind, true), &run(kind, false), 1e-11);
        }
    }
}

#[test]
fn number_of_threads_changes_no_bit_of_sequence_states() {
    let with = |threads: usize, kind| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| run(kind, true))
    };
    for &kind in EncoderKind::ALL {
        assert!(!kind.is_causal() || with(1, kind) == with(3, kind));
    }
}

#[test]
fn encoders_bound_to_a_window_refuse_what_they_cannot_encode() {
    let states = |kind: EncoderKind, length: usize| {
        let vars = SeededVarMap::new(2);
        let vb = vars.var_builder(DType::F32, &Device::Cpu);
        let encoder = kind.config().build(DIM, WINDOW, vb).unwrap();
        let xs = Tensor::zeros((length, DIM), DType::F32, &Device::Cpu).unwrap();
        encoder.sequence_states(&xs, &SeqOffsets::new([length]), &ForwardCtx::infer())
    };
    assert!(states(EncoderKind::Caser, WINDOW).unwrap().is_none());
    let message = states(EncoderKind::SasRec, WINDOW + 1)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("a sequence of 8 items exceeds the window of 7"),
        "{message}"
    );
}
