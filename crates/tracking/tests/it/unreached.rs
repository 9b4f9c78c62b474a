//! Trackers that cannot be reached.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use prl_tracking::Target;

use crate::common::{settings, train};

/// A server that refuses connections, and a directory that is a file: the training is the same, and
/// what is missing is logged when the directory can be made.
#[test]
fn training_goes_on_without_its_trackers() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path());
    let alone = dir.path().join("alone");
    train(&config, &alone, None, &[]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let log = dir.path().join("tb");
    fs::write(&log, "a file").unwrap();
    let targets = [Target::MlflowServer(url), Target::TensorBoard(log.clone())];
    let run = dir.path().join("run");
    train(&config, &run, None, &targets);
    assert!(!run.join("tracking.json").exists());
    let weights = |run: &Path| fs::read(run.join("best/weights.safetensors")).unwrap();
    assert!(weights(&alone) == weights(&run), "the weights differ");
    fs::remove_file(&log).unwrap();
    train(&config, &run, None, &targets[1..]);
    assert!(log.join("run").is_dir());
}

/// A server that accepts connections and never answers costs a bounded time, at the end.
#[test]
fn slow_training_does_not_wait_for_a_silent_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let start = Instant::now();
    let run = dir.path().join("run");
    train(&config, &run, None, &[Target::MlflowServer(url)]);
    assert!(start.elapsed() < Duration::from_secs(15));
    assert!(run.join("manifest.json").exists());
}
