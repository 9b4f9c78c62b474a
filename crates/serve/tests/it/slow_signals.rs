//! Signals to a serving process: the test binary starts itself again as the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::common::http::{Connection, send};
use crate::common::{JSON, run, train};
use prl_runs::Method;
use prl_serve::{Options, Server};

/// Environment variable with the run directory of the serving process.
const RUN: &str = "PRL_TEST_RUN";

/// Entry point of the serving process; does nothing in a normal test run.
#[test]
#[ignore = "started by the other tests"]
fn serving_process() {
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

/// Remaining output of the process; it would fail on a closed pipe.
type Lines = std::io::Lines<BufReader<ChildStdout>>;

/// Starts a process that serves the run in `dir`; returns it with its address.
fn serve(dir: &Path) -> (Child, SocketAddr, Lines) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "slow_signals::serving_process",
            "--ignored",
            "--nocapture",
        ])
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
fn sighup_during_loading_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let served = dir.path().join("served");
    copy(run(), &served);
    // A named pipe in place of a file: the server blocks until it is written.
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
fn sigterm_answers_begun_requests() {
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
fn sighup_reloads_run_and_sigterm_exits_cleanly() {
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
        "a changed run is not read before SIGHUP"
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
        "an idle connection does not delay the exit"
    );
}
