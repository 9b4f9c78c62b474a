//! Signals to a process that serves: this test's own binary, begun once more.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::http::{Connection, send};
use common::{JSON, run, train};
use prl_runs::Method;
use prl_serve::{Options, Server};

/// Names the run to the process that serves it.
const RUN: &str = "PRL_TEST_RUN";

/// What the other process runs; without a run it is no test.
#[test]
#[ignore = "begun by the test below"]
fn the_serving_process() {
    let Some(run) = std::env::var_os(RUN) else {
        return;
    };
    let mut options = Options::new(run);
    options.addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(options).unwrap();
    println!("\nlistening on {}", server.addr());
    server.wait().unwrap();
}

fn signal(process: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &process.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// What is left of the process's words: it fails if nobody listens.
type Lines = std::io::Lines<BufReader<ChildStdout>>;

/// The run in `dir` in service in a process of its own, and where it listens.
fn serve(dir: &Path) -> (Child, SocketAddr, Lines) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_serving_process", "--ignored", "--nocapture"])
        .env(RUN, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let addr = lines.find_map(|line| {
        line.unwrap()
            .strip_prefix("listening on ")
            .map(|addr| addr.parse().unwrap())
    });
    (process, addr.unwrap(), lines)
}

fn copy(from: &Path, to: &Path) {
    _ = std::fs::remove_dir_all(to);
    assert!(
        Command::new("cp")
            .arg("-r")
            .arg(from)
            .arg(to)
            .status()
            .unwrap()
            .success()
    );
}

fn ready(addr: SocketAddr) -> bool {
    send(addr, "GET", "/health/ready", &[], "").status == 200
}

#[test]
fn a_hang_up_while_the_run_is_being_read_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let served = dir.path().join("served");
    copy(run(), &served);
    // A pipe in the place of a file: the server waits for it to be written.
    let (config, pipe) = (served.join("config.toml"), dir.path().join("pipe"));
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let text = std::fs::read(&config).unwrap();
    std::fs::rename(&pipe, &config).unwrap();
    let (mut process, addr, _lines) = serve(&served);
    let mut writer = std::fs::File::options().write(true).open(&config).unwrap();
    signal(&process, "-HUP");
    assert!(!ready(addr));
    std::fs::write(dir.path().join("file"), &text).unwrap();
    std::fs::rename(dir.path().join("file"), &config).unwrap();
    writer.write_all(&text).unwrap();
    drop(writer);
    while !ready(addr) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    signal(&process, "-TERM");
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_request_to_end_answers_all_that_has_begun() {
    let (mut process, addr, _lines) = serve(run());
    while !ready(addr) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let question = r#"{"items":["item-1"],"k":5}"#;
    let head = format!(
        "content-type: application/json\r\ncontent-length: {}\r\nconnection: close",
        question.len()
    );
    let begin = |_: usize| {
        let mut stream = TcpStream::connect(addr).unwrap();
        write!(
            stream,
            "POST /v1/recommend HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n"
        )
        .unwrap();
        stream
    };
    let begun: Vec<TcpStream> = (0..50).map(begin).collect();
    while !send(addr, "GET", "/metrics", &[], "")
        .body
        .contains("prl_requests_in_flight 50\n")
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    signal(&process, "-TERM");
    while TcpStream::connect(addr).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for mut stream in begun {
        stream.write_all(question.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(
            reply.starts_with("HTTP/1.1 200 ") && reply.ends_with('}'),
            "{reply}"
        );
    }
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_hang_up_reads_the_run_again_and_a_request_to_end_ends_it_well() {
    let dir = tempfile::tempdir().unwrap();
    let served = dir.path().join("served");
    copy(run(), &served);
    let (mut process, addr, _lines) = serve(&served);
    let model = || send(addr, "GET", "/v1/model", &[], "");
    while model().status == 503 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let first = model().json()["model"].clone();

    let other = tempfile::tempdir().unwrap();
    copy(&train(other.path(), Method::PrlMean), &served);
    assert_eq!(
        model().json()["model"],
        first,
        "a run is read when that is asked for"
    );
    signal(&process, "-HUP");
    while model().json()["model"] == first {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::remove_dir_all(&served).unwrap();
    signal(&process, "-HUP");
    let mut kept = Connection::open(addr).unwrap();
    assert_eq!(
        kept.send("POST", "/v1/recommend", &[JSON], r#"{"items":[]}"#)
            .unwrap()
            .status,
        200
    );
    signal(&process, "-TERM");
    assert!(
        process.wait().unwrap().success(),
        "an idle connection does not keep it"
    );
}
