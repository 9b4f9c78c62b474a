//! A small dataset, and runs of it with random weights.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use prl_dataset::{Arrays, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write};
use prl_export::{ImportOptions, Settings, import};
use prl_runs::{Config, Run};
use rand::Rng;

/// Items of the dataset.
pub const ITEMS: u32 = 23;

/// A temporary directory with a dataset of 60 sessions, some of which repeat items.
pub fn dataset() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = prl_seed::stream(5, "export", 0);
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in 0..60_i64 {
        for event in 0..5 {
            arrays.items.push(rng.random_range(0..ITEMS));
            let is_purchase = rng.random_bool(0.3);
            arrays.kinds.push(if is_purchase {
                Kind::Purchase
            } else {
                Kind::Click
            });
            arrays.times.push(10 * session + event);
            arrays.splits.push(if session < 50 {
                Split::Train
            } else {
                Split::Test
            });
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let out = dir.path().join("data");
    let items = ItemMap::new((0..ITEMS).map(|i| format!("item-{i}"))).unwrap();
    let source = Source {
        kind: "test".into(),
        synthetic: true,
        files: Vec::new(),
    };
    let draft = ManifestInput {
        source,
        options: Default::default(),
        seed: 0,
        counts: DatasetCounts::default(),
    };
    write(&out, &arrays, &items, draft).unwrap();
    (dir, out)
}

/// Random weights of every tensor of the settings' network.
pub fn random_weights(config: &Config) -> Vec<(String, Tensor)> {
    let model = config.fresh_model(ITEMS as usize, &Device::Cpu).unwrap();
    let mut named = Vec::new();
    for (name, tensor) in model.named_parameters().unwrap() {
        let mut rng = prl_seed::stream(9, &name, 0);
        let mut values: Vec<f32> = Vec::new();
        for _ in 0..tensor.elem_count() {
            values.push(rng.random_range(-0.7..0.7));
        }
        let random = Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap();
        named.push((name, random));
    }
    named
}

/// Writes tensors as a file and returns its path.
pub fn write_weights(dir: &Path, named: Vec<(String, Tensor)>) -> PathBuf {
    let path = dir.join("weights.safetensors");
    safetensors::serialize_to_file(named, None, &path).unwrap();
    path
}

/// Imports a file of weights with these settings as the run `DIR/run`.
pub fn import_run(dir: &Path, config: &Config, weights: PathBuf) -> prl_export::Result<Run> {
    let settings = dir.join("config.toml");
    std::fs::write(&settings, config.to_toml().unwrap()).unwrap();
    let options = ImportOptions {
        weights,
        settings: Settings::File(settings),
        data: None,
        names: None,
    };
    let out = dir.join("run");
    import(&options, &out)?;
    Ok(Run::open(&out)?)
}

/// A run with random weights.
pub fn random_run(dir: &Path, config: &Config) -> Run {
    let mut config = config.clone();
    if config.model.own_items == prl_model::OwnItems::Auto {
        config.model.own_items = prl_model::OwnItems::Learned;
    }
    let weights = write_weights(dir, random_weights(&config));
    import_run(dir, &config, weights).unwrap()
}
