//! Target for files of other programs that become a run: weights, names of tensors and settings.

use std::fs;
use std::path::Path;

use prl_export::{ImportOptions, Settings};
use prl_runs::{Device, Run};
use serde_json::json;

use crate::saved::small_run;
use crate::{message, scratch};

/// The files, the one that is replaced selected by the first byte.
const FILES: [&str; 3] = ["weights.safetensors", "names.toml", "config.json"];

/// The valid contents of a file.
fn valid(name: &str) -> Vec<u8> {
    match name {
        "weights.safetensors" => fs::read(small_run().join("best").join(name)).unwrap(),
        "names.toml" => b"\"head.bias\" = \"head.bias\"\n".to_vec(),
        _ => {
            let run = Run::open(small_run()).unwrap();
            json!({ "settings": run.config() }).to_string().into_bytes()
        }
    }
}

/// An import with one file replaced. A run that is made must load.
pub fn import(input: &[u8]) -> Result<(), String> {
    let dir = scratch().join("import");
    fs::create_dir_all(&dir).map_err(message)?;
    let Some((&which, rest)) = input.split_first() else {
        return Ok(());
    };
    let replaced = FILES[which as usize % FILES.len()];
    for name in FILES {
        let bytes = match name == replaced {
            true => rest.to_vec(),
            false => valid(name),
        };
        fs::write(dir.join(name), bytes).map_err(message)?;
    }
    if replaced == "config.json" && is_large(rest) {
        return Ok(());
    }
    let options = ImportOptions {
        weights: dir.join("weights.safetensors"),
        settings: Settings::File(dir.join("config.json")),
        data: Some(Run::open(small_run()).unwrap().config().data.clone()),
        names: Some(dir.join("names.toml")),
    };
    let out = dir.join("out");
    let made = prl_export::import(&options, &out).map_err(message);
    if made.is_ok() {
        Run::open(&out).unwrap().load(&Device::Cpu).unwrap();
    }
    assert_eq!(made.is_ok(), out.exists(), "a failed import leaves nothing");
    remove(&out);
    made.map(|_| ())
}

/// Whether settings are of a valid network that is slow to build.
fn is_large(settings: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(settings) else {
        return false;
    };
    let model = &value["settings"]["model"];
    let size = |name: &str| model[name].as_u64().unwrap_or(64);
    size("dim").saturating_mul(size("window")) > 1 << 14
}

fn remove(dir: &Path) {
    // It is absent after a refused import.
    _ = fs::remove_dir_all(dir);
}

/// Valid inputs, as a start for mutations.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (i, name) in (0_u8..).zip(FILES) {
        seeds.push([&[i], valid(name).as_slice()].concat());
    }
    seeds
}
