//! A small learnable log: item i is followed by i + 1, and sometimes by a random item.
#![allow(dead_code, reason = "no file of tests uses all of it")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use prl_dataset::{Arrays, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write};
use prl_runs::Config;
use prl_train::Observer;
use rand::Rng;

/// An observer that ignores every event.
pub struct Quiet;
impl Observer for Quiet {}

/// An observer that sets the stop flag at a given step.
pub struct StopAt<'a>(pub u64, pub &'a AtomicBool);
impl Observer for StopAt<'_> {
    fn step(&mut self, step: u64, _: u64, _: f64) {
        self.1.store(step == self.0, Ordering::Relaxed);
    }
}

/// Items of the log.
pub const ITEMS: u32 = 60;

/// Writes the log as a prepared dataset of `sessions` sessions of 6 events and returns its
/// directory.
pub fn ring(dir: &Path, sessions: usize) -> PathBuf {
    ring_in_splits(dir, sessions, &[Split::Test, Split::Val])
}

/// As [`ring`], with the first of every ten sessions in these splits and the others in train.
pub fn ring_in_splits(dir: &Path, sessions: usize, splits: &[Split]) -> PathBuf {
    let mut rng = prl_seed::stream(11, "ring", 0);
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for s in 0..sessions {
        let split = splits.get(s % 10).copied().unwrap_or(Split::Train);
        let mut item = rng.random_range(0..ITEMS);
        for t in 0..6 {
            arrays.items.push(item);
            arrays.kinds.push(if item % 5 == 0 {
                Kind::Purchase
            } else {
                Kind::Click
            });
            arrays.times.push((s * 10 + t) as i64);
            arrays.splits.push(split);
            item = if rng.random_bool(0.8) {
                (item + 1) % ITEMS
            } else {
                rng.random_range(0..ITEMS)
            };
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let out = dir.join("ring");
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
    out
}

/// Settings that train on the log in one or two seconds.
pub fn quick(data: PathBuf) -> Config {
    let mut config = Config {
        data,
        batch_size: 64,
        lr: Some(0.01),
        eval_every: 50,
        max_steps: Some(200),
        ..Config::default()
    };
    config.model.dim = 16;
    config.model.window = 5;
    config
}

/// Asserts that two finished runs are bitwise equal: weights, moments, metrics (without times) and
/// the best checkpoint.
pub fn same_end(a: &Path, b: &Path) {
    for file in ["best/weights", "checkpoint/weights", "checkpoint/moments"] {
        let [a, b] =
            [a, b].map(|run| std::fs::read(run.join(format!("{file}.safetensors"))).unwrap());
        assert!(a == b, "{file} differ");
    }
    assert_eq!(metrics(a), metrics(b));
}

/// The metrics of a run without the times.
pub fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
        value
    };
    text.lines().map(line).collect()
}
