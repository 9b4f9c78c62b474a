//! Targets for prepared datasets, run directories and settings from untrusted sources: checksums
//! are valid, everything else is arbitrary.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use prl_core::PromptSpec;
use prl_dataset::{
    Arrays, Audit, Dataset, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write,
};
use prl_fs::FileEntry;
use prl_runs::{Config, Device, Event, Run};
use prl_train::{Observer, Trainer};
use serde_json::{Value, json};

use crate::{message, scratch};

const ITEMS: u32 = 12;
const DATASET: [&str; 3] = ["manifest.json", "events.safetensors", "items.safetensors"];
const RUN: [&str; 4] = [
    "returns.json",
    "config.toml",
    "items.safetensors",
    "purchase_counts.safetensors",
];
const BEST: [&str; 2] = ["best/manifest.json", "best/weights.safetensors"];

struct Quiet;
impl Observer for Quiet {}

/// Small valid dataset.
fn small_dataset() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(write_small_dataset)
}

fn write_small_dataset() -> PathBuf {
    let out = scratch().join("dataset");
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for s in 0..20_u32 {
        for t in 0..4 {
            arrays.items.push((s + t) % ITEMS);
            arrays.kinds.push(if s % 3 == 0 {
                Kind::Purchase
            } else {
                Kind::Click
            });
            arrays.times.push(i64::from(10 * s + t));
            arrays.splits.push(
                [Split::Test, Split::Val]
                    .get(s as usize)
                    .copied()
                    .unwrap_or(Split::Train),
            );
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let items = ItemMap::new((0..ITEMS).map(|i| format!("item-{i}"))).unwrap();
    let source = Source {
        kind: "test".into(),
        synthetic: true,
        files: Vec::new(),
    };
    let input = ManifestInput {
        source,
        options: Default::default(),
        seed: 0,
        counts: DatasetCounts::default(),
    };
    write(&out, &arrays, &items, input).unwrap();
    out
}

/// Small valid run of a few training steps.
pub(crate) fn small_run() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(train_small_run)
}

fn train_small_run() -> PathBuf {
    let out = scratch().join("run");
    let data = small_dataset().to_owned();
    let mut config = Config {
        data,
        batch_size: 4,
        max_steps: Some(4),
        eval_every: 2,
        ..Config::default()
    };
    (config.model.dim, config.model.window) = (4, 3);
    Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
        .unwrap();
    out
}

/// Replaces the file that the first byte of `input` selects by the rest, and updates its checksum
/// in the manifest.
fn replace<'a>(dir: &Path, files: &[&'a str], manifest: &str, input: &[u8]) -> Option<&'a str> {
    let (&which, rest) = input.split_first()?;
    let name = files[which as usize % files.len()];
    fs::write(dir.join(name), rest).ok()?;
    let path = dir.join(manifest);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    let base = Path::new(name).file_name()?.to_str()?;
    let object = value.as_object_mut()?;
    for entry in object.get_mut("files")?.as_array_mut()? {
        if entry["name"] == base {
            *entry = json!(FileEntry::new(base, rest));
        }
    }
    // Without this field, verification would stop at the first difference.
    object.insert("check".into(), json!(""));
    if name != manifest {
        fs::write(path, value.to_string()).ok()?;
    }
    Some(name)
}

/// Copies a directory recursively.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            _ = fs::copy(entry.path(), target)
        }
    }
}

/// One file of a prepared dataset, selected by the first byte.
pub fn dataset(input: &[u8]) -> Result<(), String> {
    let dir = scratch().join("dataset-spoiled");
    copy(small_dataset(), &dir);
    replace(&dir, &DATASET, "manifest.json", input);
    Audit::new(&Dataset::open(&dir).map_err(message)?);
    Ok(())
}

/// One file of a run directory, selected by the first byte. A run that opens must recommend.
pub fn checkpoint(input: &[u8]) -> Result<(), String> {
    let dir = scratch().join("run-spoiled");
    copy(small_run(), &dir);
    let Some((&which, rest)) = input.split_first() else {
        return Ok(());
    };
    let input: Vec<u8> = std::iter::once(which / 2)
        .chain(rest.iter().copied())
        .collect();
    match which % 2 {
        0 => replace(&dir, &RUN, "returns.json", &input),
        _ => replace(&dir, &BEST, "best/manifest.json", &input),
    };
    let run = Run::open(&dir).map_err(message)?;
    let model = &run.config().model;
    // The largest valid model sizes are slow to build: skip them.
    if model.dim * model.window > 1 << 14 {
        return Ok(());
    }
    let model = run.load(&Device::Cpu).map_err(message)?;
    let session = [
        Event::click("item-1"),
        Event::click("item-2"),
        Event::click("?"),
    ];
    run.recommend(&model, &session, PromptSpec::default(), 5)
        .map_err(message)?;
    run.recommend(&model, &session[..0], run.ask(), 5)
        .map_err(message)?;
    Ok(())
}

/// Training settings. Accepted settings must survive a round trip through their own TOML.
pub fn config(input: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(input).map_err(message)?;
    let config: Config = text
        .parse::<toml::Table>()
        .and_then(toml::Table::try_into)
        .map_err(message)?;
    config.check().map_err(message)?;
    let again: Config = toml::from_str(&config.to_toml().unwrap()).unwrap();
    assert_eq!(config, again);
    Ok(())
}

/// Valid inputs of [`dataset`], [`checkpoint`] and [`import`](crate::import), as a start for
/// mutations.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let (dir, files) = match target {
        "dataset" => (small_dataset(), [&DATASET[..], &[]]),
        "checkpoint" => (small_run(), [&RUN[..], &BEST[..]]),
        "import" => return crate::exchange::seeds(),
        _ => return Vec::new(),
    };
    let groups = files.iter().filter(|names| !names.is_empty()).count() as u8;
    let mut seeds = Vec::new();
    for (group, names) in (0..groups).zip(files) {
        for (i, name) in (0..).zip(names) {
            seeds.push(
                [
                    &[i * groups + group],
                    fs::read(dir.join(name)).unwrap().as_slice(),
                ]
                .concat(),
            );
        }
    }
    seeds
}
