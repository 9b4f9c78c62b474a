//! Gradients of the modern recipe's whole model against finite differences of its loss.

use candle_core::{DType, Device, Tensor};
use prl_core::Prompts;
use prl_dataset::{Kind, Windows};
use prl_encoders::EncoderKind;
use prl_model::{
    Adam, MainNetwork, Model, ModelConfig, ModelSpec, NetworkOptions, OwnItems, StepTimes,
    TrainingBatch,
};
use prl_runs::{Config, Recipe};
use prl_testkit::flat;

const ITEMS: usize = 9;

fn model(encoder: EncoderKind, dropout: f64) -> Model {
    let config = ModelConfig {
        encoder,
        dim: 4,
        window: 5,
        own_items: OwnItems::Learned,
        event_kinds: true,
        label_smoothing: 0.125,
        item_dropout: dropout,
        ..Config::of_recipe(Recipe::Modern).model
    };
    let options: NetworkOptions = config.network_options();
    let plan = ModelSpec {
        dim: 4,
        items: ITEMS,
        block: None,
        is_double: false,
        seed: 1,
        dtype: DType::F64,
        options,
    };
    let model = Model::new(&config, &plan, &Device::Cpu).unwrap();
    // Items of unit scale, and no parameter at its initial zero.
    for (name, var) in model.parameters() {
        let n = var.elem_count();
        let scale = if name == "item_emb.weight" { 1.0 } else { 0.3 };
        let wave: Vec<f64> = (0..n)
            .map(|i| scale * (0.7 * i as f64 + 0.1).sin())
            .collect();
        let wave = Tensor::from_vec(wave, var.shape(), &Device::Cpu).unwrap();
        var.set(&(var.as_tensor() + wave).unwrap()).unwrap();
    }
    model
}

fn batch() -> TrainingBatch {
    let (c, p) = (Kind::Click, Kind::Purchase);
    let mut windows = Windows::new(5);
    windows.push_events(&[0, 3, 6, 3, 1], &[c, p, c, c, c], ITEMS as u32);
    windows.push_events(&[5, 2, 2], &[c, c, p], ITEMS as u32);
    windows.push(&[], ITEMS as u32);
    windows.push_events(&[7, 7, 7, 8], &[c, c, c, p], ITEMS as u32);
    let prompts = Prompts {
        returns: vec![1.0; 4],
        steps: windows.time_steps.clone(),
        tilt: 0.0,
    };
    TrainingBatch {
        windows,
        prompts,
        targets: vec![3, 6, 0, 7],
        loss_weights: vec![0.1, 0.4, 0.2, 0.3],
        transitions: None,
        sequences: None,
    }
}

/// The loss of the first training step; a learning rate of zero leaves the weights as they are.
fn loss(model: &Model) -> f64 {
    let (adam, turn) = (Adam::new(0.0), MainNetwork::single(1));
    model
        .step(adam, turn, &batch(), &mut StepTimes::default())
        .unwrap()
}

fn check(encoder: EncoderKind, dropout: f64) {
    let trained = model(encoder, dropout);
    loss(&trained);
    let probe = model(encoder, dropout);
    for ((_, param), (name, var)) in trained.adam_params().zip(probe.parameters()) {
        // After one step the first moment is (1 - beta) times the gradient.
        let gradient = flat(&(param.first.as_tensor() / 0.1).unwrap());
        let values = flat(var);
        for (i, &found) in gradient.iter().enumerate() {
            let at = |shift: f64| {
                let mut moved = values.clone();
                moved[i] += shift;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap())
                    .unwrap();
                loss(&probe)
            };
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            at(0.0);
            assert!(
                (found - slope).abs() < 1e-7 * (1.0 + slope.abs()),
                "{name}[{i}] of {}: {found}, the loss has a slope of {slope}",
                encoder.name()
            );
        }
    }
}

#[test]
fn gradients_of_every_encoder_match_finite_differences() {
    for &encoder in EncoderKind::ALL {
        check(encoder, 0.0);
    }
    check(EncoderKind::modern(), 0.25);
}
