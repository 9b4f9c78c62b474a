//! Training without a validation split: to the end with the last weights, or with held-out
//! sessions.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use prl_dataset::Split;
use prl_runs::{Config, Device, HoldOutBy, Method, Recommender, Run, Validation, evaluate};
use prl_train::{Outcome, Trainer};

use crate::common::{Quiet, StopAt, metrics, quick, ring, ring_in_splits, same_end};
use crate::training::finish;

/// Settings for 60 steps on 200 sessions: 180 in train, 20 in test.
fn without_val(dir: &Path) -> Config {
    Config {
        max_steps: Some(60),
        eval_every: 20,
        ..quick(ring_in_splits(dir, 200, &[Split::Test]))
    }
}

fn bytes(run: &Path, file: &str) -> Vec<u8> {
    std::fs::read(run.join(file)).unwrap()
}

fn test_cases(run: &Run, split: Split) -> usize {
    let (model, data) = (run.load(&Device::Cpu).unwrap(), run.data(None).unwrap());
    let (_, cases) = evaluate(run, &model, &data, split, run.ask(), 64).unwrap();
    cases.cases.len()
}

/// Trains in two parts, stopped at a step.
fn resumed(config: &Config, out: &Path, at: u64) {
    let stop = AtomicBool::new(false);
    let outcome = Trainer::new(config, out)
        .stop_flag(&stop)
        .run(&mut StopAt(at, &stop))
        .unwrap();
    assert!(matches!(outcome, Outcome::Interrupted(step) if step == at));
    finish(config, out);
}

#[test]
fn empty_validation_split_trains_to_the_end_and_keeps_the_last_weights() {
    let dir = tempfile::tempdir().unwrap();
    let config = without_val(dir.path());
    let out = dir.path().join("run");
    let run = finish(&config, &out);
    let manifest = run.manifest().unwrap().unwrap();
    assert_eq!(manifest.validation, Validation::None);
    assert_eq!((manifest.steps, manifest.best_step), (60, 60));
    let [best, last] = ["best", "checkpoint"].map(|of| format!("{of}/weights.safetensors"));
    assert!(bytes(&out, &best) == bytes(&out, &last));
    let lines = metrics(&out);
    assert_eq!(lines.len(), 3);
    for (line, step) in lines.iter().zip([20, 40, 60]) {
        assert_eq!((&line["step"], line.get("val")), (&step.into(), None));
        assert!(line["loss"].as_f64().is_some_and(|loss| loss > 0.0));
    }
    assert_eq!(test_cases(&run, Split::Test), 120);
    let parts = dir.path().join("parts");
    resumed(&config, &parts, 33);
    same_end(&out, &parts);
}

#[test]
fn empty_validation_split_fits_a_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        method: Method::Popularity,
        ..without_val(dir.path())
    };
    let run = finish(&config, &dir.path().join("run"));
    let manifest = run.manifest().unwrap().unwrap();
    assert_eq!(manifest.validation, Validation::None);
    assert_eq!(test_cases(&run, Split::Test), 120);
}

/// 18 of the 180 training sessions of six events each are held out.
#[test]
fn held_out_sessions_validate_and_are_not_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        hold_out: Some(0.1),
        ..without_val(dir.path())
    };
    let out = dir.path().join("run");
    let run = finish(&config, &out);
    let manifest = run.manifest().unwrap().unwrap();
    assert_eq!(manifest.validation, Validation::HeldOut);
    for line in metrics(&out) {
        let events = &line["val"]["events"];
        let of = |kind: &str| events[kind].as_u64().unwrap();
        assert_eq!(of("click") + of("purchase"), 108, "{events}");
    }
    for (split, cases) in [(Split::Train, 972), (Split::Val, 108), (Split::Test, 120)] {
        assert_eq!(test_cases(&run, split), cases, "{}", split.name());
    }
    assert_eq!(run.returns().sessions[0], 162);
    let parts = dir.path().join("parts");
    resumed(&config, &parts, 20);
    same_end(&out, &parts);
}

/// Of 180 training sessions of six events each, 18 are held out.
#[test]
fn baseline_is_not_fitted_to_held_out_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let given = without_val(dir.path());
    for (hold_out_by, name) in [(HoldOutBy::Seed, "seed"), (HoldOutBy::Time, "time")] {
        for method in [Method::Popularity, Method::SessionKnnTuned] {
            let config = Config {
                method,
                hold_out: Some(0.1),
                hold_out_by,
                ..given.clone()
            };
            let run = finish(
                &config,
                &dir.path().join(format!("{name}-{}", method.name())),
            );
            let manifest = run.manifest().unwrap().unwrap();
            assert_eq!(manifest.validation, Validation::HeldOut);
            let Recommender::Baseline(baseline) = run.load(&Device::Cpu).unwrap() else {
                panic!("not a baseline");
            };
            if method == Method::Popularity {
                let events: f32 = baseline.scores(&[]).iter().sum();
                assert_eq!(events, 972.0);
            }
            assert_eq!(test_cases(&run, Split::Val), 108);
        }
    }
}

#[test]
fn validation_can_be_left_out_where_a_split_exists() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        no_validation: true,
        max_steps: Some(20),
        ..quick(ring(dir.path(), 100))
    };
    let run = finish(&config, &dir.path().join("run"));
    let manifest = run.manifest().unwrap().unwrap();
    assert_eq!(manifest.validation, Validation::None);
    assert_eq!(test_cases(&run, Split::Val), 60);
}

#[test]
fn manifest_of_a_validated_run_has_no_new_key() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_steps: Some(5),
        ..quick(ring(dir.path(), 50))
    };
    let out = dir.path().join("run");
    finish(&config, &out);
    for file in ["manifest.json", "config.toml"] {
        let text = String::from_utf8(bytes(&out, file)).unwrap();
        assert!(
            !text.contains("validation") && !text.contains("hold_out"),
            "{text}"
        );
    }
    // Quiet observes nothing; the trainer reports the finished run again.
    let again = Trainer::new(&config, &out).resume(true).run(&mut Quiet);
    assert!(matches!(again.unwrap(), Outcome::Finished(_)));
}
