//! Files of trackers, read by TensorBoard's and MLflow's own readers.

use prl_tracking::Target;

use crate::common::{python_with, read_back, settings, train};

/// Numbers of the four lines of `metrics.jsonl`: epoch, loss, seconds, and 24 of the validation.
const NUMBERS: usize = 4 * 27;

/// An interrupted and resumed training has every number once.
#[test]
fn tensorboard_has_the_numbers_of_an_interrupted_training() {
    let Some(python) = python_with("tensorboard") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path());
    let (run, log) = (dir.path().join("run"), dir.path().join("tb"));
    let targets = [Target::TensorBoard(log.clone())];
    train(&config, &run, Some(7), &targets);
    let log = log.join("run");
    let partial = read_back(&python, &run, &["tensorboard", log.to_str().unwrap()]);
    assert_eq!(partial["equal"], NUMBERS / 2);
    assert_eq!(partial["status"], serde_json::Value::Null);
    train(&config, &run, None, &targets);
    let all = read_back(&python, &run, &["tensorboard", log.to_str().unwrap()]);
    assert_eq!(all["equal"], NUMBERS);
    assert_eq!(all["settings"]["model.dim"], 8.0);
    assert_eq!(all["settings"]["method"], "prl");
    assert_eq!(all["status"], 1, "STATUS_SUCCESS");
}

#[test]
fn mlflow_has_the_numbers_of_an_interrupted_training() {
    let Some(python) = python_with("mlflow") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path());
    let (run, store) = (dir.path().join("run"), dir.path().join("ml runs"));
    let targets = [Target::MlflowFiles(store.clone())];
    train(&config, &run, Some(7), &targets);
    train(&config, &run, None, &targets);
    let place = ["mlflow", store.to_str().unwrap(), "run"];
    let all = read_back(&python, &run, &place);
    assert_eq!(all["equal"], NUMBERS);
    assert_eq!(all["settings"]["model.dim"], "8");
    assert_eq!(all["settings"]["rewards.click"], "0.2");
    assert_eq!(all["status"], "FINISHED");
}

/// A tracker that is named only after the training gets all of it.
#[test]
fn finished_run_is_tracked_afterwards() {
    let Some(python) = python_with("tensorboard") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path());
    let (run, log) = (dir.path().join("run"), dir.path().join("tb"));
    train(&config, &run, None, &[]);
    assert!(!run.join("tracking.json").exists());
    train(&config, &run, None, &[Target::TensorBoard(log.clone())]);
    let log = log.join("run");
    let all = read_back(&python, &run, &["tensorboard", log.to_str().unwrap()]);
    assert_eq!(all["equal"], NUMBERS);
}
