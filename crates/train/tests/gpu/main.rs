//! Training on a GPU compared with the CPU. Needs a GPU or the CUDA emulator
//! (`cargo xtask cuda-emulator`).

#[path = "../common/mod.rs"]
mod common;
mod head_dtype;
mod step_graphs;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Tensor, safetensors};
use common::{ITEMS, Quiet, StopAt, quick, ring, same_end};
use prl_core::{AttentionKeys, PromptSpec, Prompts};
use prl_dataset::{Split, SplitExamples, Windows};
use prl_kernels::ops::adam::Adam;
use prl_model::{MainNetwork, Model, ModelSpec, StepTimes, TrainingBatch, device};
use prl_runs::{Config, Device, Method, Run, cases};
use prl_train::{Outcome, Trainer};

pub(crate) fn gpu() -> Device {
    device("cuda").expect("a GPU, or `cargo xtask cuda-emulator`")
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        max_steps: Some(3),
        eval_every: 3,
        batch_size: 40,
        warm_up: Some(1),
        ..quick(ring(dir, 200))
    }
}

pub(crate) fn finish(config: &Config, dir: &Path, device: &Device) -> Run {
    let outcome = Trainer::new(config, dir)
        .device(device)
        .resume(true)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
        .unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    Run::open(dir).unwrap()
}

/// Adam's first moments at the end of a run: weighted sums of its gradients.
pub(crate) fn moments(run: &Path) -> HashMap<String, Vec<f32>> {
    let saved =
        safetensors::load(run.join("checkpoint/moments.safetensors"), &Device::Cpu).unwrap();
    let first = saved
        .into_iter()
        .filter(|(name, _)| name.starts_with("first."));
    first
        .map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap()))
        .collect()
}

pub(crate) fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Asserts that training on both devices gave the same results within tolerance.
fn same_way(config: &Config, dir: &Path, name: &str) {
    let [a, b] = [Device::Cpu, gpu()].map(|device| {
        let out = dir.join(format!("{name} {}", device.is_cuda()));
        finish(config, &out, &device);
        moments(&out)
    });
    let largest = a
        .values()
        .map(|x| norm(x.iter().copied()))
        .fold(0.0, f64::max);
    for (tensor, x) in &a {
        let (size, apart) = (
            norm(x.iter().copied()),
            norm(x.iter().zip(&b[tensor]).map(|(x, y)| x - y)),
        );
        // What shifts all scores of a softmax alike has a gradient of rounding alone.
        let limit = 1e-3 * size + 1e-6 * largest;
        assert!(
            apart < limit,
            "{name}: {tensor} is {size}, and {apart} apart"
        );
    }
}

#[test]
fn every_encoder_and_method_matches_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    for method in Method::ALL.into_iter().filter(|method| method.is_neural()) {
        for encoder in prl_encoders::EncoderKind::ALL {
            (config.method, config.model.encoder) = (method, *encoder);
            same_way(
                &config,
                dir.path(),
                &format!("{encoder:?} {}", method.name()),
            );
        }
    }
    config.method = Method::Prl;
    config.model.encoder = prl_encoders::EncoderKind::ALL[3];
    config.model.attention = AttentionKeys::Outputs;
    same_way(&config, dir.path(), "as released");
}

#[test]
fn wide_layers_and_odd_sizes_match_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    for (dim, window, batch_size) in [(1, 4, 1), (33, 7, 3), (300, 5, 10)] {
        for encoder in prl_encoders::EncoderKind::ALL {
            (config.batch_size, config.model.encoder) = (batch_size, *encoder);
            (config.model.dim, config.model.window) = (dim, window);
            same_way(
                &config,
                dir.path(),
                &format!("{encoder:?} of {dim}, {window}, {batch_size}"),
            );
        }
    }
}

#[test]
fn training_repeats_and_resumes_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_steps: Some(6),
        ..config(dir.path())
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
    finish(&config, &a, &gpu());
    finish(&config, &b, &gpu());
    same_end(&a, &b);
    let stop = AtomicBool::new(false);
    let outcome = Trainer::new(&config, &c)
        .device(&gpu())
        .resume(true)
        .stop_flag(&stop)
        .run(&mut StopAt(4, &stop))
        .unwrap();
    assert!(matches!(outcome, Outcome::Interrupted(4)));
    finish(&config, &c, &gpu());
    same_end(&a, &c);
}

#[test]
fn ranking_matches_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let run = finish(
        &Config {
            max_steps: Some(60),
            ..config(dir.path())
        },
        &dir.path().join("run"),
        &Device::Cpu,
    );
    let data = run.data(None).unwrap();
    let [a, b] = [Device::Cpu, gpu()].map(|device| {
        let model = run.load(&device).unwrap();
        let all = SplitExamples::new(&data, Split::Test, false);
        [0, 1, 20, 40].map(|k| {
            let said = cases(&run, &model, &all, PromptSpec::default(), 7, k).unwrap();
            (
                said.cases.iter().map(|case| case.rank).collect::<Vec<_>>(),
                said.top,
            )
        })
    });
    assert_eq!(a, b);
}

fn model(device: &Device) -> Model {
    let mut config = Config {
        method: Method::Prl,
        ..Config::default()
    };
    config.model.dim = 4;
    let items = ITEMS as usize;
    let plan = ModelSpec {
        dim: 4,
        items,
        block: config.block(),
        is_double: false,
        seed: 1,
        dtype: DType::F32,
        options: prl_model::NetworkOptions::default(),
    };
    Model::new(&config.model, &plan, device).unwrap()
}

fn asked() -> (Windows, Prompts) {
    let mut windows = Windows::new(10);
    (0..6).for_each(|i| windows.push(&[i, i + 1, i + 2], ITEMS));
    (
        windows,
        Prompts {
            returns: vec![1.0; 6],
            steps: vec![3; 6],
            tilt: 0.0,
        },
    )
}

#[test]
fn non_finite_values_stop_the_step() {
    let step = |scale: f64| {
        let (windows, prompts) = asked();
        let examples = TrainingBatch {
            windows,
            prompts,
            targets: vec![3; 6],
            loss_weights: vec![scale; 6],
            transitions: None,
            sequences: None,
        };
        model(&gpu()).step(
            Adam::new(0.01),
            MainNetwork::single(7),
            &examples,
            &mut StepTimes::default(),
        )
    };
    assert!(step(0.1).is_ok());
    for (scale, what) in [
        (f64::NAN, "the loss"),
        (f64::from(f32::MAX) * 0.9, "at step 7"),
    ] {
        let Err(error @ prl_model::Error::Diverged { .. }) = step(scale) else {
            panic!("{scale}")
        };
        assert!(error.to_string().contains(what), "{error}");
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (model, (windows, prompts)) = (model(&gpu()), asked());
        assert!(model.rank(&windows, &prompts, None, 3).is_ok());
        let (_, bias) = model
            .parameters()
            .find(|(name, _)| name == "head.bias")
            .unwrap();
        let mut values = vec![0.0; ITEMS as usize];
        values[8] = bad;
        bias.set(
            &Tensor::from_vec(values, ITEMS as usize, &Device::Cpu)
                .unwrap()
                .to_device(bias.device())
                .unwrap(),
        )
        .unwrap();
        let ranked = model.rank(&windows, &prompts, Some(&[0; 6]), 3);
        assert!(
            matches!(ranked, Err(prl_model::Error::NotFinite(_))),
            "{bad}"
        );
    }
}
