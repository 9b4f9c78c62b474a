//! Signals to a process that serves: this test's own binary, begun once more.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use common::http::{Connection, send};
use common::{JSON, run, train};
use prl_serve::{Options, Server};
use prl_train::Method;

/// Names the run to the process that serves it.
const RUN: &str = "PRL_TEST_RUN";

/// What the other process runs; without a run it is no test.
#[test]
#[ignore = "begun by the test below"]
fn the_serving_process() {
    let Some(run) = std::env::var_os(RUN) else { return };
    let mut options = Options::new(run);
    options.addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(options).unwrap();
    println!("\nlistening on {}", server.addr());
    server.wait().unwrap();
}

fn signal(process: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &process.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_hang_up_reads_the_run_again_and_a_request_to_end_ends_it_well() {
    let dir = tempfile::tempdir().unwrap();
    let served = dir.path().join("served");
    let copy = |from: &std::path::Path| {
        _ = std::fs::remove_dir_all(&served);
        assert!(Command::new("cp").arg("-r").arg(from).arg(&served).status().unwrap().success());
    };
    copy(run());
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_serving_process", "--ignored", "--nocapture"])
        .env(RUN, &served)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let addr = lines.find_map(|line| line.unwrap().strip_prefix("listening on ").map(|addr| addr.parse().unwrap()));
    let addr: SocketAddr = addr.unwrap();
    let model = || send(addr, "GET", "/v1/model", &[], "");
    while model().status == 503 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let first = model().json()["model"].clone();

    let other = tempfile::tempdir().unwrap();
    copy(&train(other.path(), Method::PrlMean));
    assert_eq!(model().json()["model"], first, "a run is read when that is asked for");
    signal(&process, "-HUP");
    while model().json()["model"] == first {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::remove_dir_all(&served).unwrap();
    signal(&process, "-HUP");
    let mut kept = Connection::open(addr).unwrap();
    assert_eq!(kept.send("POST", "/v1/recommend", &[JSON], r#"{"items":[]}"#).unwrap().status, 200);
    signal(&process, "-TERM");
    assert!(process.wait().unwrap().success(), "an idle connection does not keep it");
}
