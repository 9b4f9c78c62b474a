//! A small log, its training, and the Python that reads trackers back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use prl_dataset::{Arrays, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write};
use prl_runs::Config;
use prl_tracking::{RunEnd, Target, Tracking};
use prl_train::{Observer, Observers, Outcome, Trainer};

const ITEMS: u32 = 20;
const SESSIONS: u32 = 200;

/// Writes a log in which item i is followed by i + 1, and every fifth item is bought.
fn dataset(dir: &Path) -> PathBuf {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for s in 0..SESSIONS {
        let split = match s % 10 {
            0 => Split::Test,
            1 => Split::Val,
            _ => Split::Train,
        };
        for t in 0..5 {
            let item = (s * 7 + t) % ITEMS;
            let is_bought = item.is_multiple_of(5);
            arrays.items.push(item);
            arrays.kinds.push(if is_bought {
                Kind::Purchase
            } else {
                Kind::Click
            });
            arrays.times.push(i64::from(s * 10 + t));
            arrays.splits.push(split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let out = dir.join("data");
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

/// Settings of a training of 12 steps with 4 validations.
pub fn settings(dir: &Path) -> Config {
    let mut config = Config {
        data: dataset(dir),
        max_steps: Some(12),
        eval_every: 3,
        batch_size: 16,
        ..Config::default()
    };
    config.model.dim = 8;
    config
}

struct StopAt<'a>(u64, &'a AtomicBool);

impl Observer for StopAt<'_> {
    fn step(&mut self, step: u64, _: u64, _: f64) {
        self.1.store(step == self.0, Ordering::Relaxed);
    }
}

/// Trains until `stop_at`, or to the end, and tracks it in `targets`.
pub fn train(config: &Config, run: &Path, stop_at: Option<u64>, targets: &[Target]) {
    let stop = AtomicBool::new(false);
    let mut stopper = StopAt(stop_at.unwrap_or(u64::MAX), &stop);
    let mut tracking = Tracking::new(targets.to_vec(), None).unwrap();
    let outcome = Trainer::new(config, run)
        .resume(true)
        .stop_flag(&stop)
        .run(&mut Observers(vec![&mut stopper, &mut tracking]))
        .unwrap();
    let end = match outcome {
        Outcome::Finished(_) => RunEnd::Finished,
        Outcome::Interrupted(_) => RunEnd::Interrupted,
    };
    tracking.finish(end);
}

/// A Python with the module: `PRL_TRACKING_PYTHON` or `python3`; `None`, with a message, if there
/// is none.
pub fn python_with(module: &str) -> Option<String> {
    let python = std::env::var("PRL_TRACKING_PYTHON").unwrap_or("python3".into());
    let found = Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no {module}; PRL_TRACKING_PYTHON names a Python that has it");
    None
}

/// Output of `read_back.py`: number of equal values, settings and status.
pub fn read_back(python: &str, run: &Path, args: &[&str]) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_back.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(run.join("metrics.jsonl"))
        .args(args);
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    serde_json::from_slice(&output.stdout).unwrap()
}
