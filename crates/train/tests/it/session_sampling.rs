//! Training steps of whole sessions against the same steps by windows.

use candle_core::{DType, Device, Tensor};
use prl_dataset::{Arrays, Dataset, ItemMap, Kind, ManifestInput, Split, write};
use prl_encoders::{EncoderConfig, EncoderKind, SasRecConfig};
use prl_model::{Adam, MainNetwork, Model, ModelSpec, OwnItems, StepTimes, TrainingBatch};
use prl_runs::{Config, Method, Recipe, Sampling};
use prl_testkit::{assert_close, flat};
use prl_train::Batches;

use crate::common::{ITEMS, Quiet, StopAt, quick, ring, same_end};

/// Sessions of 1 to `longest` events of 23 items, with purchases and repeats.
fn log(dir: &std::path::Path, longest: usize) -> std::path::PathBuf {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for s in 0..40 {
        for t in 0..1 + s % longest {
            let i = s * s + 5 * t * t + t / 3;
            arrays.items.push((i % 23) as u32);
            arrays.kinds.push(match i % 4 {
                0 => Kind::Purchase,
                _ => Kind::Click,
            });
            arrays.times.push((s * 100 + t) as i64);
            arrays.splits.push(Split::Train);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let items = ItemMap::new((0..23).map(|i| format!("item-{i}"))).unwrap();
    write(dir, &arrays, &items, ManifestInput::default()).unwrap();
    dir.into()
}

fn settings(encoder: EncoderKind, method: Method) -> Config {
    let mut config = Config::of_recipe(Recipe::Modern);
    (config.method, config.sampling, config.batch_size) = (method, Sampling::Session, 50);
    let model = &mut config.model;
    (model.encoder, model.dim, model.window) = (encoder, 6, 5);
    (model.own_items, model.item_dropout, model.dropout) = (OwnItems::Learned, 0.0, 0.0);
    config
}

/// Loss and gradients of one step in f64, without dropout inside the encoder.
fn step(config: &Config, batch: &TrainingBatch) -> Vec<f64> {
    let plan = ModelSpec {
        dim: config.model.dim,
        items: 23,
        block: config.block(),
        is_double: false,
        seed: 1,
        dtype: DType::F64,
        options: config.model.network_options(),
    };
    let encoder = match config.model.encoder {
        EncoderKind::SasRec => EncoderConfig::SasRec(SasRecConfig { dropout: 0.0 }),
        kind => kind.config(),
    };
    let (dim, window) = (config.model.dim, config.model.window);
    let model = Model::with_encoder(
        |vb| encoder.clone().build(dim, window, vb),
        &plan,
        &Device::Cpu,
    )
    .unwrap();
    for (_, var) in model.parameters() {
        let mut wave = Vec::new();
        for i in 0..var.elem_count() {
            wave.push(0.4 * (0.7 * i as f64 + 0.1).sin());
        }
        let wave = Tensor::from_vec(wave, var.shape(), &Device::Cpu).unwrap();
        var.set(&(var.as_tensor() + wave).unwrap()).unwrap();
    }
    let (adam, turn) = (Adam::new(0.0), MainNetwork::single(1));
    let mut times = StepTimes::default();
    let mut all = vec![model.step(adam, turn, batch, &mut times).unwrap()];
    for (_, param) in model.adam_params() {
        // After one step the first moment is (1 - beta) times the gradient.
        all.extend(flat(&(param.first.as_tensor() / 0.1).unwrap()));
    }
    all
}

/// Asserts that steps of whole sessions have the loss and the gradients of their windows.
fn check(encoder: EncoderKind, method: Method, longest: usize) {
    let dir = tempfile::tempdir().unwrap();
    let data = Dataset::open(&log(&dir.path().join("log"), longest)).unwrap();
    let config = settings(encoder, method);
    config.check().unwrap();
    let rows = config.examples(&data, Split::Train);
    let returns =
        prl_dataset::ReturnTable::new(&[rows], config.rewards, config.lambda, config.discount);
    let batches = Batches::new(&data, &config, &returns);
    for t in 1..=batches.per_epoch() {
        let mut batch = batches.at(t);
        let whole = step(&config, &batch);
        let sequences = batch.sequences.take().unwrap();
        assert_eq!(sequences.states.len(), batch.targets.len());
        let rows: usize = batch.windows.lengths.iter().map(|&n| n as usize).sum();
        assert!(sequences.items.len() < rows, "fewer rows are encoded");
        assert_close(&whole, &step(&config, &batch), 1e-10);
    }
}

#[test]
fn sessions_within_the_window_have_the_loss_and_gradients_of_windows() {
    for &encoder in EncoderKind::ALL {
        if encoder.is_causal() {
            check(encoder, Method::Normal, 6);
            check(encoder, Method::Prl, 6);
        }
    }
}

#[test]
fn longer_sessions_have_those_of_windows_but_for_the_gru() {
    for encoder in [
        EncoderKind::Core,
        EncoderKind::SasRec,
        EncoderKind::NextItNet,
    ] {
        check(encoder, Method::Normal, 17);
    }
}

#[test]
fn interrupted_run_of_sessions_ends_bitwise_as_the_whole_run() {
    use std::sync::atomic::AtomicBool;
    let tmp = tempfile::tempdir().unwrap();
    let mut config = quick(ring(tmp.path(), 60));
    (config.sampling, config.max_steps, config.eval_every) = (Sampling::Session, Some(23), 10);
    config.model.encoder = EncoderKind::Gru;
    assert!(config.batch_size < 6 * ITEMS as usize);
    let (whole, parts) = (tmp.path().join("whole"), tmp.path().join("parts"));
    prl_train::Trainer::new(&config, &whole)
        .run(&mut Quiet)
        .unwrap();
    for stop in [3, 12, u64::MAX] {
        let flag = AtomicBool::new(false);
        prl_train::Trainer::new(&config, &parts)
            .resume(true)
            .stop_flag(&flag)
            .run(&mut StopAt(stop, &flag))
            .unwrap();
    }
    same_end(&whole, &parts);
}

#[test]
fn settings_that_sessions_do_not_fit_are_refused_with_the_mend() {
    let message = |edit: fn(&mut Config)| {
        let mut config = settings(EncoderKind::Gru, Method::Normal);
        edit(&mut config);
        config.check().unwrap_err().to_string()
    };
    let caser = message(|config| {
        (config.model.encoder, config.model.window) = (EncoderKind::Caser, 10);
    });
    assert!(
        caser.contains("needs a causal encoder (gru, nextitnet, sasrec, core), not caser"),
        "{caser}"
    );
    assert!(caser.ends_with("use sampling = \"pass\""), "{caser}");
    let sqn = message(|config| {
        *config = Config::default();
        (config.method, config.sampling) = (Method::Sqn, Sampling::Session);
    });
    assert!(sqn.contains("trains one network, sqn two"), "{sqn}");
    let released = message(|config| {
        config.model.encoder = EncoderKind::SasRec;
        config.model.attention = prl_core::AttentionKeys::Outputs;
    });
    assert!(released.contains("attention = \"released\""), "{released}");
}
