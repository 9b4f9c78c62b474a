//! Prompts, tilts and forecasts from the command line: `prl evaluate --curve`, `prl forecast`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prl_runs::{Device, Method};
use serde_json::Value;

use crate::common;

/// A run on the ring, in which items 0, 5, 10, .. are purchased and no others.
fn run(dir: &Path, method: Method) -> PathBuf {
    let out = dir.join(method.name());
    let data = common::ring(&dir.join(format!("{}-data", method.name())), 200);
    let mut config = common::quick(data);
    (config.method, config.max_steps) = (method, Some(100));
    prl_train::Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .run(&mut common::Quiet)
        .unwrap();
    out
}

fn prl(run: &Path, command: &str, flags: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prl"))
        .args([command, "--run"])
        .arg(run)
        .args(flags.split_whitespace())
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn curve_has_the_metrics_of_each_prompt_and_tilts_towards_bought_items() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), Method::Prl);
    let curve = json(&prl(
        &run,
        "evaluate",
        "--json --curve mu=1,3 tilt=0.3,8 oracle --mu 1",
    ));
    let points = curve["points"].as_array().unwrap();
    let family = |at: usize| (points[at]["family"].as_str().unwrap(), &points[at]["value"]);
    assert_eq!(points.len(), 6);
    assert_eq!(
        (family(0).0, family(2).0, family(5).0),
        ("base", "mu", "oracle")
    );
    for (at, flags) in [
        (0, "--mu 1"),
        (2, "--mu 3"),
        (4, "--mu 1 --tilt 8"),
        (5, "--prompt oracle"),
    ] {
        let alone = json(&prl(&run, "evaluate", &format!("--json {flags}")));
        for part in ["click", "purchase", "intervals", "reward@1", "coverage@20"] {
            assert_eq!(points[at]["report"][part], alone[part], "{flags}: {part}");
        }
    }
    assert_eq!(points[0]["overlap"], 1.0);
    assert_eq!(points[0]["click_change"]["mean"], 0.0);
    // mu 1 is the base again.
    assert_eq!(points[1]["overlap"], 1.0);
    let share = |at: usize| points[at]["bought_share"].as_f64().unwrap();
    let rate = |at: usize| points[at]["held_out_rate"].as_f64().unwrap();
    let shares = [0, 3, 4].map(share);
    assert!(shares[0] < shares[1] && shares[1] < shares[2], "{shares:?}");
    assert!(rate(0) < rate(4));
    // 12 of 60 items are ever bought: a list of 20 holds all of them and 8 others.
    assert!((share(4) - 0.6).abs() < 1e-9);
    let text = String::from_utf8(prl(&run, "evaluate", "--curve tilt=1 oracle").stdout).unwrap();
    assert!(
        text.contains("tilt 1") && text.contains("true return as the prompt"),
        "{text}"
    );
    let wrong = refusal(&prl(&run, "evaluate", "--curve nu=1"));
    assert!(
        wrong.contains("expected mu=.., quantile=.., state_quantile=.., kappa=.., tilt=.."),
        "{wrong}"
    );
}

#[test]
fn tilt_of_a_baseline_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), Method::Popularity);
    for command in [
        "evaluate --tilt 1",
        "evaluate --curve",
        "recommend --tilt 1 --items item-1",
    ] {
        let (command, flags) = command.split_once(' ').unwrap();
        let message = refusal(&prl(&run, command, flags));
        assert!(
            message.contains("the scores of a baseline have no unit"),
            "{message}"
        );
    }
}

#[test]
fn forecast_is_calibrated_and_answers_a_request() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), Method::Prl);
    let ask = "--items item-3 --json -k 5 --state-quantile 0.9";
    let missing = refusal(&prl(&run, "recommend", ask));
    assert!(missing.contains("fit one with `prl forecast"), "{missing}");
    let report = json(&prl(&run, "forecast", "--json"));
    let (forecast, table) = (&report["forecast"], &report["step_table"]);
    let number = |report: &Value, name: &str| report[name].as_f64().unwrap();
    // Nearly all of a return is the number of steps left, which the table knows.
    let losses = [forecast, table].map(|report| number(report, "log_loss"));
    assert!(losses[0] < losses[1], "{losses:?}");
    assert!(number(forecast, "coverage_90") > 0.85, "{forecast}");
    assert!(number(forecast, "correlation") > 0.7, "{forecast}");
    let answer = json(&prl(&run, "recommend", &format!("{ask} --forecast")));
    let high = json(&prl(&run, "recommend", "--items item-3 --json --kappa 100"));
    let value = |answer: &Value| answer["prompt"]["value"].as_f64().unwrap();
    assert!(value(&high) > value(&answer), "{high}");
    let said = ["low", "mean", "high"].map(|name| answer["forecast"][name].as_f64().unwrap());
    assert!(
        said[0] <= said[1] && said[1] <= said[2] && said[2] > 0.0,
        "{answer}"
    );
    // Every step left is a click of .2 or a purchase of 1: five steps are at most 5.
    assert!(said[2] <= 5.0, "{answer}");
    let evaluated = json(&prl(&run, "evaluate", "--json --state-quantile 0.9"));
    assert_eq!(evaluated["prompt"]["state_quantile"], 0.9);
}
