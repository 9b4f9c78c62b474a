//! Disk faults: a failed write leaves a loadable checkpoint and an error, and the resumed run
//! equals an uninterrupted one. Damaged files are rejected.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use common::{Quiet, quick, ring, same_end};
use prl_fs::failpoint::{Fault, Operation, with};
use prl_runs::{Config, Device, Error, Method, Run};
use prl_train::{Outcome, Trainer};

const NO_SPACE: i32 = 28;
const IO: i32 = 5;

fn run(config: &Config, dir: &Path) -> Result<Outcome, Error> {
    Trainer::new(config, dir)
        .device(&Device::Cpu)
        .resume(true)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
}

fn small(dir: &Path, method: Method) -> Config {
    let mut config = Config {
        method,
        max_steps: Some(6),
        eval_every: 2,
        ..quick(ring(dir, 60))
    };
    (config.batch_size, config.model.dim) = (8, 4);
    config
}

/// The step of a run's checkpoint; `None` if there is none.
fn saved(dir: &Path) -> Option<u64> {
    let json = fs::read(dir.join("checkpoint/manifest.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&json).unwrap()["progress"]["step"].as_u64()
}

/// Fault injection at every disk operation in turn: the operation fails or the process ends after
/// it, then the run resumes.
#[test]
fn slow_no_failing_operation_loses_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (mut tried, mut by_kind) = (0, std::collections::BTreeMap::new());
    for (method, faults) in [
        (
            Method::Prl,
            &[Fault::Once(IO), Fault::Once(NO_SPACE), Fault::Dead][..],
        ),
        (Method::Sqn, &[Fault::Dead]),
    ] {
        let config = small(dir.path(), method);
        let whole = dir.path().join("whole").join(method.name());
        run(&config, &whole).unwrap();
        for &fault in faults {
            for n in 0.. {
                let out = dir.path().join(format!("{}-{fault:?}-{n}", method.name()));
                let (ended, operations) = with(n, fault, || run(&config, &out));
                let Some(&operation) = operations.get(n) else {
                    break;
                };
                // Older things that could not be removed are the next start's.
                assert!(
                    ended.is_err() || operation == Operation::Remove,
                    "{fault:?} at {n}, {operation:?}: silent"
                );
                let published = operations[..n]
                    .iter()
                    .filter(|&&o| o == Operation::Rename)
                    .count();
                // Items, purchase counts, items bought together, returns and settings, then best
                // and checkpoint at each validation at most.
                assert!(
                    saved(&out).unwrap_or(0) >= 2 * (published.saturating_sub(5) as u64 / 2),
                    "{fault:?} at {n}"
                );
                run(&config, &out)
                    .unwrap_or_else(|e| panic!("{fault:?} at {n}, {operation:?}: {e}"));
                same_end(&whole, &out);
                let left = |dir: &Path| {
                    fs::read_dir(dir)
                        .unwrap()
                        .map(|e| e.unwrap().file_name())
                        .collect::<Vec<_>>()
                };
                assert!(
                    left(&out)
                        .iter()
                        .all(|name| !name.to_string_lossy().starts_with(".staged")),
                    "{:?}",
                    left(&out)
                );
                fs::remove_dir_all(&out).unwrap();
                tried += 1;
                *by_kind
                    .entry(format!("{operation:?}").to_lowercase())
                    .or_insert(0) += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
    println!(
        "RELIABILITY faults {} {}",
        tried,
        serde_json::to_string(&by_kind).unwrap()
    );
}

/// A finished run and operations that damage its files.
struct Spoiled {
    _dir: tempfile::TempDir,
    run: PathBuf,
}

impl Spoiled {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        run(&small(dir.path(), Method::Prl), &out).unwrap();
        Self {
            run: out,
            _dir: dir,
        }
    }

    /// The error of opening and loading the run after `spoil` changed one of its files.
    fn says(&self, file: &str, spoil: impl FnOnce(&mut Vec<u8>)) -> String {
        let path = self.run.join(file);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        spoil(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let loaded = Run::open(&self.run).and_then(|run| run.load(&Device::Cpu));
        fs::write(&path, before).unwrap();
        loaded
            .err()
            .map_or_else(|| "loaded".into(), |error| error.to_string())
    }
}

#[test]
fn changed_files_are_refused_by_name() {
    let spoiled = Spoiled::new();
    let weights = "best/weights.safetensors";
    assert_eq!(spoiled.says(weights, |_| ()), "loaded");
    let size = fs::metadata(spoiled.run.join(weights)).unwrap().len() as usize;
    let mut tried = 0;
    for at in (0..size).step_by(97) {
        let flipped = spoiled.says(weights, |bytes| bytes[at] ^= 1 << (at % 8));
        let cut = spoiled.says(weights, |bytes| bytes.truncate(at));
        for said in [flipped, cut] {
            assert!(
                said.contains("weights.safetensors") && said.contains("checksum"),
                "byte {at}: {said}"
            );
            tried += 1;
        }
    }
    let longer = spoiled.says(weights, |bytes| bytes.push(0));
    let other = fs::read(spoiled.run.join("checkpoint/moments.safetensors")).unwrap();
    let swapped = spoiled.says(weights, |bytes| *bytes = other);
    for said in [longer, swapped] {
        assert!(
            said.contains("weights.safetensors") && said.contains("checksum"),
            "{said}"
        );
    }
    for file in [
        "best/manifest.json",
        "returns.json",
        "items.safetensors",
        "purchase_counts.safetensors",
        "config.toml",
    ] {
        let size = fs::metadata(spoiled.run.join(file)).unwrap().len() as usize;
        for at in [0, size / 2, size - 1] {
            let said = spoiled.says(file, |bytes| bytes.truncate(at));
            assert!(said.contains(file), "{file} of {at} bytes: {said}");
            tried += 1;
        }
    }
    println!("RELIABILITY damage {}", tried + 2);
}

#[test]
fn changed_moments_are_refused_on_resume() {
    let dir = tempfile::tempdir().unwrap();
    let config = small(dir.path(), Method::Prl);
    let out = dir.path().join("run");
    let longer = Config {
        max_steps: Some(8),
        ..config.clone()
    };
    run(&longer, &out).unwrap();
    fs::remove_file(out.join("manifest.json")).unwrap();
    let path = out.join("checkpoint/moments.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = run(&longer, &out).unwrap_err().to_string();
    assert!(
        error.contains("moments.safetensors") && error.contains("checksum"),
        "{error}"
    );
}
