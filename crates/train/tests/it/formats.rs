//! Format compatibility: version 1 of every format is read and gives its original numbers; a newer
//! version is rejected with a hint.

use std::fs;
use std::path::{Path, PathBuf};

use prl_dataset::{Dataset, Split};
use prl_runs::{Device, Event, Run, evaluate};

/// Scores of the fixture, recorded when the version 1 programs wrote it: the prepared output of
/// `prl synth --like tiny --sessions 200`, then `prl train --method prl --encoder gru --dim 4
/// --window 5 --batch-size 16 --max-steps 60 --eval-every 20`, evaluated.
const DATASET: &str = "7376786c0b630f9e";
const MODEL: &str = "d271ec20569b";
const HR20: f64 = 0.6585365853658537;
const NDCG20: f64 = 0.3158632769314025;
const BEST: [(&str, f32); 3] = [("99", 0.9542871), ("115", 0.9298303), ("29", 0.85008276)];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// A writable copy of the fixture.
fn copied(to: &Path) -> PathBuf {
    for dir in ["data", "run/best", "run/checkpoint", "run"] {
        fs::create_dir_all(to.join(dir)).unwrap();
        for entry in fs::read_dir(fixture().join(dir))
            .unwrap()
            .map(Result::unwrap)
        {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(dir).join(entry.file_name())).unwrap();
            }
        }
    }
    to.to_owned()
}

#[test]
fn version_1_gives_the_recorded_numbers() {
    let data = Dataset::open(&fixture().join("data")).unwrap();
    let test = data.manifest().splits["test"];
    assert_eq!(
        (
            data.items().len(),
            data.sessions().len(),
            data.item_indices().len()
        ),
        (50, 200, 1163)
    );
    assert_eq!((test.sessions, test.clicks, test.purchases), (20, 80, 2));
    assert_eq!(data.manifest().dataset, DATASET);

    let run = Run::open(&fixture().join("run")).unwrap();
    assert_eq!(
        (run.dataset(), run.model_name().unwrap().as_str()),
        (DATASET, MODEL)
    );
    assert_eq!(run.manifest().unwrap().unwrap().best_step, 40);
    let model = run.load(&Device::Cpu).unwrap();
    let (report, _) = evaluate(&run, &model, &data, Split::Test, run.ask(), 64).unwrap();
    let close = |found: Option<f64>, then: f64| {
        assert!(
            (found.unwrap() - then).abs() < 1e-9,
            "{found:?}, then {then}"
        )
    };
    close(report.scores.all.hr20, HR20);
    close(report.scores.all.ndcg20, NDCG20);
    let answer = run
        .recommend(&model, &[Event::click("99")], run.ask(), 3)
        .unwrap();
    for (item, (name, score)) in answer.items.iter().zip(BEST) {
        assert!(
            item.item == name && (item.score - score).abs() < 1e-5,
            "{:?}",
            answer.items
        );
    }
}

#[test]
fn newer_versions_are_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let copy = copied(dir.path());
    let newer = |file: &str| {
        // Version 2 of a checkpoint is this build's.
        let path = copy.join(file);
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replace("\"format_version\": 1", "\"format_version\": 3");
        assert_ne!(before, after, "{file} carries its version");
        fs::write(&path, after).unwrap();
        let dataset = Dataset::open(&copy.join("data"))
            .err()
            .map(|e| e.to_string());
        let run = Run::open(&copy.join("run")).unwrap();
        let run = run
            .manifest()
            .err()
            .or_else(|| run.load(&Device::Cpu).err())
            .map(|e| e.to_string());
        fs::write(&path, before).unwrap();
        dataset
            .or(run)
            .unwrap_or_else(|| panic!("{file} of version 3 is taken"))
    };
    for file in [
        "data/manifest.json",
        "run/manifest.json",
        "run/best/manifest.json",
    ] {
        let said = newer(file);
        assert!(
            said.contains(file) && said.contains("version 3") && said.contains("use the"),
            "{said}"
        );
    }
}
