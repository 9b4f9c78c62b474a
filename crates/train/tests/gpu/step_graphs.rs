//! Training steps as one graph launch each, compared with the same steps launch by launch.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::DType;
use prl_core::AttentionKeys;
use prl_dataset::Dataset;
use prl_encoders::EncoderKind;
use prl_kernels::cuda::GraphCounts;
use prl_kernels::ops::adam::Adam;
use prl_model::{HeadDtype, MainNetwork, Model, ModelSpec, StepTimes, TrainingBatch};
use prl_runs::{Config, LrSchedule, Method, Run};
use prl_train::{Batches, Outcome, Trainer};

use crate::common::{ITEMS, Quiet, StopAt, same_end};
use crate::{config, gpu};

/// Steps of a comparison.
const STEPS: u64 = 8;

fn model(config: &Config, has_graphs: bool) -> Model {
    let spec = ModelSpec {
        dim: config.model.dim,
        items: ITEMS as usize,
        block: config.block(),
        is_double: config.method.is_double(),
        seed: 3,
        dtype: DType::F32,
        options: config.model.network_options(),
    };
    Model::new(&config.model, &spec, &gpu())
        .unwrap()
        .with_cuda_graphs(has_graphs)
        .unwrap()
        .with_head_dtype(config.head_dtype())
        .unwrap()
}

/// The batches of a comparison: some are smaller, the window's lengths vary.
fn batches(config: &Config, dir: &Path) -> Vec<TrainingBatch> {
    // A finished run has the returns of the dataset.
    let one_step = Config {
        max_steps: Some(1),
        eval_every: 1,
        ..config.clone()
    };
    let run = finish(&one_step, dir, false);
    let data = Dataset::open(&config.data).unwrap();
    let small = Config {
        batch_size: config.batch_size / 2 + 1,
        ..config.clone()
    };
    (1..=STEPS)
        .map(|t| {
            let config = if t % 5 == 0 { &small } else { config };
            Batches::new(&data, config, run.returns()).at(t)
        })
        .collect()
}

/// A checksum of all weights and moments.
fn checksum(model: &Model) -> u64 {
    let mut sum = 0_u64;
    for (_, param) in model.adam_params() {
        for tensor in [&param.param, &param.first, &param.second] {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for value in values {
                sum = sum.rotate_left(5) ^ u64::from(value.to_bits()).wrapping_mul(0x9e37_79b9);
            }
        }
    }
    sum
}

/// Trains a model on the batches; returns the bits of each step's loss and a checksum of weights
/// and moments after each.
fn trained(model: &Model, config: &Config, batches: &[TrainingBatch]) -> Vec<(u64, u64)> {
    let mut updates = [0; 2];
    let mut steps = Vec::new();
    for (t, batch) in (1..).zip(batches) {
        let main = if config.method.is_double() {
            t as usize / 2 % 2
        } else {
            0
        };
        updates[main] += 1;
        let turn = MainNetwork {
            step: t,
            main,
            optimizer_step: updates[main],
        };
        // A schedule: every step has its own learning rate.
        let adam = Adam::new(0.01 / t as f64);
        let loss = model
            .step(adam, turn, batch, &mut StepTimes::default())
            .unwrap();
        steps.push((loss.to_bits(), checksum(model)));
        if t % 3 == 0 {
            model
                .rank(&batch.windows, &batch.prompts, Some(&batch.targets), 5)
                .unwrap();
        }
    }
    steps
}

/// Asserts that steps with and without graphs have the same bits; returns what the graphs did.
fn compare(config: &Config, dir: &Path) -> GraphCounts {
    let name = format!("{:?} {}", config.model.encoder, config.method.name());
    let batches = batches(config, &dir.join(&name));
    let [eager, graphs] = [false, true].map(|has_graphs| model(config, has_graphs));
    let expected = trained(&eager, config, &batches);
    let found = trained(&graphs, config, &batches);
    assert_eq!(found, expected, "{name}");
    assert_eq!(eager.graph_counts(), None);
    graphs.graph_counts().unwrap()
}

/// The encoders of fused kernels alone.
fn fused_encoders() -> impl Iterator<Item = EncoderKind> {
    let all = EncoderKind::ALL.iter().copied();
    all.filter(|encoder| encoder.name() != "core")
}

#[test]
fn every_encoder_and_method_has_the_bits_of_eager_steps() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        batch_size: 16,
        ..config(dir.path())
    };
    for method in [Method::Normal, Method::Prl, Method::Sqn, Method::Sac] {
        for encoder in fused_encoders() {
            (config.method, config.model.encoder) = (method, encoder);
            let counts = compare(&config, dir.path());
            let name = format!("{encoder:?} {}: {counts:?}", method.name());
            assert_eq!(counts.launched, STEPS, "{name}");
            assert_eq!((counts.eager, counts.uploads), (0, STEPS), "{name}");
            let is_padded = matches!(encoder.name(), "gru" | "caser");
            if is_padded {
                // One graph for each main network and one for the smaller batch, replayed as they
                // are.
                let networks = if method.is_double() { 2 } else { 1 };
                assert_eq!(counts.captured, 1 + networks, "{name}");
                assert_eq!(counts.changed_nodes, 0, "{name}");
            } else {
                // Packed rows: the number of rows changes with the batch.
                assert!(counts.captured <= 8, "{name}");
            }
        }
    }
}

#[test]
fn rounded_products_have_the_bits_of_eager_steps() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        batch_size: 16,
        ..config(dir.path())
    };
    for (method, dtype) in [
        (Method::Prl, HeadDtype::Bf16),
        (Method::Sac, HeadDtype::Tf32),
    ] {
        (config.method, config.head_dtype) = (method, dtype);
        let counts = compare(&config, dir.path());
        assert_eq!(counts.launched, STEPS, "{dtype:?}: {counts:?}");
    }
}

#[test]
fn wide_layers_have_the_bits_of_eager_steps() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    (config.model.dim, config.batch_size, config.method) = (520, 6, Method::Prl);
    for encoder in fused_encoders() {
        config.model.encoder = encoder;
        let counts = compare(&config, dir.path());
        assert_eq!(counts.launched, STEPS, "{encoder:?}: {counts:?}");
    }
}

#[test]
fn steps_of_other_operations_run_without_graphs() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.method = Method::Prl;
    config.model.encoder = *EncoderKind::ALL
        .iter()
        .find(|encoder| encoder.name() == "sasrec")
        .unwrap();
    config.model.attention = AttentionKeys::Outputs;
    let counts = compare(&config, dir.path());
    assert_eq!((counts.launched, counts.eager), (0, STEPS), "{counts:?}");
}

fn finish(config: &Config, dir: &Path, has_graphs: bool) -> Run {
    let outcome = Trainer::new(config, dir)
        .device(&gpu())
        .resume(true)
        .cuda_graphs(has_graphs)
        .run(&mut Quiet)
        .unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    Run::open(dir).unwrap()
}

#[test]
fn training_with_validations_and_a_resume_has_the_bits_of_eager_steps() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        max_steps: Some(6),
        eval_every: 3,
        lr_schedule: LrSchedule::Cosine,
        lr_warm_up: 2,
        batch_size: 16,
        ..config(dir.path())
    };
    for method in [Method::Normal, Method::Prl, Method::Sqn, Method::Sac] {
        for encoder in fused_encoders() {
            (config.method, config.model.encoder) = (method, encoder);
            let [eager, whole, resumed] = ["eager", "whole", "resumed"]
                .map(|name| dir.path().join(format!("{name} {encoder:?} {method:?}")));
            finish(&config, &eager, false);
            finish(&config, &whole, true);
            same_end(&eager, &whole);
            let stop = AtomicBool::new(false);
            let outcome = Trainer::new(&config, &resumed)
                .device(&gpu())
                .cuda_graphs(true)
                .stop_flag(&stop)
                .run(&mut StopAt(4, &stop))
                .unwrap();
            assert!(matches!(outcome, Outcome::Interrupted(4)));
            finish(&config, &resumed, true);
            same_end(&eager, &resumed);
        }
    }
}
