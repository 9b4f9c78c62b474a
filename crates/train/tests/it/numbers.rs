//! Non-finite values stop a training with an error that names the step and the cause; the last good
//! checkpoint is kept.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::common::{Quiet, StopAt, quick, ring};
use candle_core::{DType, Tensor};
use prl_core::Prompts;
use prl_dataset::Windows;
use prl_fs::FileEntry;
use prl_kernels::ops::adam::Adam;
use prl_model::{MainNetwork, Model, ModelSpec, StepTimes, TrainingBatch};
use prl_runs::{Config, Device, Error, Run};
use prl_train::{Observer, Outcome, Trainer};

fn small(dir: &Path) -> Config {
    let mut config = Config {
        max_steps: Some(8),
        eval_every: 2,
        ..quick(ring(dir, 60))
    };
    (config.batch_size, config.model.dim) = (8, 4);
    config
}

fn diverged(error: Error, what: &str) -> u64 {
    let message = error.to_string();
    let Error::Model(prl_model::Error::Diverged { step, .. }) = error else {
        panic!("{message}")
    };
    assert!(
        message.contains(what) && message.contains(&format!("at step {step}")),
        "{message}"
    );
    step
}

/// Sets every weight of a saved model to `value` and updates the checksums.
fn poison(checkpoint: &Path, value: f32) {
    let path = checkpoint.join("weights.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[header..]
        .chunks_exact_mut(4)
        .for_each(|weight| weight.copy_from_slice(&value.to_le_bytes()));
    fs::write(&path, &bytes).unwrap();
    let manifest = checkpoint.join("manifest.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    for entry in json["files"].as_array_mut().unwrap() {
        if entry["name"] == "weights.safetensors" {
            *entry = serde_json::to_value(FileEntry::new("weights.safetensors", &bytes)).unwrap();
        }
    }
    fs::write(&manifest, json.to_string()).unwrap();
}

#[test]
fn nan_loss_stops_with_its_step_and_keeps_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (config, out) = (small(dir.path()), dir.path().join("run"));
    let go_on = |observer: &mut dyn Observer, stop: &AtomicBool| {
        Trainer::new(&config, &out)
            .device(&Device::Cpu)
            .resume(true)
            .stop_flag(stop)
            .run(observer)
    };
    let stop = AtomicBool::new(false);
    assert!(matches!(
        go_on(&mut StopAt(5, &stop), &stop).unwrap(),
        Outcome::Interrupted(5)
    ));
    let best = fs::read(out.join("best/weights.safetensors")).unwrap();
    poison(&out.join("checkpoint"), f32::MAX);
    let before = fs::read(out.join("checkpoint/weights.safetensors")).unwrap();
    assert_eq!(
        diverged(
            go_on(&mut Quiet, &AtomicBool::new(false)).unwrap_err(),
            "the loss is"
        ),
        6
    );
    assert_eq!(
        fs::read(out.join("checkpoint/weights.safetensors")).unwrap(),
        before
    );
    assert_eq!(
        fs::read(out.join("best/weights.safetensors")).unwrap(),
        best
    );
    Run::open(&out).unwrap().load(&Device::Cpu).unwrap();
    poison(&out.join("checkpoint"), f32::NAN);
    let error = go_on(&mut Quiet, &AtomicBool::new(false))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not finite") && error.contains("weights.safetensors"),
        "{error}"
    );
}

#[test]
fn too_large_learning_rate_is_reported_as_divergence() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        lr: Some(1e30),
        ..small(dir.path())
    };
    let out = dir.path().join("run");
    let error = Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
        .unwrap_err();
    assert!(diverged(error, "smaller --lr") >= 2);
    assert!(!out.join("manifest.json").exists());
}

fn model(config: &Config) -> Model {
    let plan = ModelSpec {
        dim: 4,
        items: 9,
        block: config.block(),
        is_double: false,
        seed: 1,
        dtype: DType::F32,
        options: prl_model::NetworkOptions::default(),
    };
    Model::new(&config.model, &plan, &Device::Cpu).unwrap()
}

fn windows() -> Windows {
    let mut windows = Windows::new(5);
    (0..6).for_each(|i| windows.push(&[i, i + 1, i + 2], 9));
    windows
}

fn prompts() -> Prompts {
    Prompts {
        returns: vec![1.0; 6],
        steps: vec![3; 6],
        tilt: 0.0,
    }
}

#[test]
fn non_finite_gradient_stops_before_the_update() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(&small(dir.path()));
    // In double precision the loss is still a number; the gradients, in single, are not.
    let scale = vec![f64::from(f32::MAX) * 0.99; 6];
    let examples = TrainingBatch {
        windows: windows(),
        prompts: prompts(),
        targets: vec![3; 6],
        loss_weights: scale,
        transitions: None,
        sequences: None,
    };
    let turn = MainNetwork::single(7);
    let error = model
        .step(Adam::new(0.01), turn, &examples, &mut StepTimes::default())
        .unwrap_err();
    assert_eq!(diverged(error.into(), "the gradient of"), 7);
}

#[test]
fn non_finite_scores_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let model = model(&small(dir.path()));
        assert!(model.rank(&windows(), &prompts(), None, 3).is_ok());
        let (_, bias) = model
            .parameters()
            .find(|(name, _)| name == "head.bias")
            .unwrap();
        let mut values = vec![0.0; 9];
        values[8] = bad;
        bias.set(&Tensor::from_vec(values, 9, &Device::Cpu).unwrap())
            .unwrap();
        let ranked = model.rank(&windows(), &prompts(), Some(&[0; 6]), 3);
        assert!(
            matches!(ranked, Err(prl_model::Error::NotFinite(_))),
            "{bad}"
        );
        let mut one = Windows::new(5);
        one.push(&[1, 2], 9);
        let prompt = Prompts {
            returns: vec![1.0],
            steps: vec![2],
            tilt: 0.0,
        };
        assert!(
            matches!(
                model.scores(&one, &prompt, &[0, 8]),
                Err(prl_model::Error::NotFinite(_))
            ),
            "{bad}"
        );
    }
}
