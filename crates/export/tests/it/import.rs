//! Runs made of files of weights.

use std::path::Path;

use candle_core::{Device, Tensor};
use prl_export::{Error, ImportOptions, Settings, import};
use prl_runs::{Config, Recommender, Run, Validation};

use crate::common::{dataset, import_run, random_weights, write_weights};

fn small(data: &Path) -> Config {
    let mut config = Config {
        data: data.to_owned(),
        ..Config::default()
    };
    config.model.dim = 6;
    config.model.window = 5;
    config
}

#[test]
fn imported_run_has_the_weights_of_the_file() {
    let (dir, data) = dataset();
    let config = small(&data);
    let named = random_weights(&config);
    let weights = write_weights(dir.path(), named.clone());
    let run = import_run(dir.path(), &config, weights.clone()).unwrap();
    let Recommender::Neural(model) = run.load(&Device::Cpu).unwrap() else {
        panic!("a network")
    };
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let loaded = model.named_parameters().unwrap();
    assert_eq!(loaded.len(), named.len());
    for ((name, loaded), (_, given)) in loaded.iter().zip(&named) {
        assert_eq!(flat(loaded), flat(given), "{name}");
    }
    let manifest = run.manifest().unwrap().unwrap();
    assert_eq!(manifest.validation, Validation::None);
    assert_eq!(manifest.imported.unwrap().file, "weights.safetensors");

    // The same file with the settings of that run, under other names.
    let mut renamed = Vec::new();
    let mut map = String::new();
    for (name, tensor) in named {
        map += &format!("\"{name}\" = \"net.{name}\"\n");
        renamed.push((format!("net.{name}"), tensor));
    }
    let other = write_weights(dir.path(), renamed);
    let names = dir.path().join("names.toml");
    std::fs::write(&names, map).unwrap();
    let options = ImportOptions {
        weights: other,
        settings: Settings::Like(run.dir().to_owned()),
        data: None,
        names: Some(names),
    };
    let again = dir.path().join("again");
    let manifest = import(&options, &again).unwrap();
    assert_eq!(manifest.model, run.model_name().unwrap());
    assert_eq!(Run::open(&again).unwrap().config(), run.config());
}

#[test]
fn every_wrong_tensor_is_listed_and_nothing_is_written() {
    let (dir, data) = dataset();
    let config = small(&data);
    let mut named = random_weights(&config);
    named.retain(|(name, _)| name != "head.bias");
    for (name, tensor) in &mut named {
        if name == "encoder.bias" {
            *tensor = Tensor::zeros(7, tensor.dtype(), &Device::Cpu).unwrap();
        }
        if name == "head.weight" {
            *tensor = (tensor.zeros_like().unwrap() / 0.0).unwrap();
        }
    }
    let more = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    named.push(("decoder".into(), more));
    let weights = write_weights(dir.path(), named);
    let error = import_run(dir.path(), &config, weights).err().unwrap();
    let Error::Mismatch { mut problems, .. } = error else {
        panic!("{error}")
    };
    problems.sort();
    let expected = [
        "extra: decoder [2, 3]",
        "missing: head.bias [23]",
        "not finite: head.weight holds NaN or infinity",
        "wrong shape: encoder.bias is [7], the network's is [18]",
    ];
    assert_eq!(problems, expected);
    assert!(!dir.path().join("run").exists());
}

#[test]
fn unreadable_files_are_named_with_a_mend() {
    let (dir, data) = dataset();
    let weights = dir.path().join("weights.safetensors");
    std::fs::write(&weights, "not tensors").unwrap();
    let error = import_run(dir.path(), &small(&data), weights.clone())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("safetensors.torch.save_file"),
        "{error}"
    );
    for (name, text) in [
        ("settings.toml", "metod = \"prl\""),
        ("settings.json", "{\"settings\": 7}"),
        ("settings.json", "\"settings\""),
        ("settings.json", "{}"),
    ] {
        let settings = dir.path().join(name);
        std::fs::write(&settings, text).unwrap();
        let options = ImportOptions {
            weights: weights.clone(),
            settings: Settings::File(settings),
            data: Some(data.clone()),
            names: None,
        };
        let error = import(&options, &dir.path().join("run")).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("config.toml of a run"),
            "{text}: {message}"
        );
    }
}
