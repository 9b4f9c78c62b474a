//! Training as a user sees it: it learns, it repeats, it goes on exactly where it stopped, and it refuses what is unfit.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{ITEMS, quick, ring};
use prl_core::Ask;
use prl_sessions::Split;
use prl_train::{Config, Device, Error, Method, Observer, Outcome, Run, evaluate, train};

struct Quiet;
impl Observer for Quiet {}

fn finish(config: &Config, dir: &Path) -> Run {
    let stop = AtomicBool::new(false);
    let outcome = train(config, dir, &Device::Cpu, true, &stop, &mut Quiet).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    Run::open(dir).unwrap()
}

/// Everything a run measured, times apart.
fn metrics(dir: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
        value
    };
    text.lines().map(line).collect()
}

fn weights(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("checkpoint/weights.safetensors")).unwrap()
}

#[test]
fn a_model_learns_what_popularity_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let config = quick(ring(dir.path(), 600));
    let click_hr5 = |method: Method| {
        let run = finish(&Config { method, ..config.clone() }, &dir.path().join(method.name()));
        let model = run.load(&Device::Cpu).unwrap();
        let data = run.data(None).unwrap();
        evaluate(&run, &model, &data, Split::Test, Ask::default(), 100).unwrap().scores.click.hr5.unwrap()
    };
    let popularity = click_hr5(Method::Popularity);
    for method in [Method::Normal, Method::Prl, Method::PrlMean, Method::PrlMlp, Method::PrlWo, Method::PrlCumu] {
        let score = click_hr5(method);
        assert!(score > 0.4 && score > 3.0 * popularity, "{}: {score}, popularity {popularity}", method.name());
    }
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_steps: Some(60), eval_every: 20, ..quick(ring(dir.path(), 200)) };
    let run = |name: &str, seed: u64| {
        let out = dir.path().join(name);
        finish(&Config { seed, ..config.clone() }, &out);
        (metrics(&out), weights(&out))
    };
    let first = run("a", 5);
    assert!(first == run("b", 5));
    assert!(first != run("c", 6));
}

/// Asks to stop after some step.
struct StopAt<'a>(u64, &'a AtomicBool);
impl Observer for StopAt<'_> {
    fn step(&mut self, step: u64, _: u64, _: f64) {
        self.1.store(step == self.0, Ordering::Relaxed);
    }
}

#[test]
fn a_run_resumed_ends_as_one_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_steps: Some(60), eval_every: 20, ..quick(ring(dir.path(), 200)) };
    let whole = dir.path().join("whole");
    finish(&config, &whole);
    let parts = dir.path().join("parts");
    for at in [7, 20, 33] {
        let stop = AtomicBool::new(false);
        let outcome = train(&config, &parts, &Device::Cpu, true, &stop, &mut StopAt(at, &stop)).unwrap();
        assert!(matches!(outcome, Outcome::Interrupted(step) if step == at));
    }
    finish(&config, &parts);
    assert_eq!(metrics(&whole), metrics(&parts));
    assert_eq!(weights(&whole), weights(&parts));
    let moments = |d: &Path| std::fs::read(d.join("checkpoint/moments.safetensors")).unwrap();
    assert_eq!(moments(&whole), moments(&parts));
}

#[test]
fn metrics_depend_on_neither_batch_nor_threads() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_steps: Some(40), ..quick(ring(dir.path(), 300)) };
    let run = finish(&config, &dir.path().join("run"));
    let data = run.data(None).unwrap();
    let report = |batch: usize, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let model = run.load(&Device::Cpu).unwrap();
            let ask = Ask::Relative { mu: 2.0, eps: 0.5 };
            let mut report = evaluate(&run, &model, &data, Split::Test, ask, batch).unwrap();
            report.events_per_second = None;
            serde_json::to_value(report).unwrap()
        })
    };
    let whole = report(256, 2);
    for (batch, threads) in [(1, 1), (7, 3), (64, 1), (100_000, 2)] {
        assert_eq!(whole, report(batch, threads), "batch {batch}, {threads} threads");
    }
}

#[test]
fn any_session_gets_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_steps: Some(200), ..quick(ring(dir.path(), 600)) };
    let run = finish(&config, &dir.path().join("run"));
    let model = run.load(&Device::Cpu).unwrap();
    let ask = |session: &[&str]| run.recommend(&model, session, Ask::default(), 5).unwrap();
    let answer = ask(&["item-7", "item-8"]);
    assert!(answer.items.iter().any(|i| i.item == "item-9"), "{answer:?}");
    let answer = ask(&["item-7", "no such", "item-8"]);
    assert_eq!(answer.unknown_items, ["no such"]);
    assert_eq!(answer.items.len(), 5);
    assert_eq!(ask(&[]).items.len(), 5);
    assert_eq!(run.recommend(&model, &["item-1"], Ask::Max, 10_000).unwrap().items.len(), ITEMS as usize);
}

#[test]
fn what_is_unfit_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_steps: Some(20), eval_every: 20, ..quick(ring(dir.path(), 100)) };
    let out = dir.path().join("run");
    finish(&config, &out);
    let again = |config: &Config, resume| {
        train(config, &out, &Device::Cpu, resume, &AtomicBool::new(false), &mut Quiet).unwrap_err().to_string()
    };
    assert!(again(&config, false).contains("--resume"));
    assert!(again(&Config { seed: 9, ..config.clone() }, true).contains("other settings"));
    let diverging = Config { lr: Some(1e30), ..config.clone() };
    let error = train(&diverging, &dir.path().join("d"), &Device::Cpu, false, &AtomicBool::new(false), &mut Quiet);
    assert!(matches!(error, Err(Error::Diverged { .. } | Error::NotFinite(_))), "{error:?}");
    std::fs::write(out.join("best/weights.safetensors"), b"junk").unwrap();
    let error = Run::open(&out).unwrap().load(&Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("weights.safetensors") && error.contains("checksum"), "{error}");
}
