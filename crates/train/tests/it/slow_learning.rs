//! Training quality: every neural method and session kNN learn a synthetic log that popularity
//! cannot predict.

use std::path::Path;

use prl_core::PromptSpec;
use prl_dataset::Split;
use prl_runs::{Config, Device, Method, evaluate};

use crate::common::{quick, ring};
use crate::training::finish;

/// HR@5 of clicks on the test split.
fn click_hr5(config: &Config, dir: &Path) -> f64 {
    let run = finish(config, dir);
    let model = run.load(&Device::Cpu).unwrap();
    let data = run.data(None).unwrap();
    let (report, _) =
        evaluate(&run, &model, &data, Split::Test, PromptSpec::default(), 100).unwrap();
    report.scores.click.hr5.unwrap()
}

fn assert_learns(method: Method, bf16_head: bool) {
    let dir = tempfile::tempdir().unwrap();
    let config = quick(ring(dir.path(), 600));
    let popularity = Config {
        method: Method::Popularity,
        ..config.clone()
    };
    let popularity = click_hr5(&popularity, &dir.path().join("popularity"));
    let config = Config {
        method,
        bf16_head,
        ..config
    };
    let score = click_hr5(&config, &dir.path().join("run"));
    assert!(
        score > 0.4 && score > 3.0 * popularity,
        "{score}, popularity {popularity}"
    );
}

#[test]
fn every_learning_method_has_its_test() {
    let learning = Method::ALL
        .iter()
        .filter(|m| m.is_neural() || **m == Method::SessionKnn);
    assert_eq!(learning.count(), 10);
}

#[test]
fn session_knn_beats_popularity() {
    assert_learns(Method::SessionKnn, false);
}

#[test]
fn normal_beats_popularity() {
    assert_learns(Method::Normal, false);
}

#[test]
fn sqn_beats_popularity() {
    assert_learns(Method::Sqn, false);
}

#[test]
fn sac_beats_popularity() {
    assert_learns(Method::Sac, false);
}

#[test]
fn prl_beats_popularity() {
    assert_learns(Method::Prl, false);
}

#[test]
fn prl_mean_beats_popularity() {
    assert_learns(Method::PrlMean, false);
}

#[test]
fn prl_mlp_beats_popularity() {
    assert_learns(Method::PrlMlp, false);
}

#[test]
fn prl_wo_beats_popularity() {
    assert_learns(Method::PrlWo, false);
}

#[test]
fn prl_cumu_beats_popularity() {
    assert_learns(Method::PrlCumu, false);
}

#[test]
fn prl_control_beats_popularity() {
    assert_learns(Method::PrlControl, false);
}

#[test]
fn normal_with_bf16_head_beats_popularity() {
    assert_learns(Method::Normal, true);
}

#[test]
fn prl_with_bf16_head_beats_popularity() {
    assert_learns(Method::Prl, true);
}
