//! Signals to a serving process: the test binary starts itself again as the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::common::http::{Connection, send};
use crate::common::{JSON, run, train};
use crate::tls;
use prl_runs::Method;
use prl_serve::{Options, Server, TlsOptions};

/// Environment variable with the run directory of the serving process.
const RUN: &str = "PRL_TEST_RUN";
/// Environment variable with the directory of keys and certificate, if the process has them.
const WEB: &str = "PRL_TEST_WEB";

/// Entry point of the serving process; does nothing in a normal test run.
#[test]
#[ignore = "started by the other tests"]
fn serving_process() {
    let Some(run) = std::env::var_os(RUN) else {
        return;
    };
    let mut options = Options::new(run);
    options.addr = SocketAddr::from(([127, 0, 0, 1], 0));
    if let Some(dir) = std::env::var_os(WEB) {
        let dir = Path::new(&dir);
        options.web.keys = Some(dir.join("keys.toml"));
        options.web.listen = vec!["127.0.0.1:0".parse().unwrap()];
        options.web.tls = Some(TlsOptions {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            certificate: dir.join("cert.pem"),
            key: dir.join("key.pem"),
        });
    }
    let server = Server::start(options).unwrap();
    println!("\nlistening on {}", server.addr());
    println!("\n{}", server.urls().last().unwrap());
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
    serve_with(dir, None)
}

/// Starts a process with the keys and the certificate in `web`.
fn serve_with(dir: &Path, web: Option<&Path>) -> (Child, SocketAddr, Lines) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if let Some(web) = web {
        command.env(WEB, web);
    }
    let mut process = command
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

#[test]
fn sighup_reloads_certificate_and_keeps_it_if_the_new_one_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("keys.toml"), entry("k", OLD)).unwrap();
    let install = |name: &str| {
        std::fs::copy(tls::pem(&format!("{name}.key.pem")), path("key.pem")).unwrap();
        std::fs::copy(tls::pem(&format!("{name}.pem")), path("cert.pem")).unwrap();
    };
    install("first");
    let (mut process, addr, mut lines) = serve_with(run(), Some(dir.path()));
    let secure = lines.find_map(|line| {
        let line = line.unwrap();
        line.strip_prefix("https://")
            .map(|addr| addr.parse().unwrap())
    });
    let secure: SocketAddr = secure.unwrap();
    let is_served = |name: &str| {
        let config = tls::client(&format!("{name}.pem"), &[]);
        tls::connect(secure, config).is_ok()
    };
    while !ready(addr) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!([is_served("first"), is_served("second")], [true, false]);
    // Connections that are open stay.
    let mut kept = Connection::over(tls::connect(secure, tls::client("first.pem", &[])).unwrap());
    install("second");
    signal(&process, "-HUP");
    while !is_served("second") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(!is_served("first"));
    assert_eq!(
        kept.send("GET", "/health/live", &[], "").unwrap().status,
        200
    );
    // A key of another certificate, and a key whose entry is new: the latter tells of the reload.
    std::fs::copy(tls::pem("first.pem"), path("cert.pem")).unwrap();
    std::fs::write(path("keys.toml"), entry("k", NEW)).unwrap();
    signal(&process, "-HUP");
    while status(addr, NEW) != 200 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!([is_served("first"), is_served("second")], [false, true]);
    drop(kept);
    signal(&process, "-TERM");
    assert!(process.wait().unwrap().success());
}

const OLD: &str = "old-old-old-old-old";
const NEW: &str = "new-new-new-new-new";

fn entry(name: &str, secret: &str) -> String {
    format!("[[key]]\nname = '{name}'\nsecret = '{secret}'\nroles = ['ask']\n")
}

/// Status of a question with a key.
fn status(addr: SocketAddr, secret: &str) -> u16 {
    let key = format!("Bearer {secret}");
    let headers = [JSON, ("authorization", key.as_str())];
    send(addr, "POST", "/v1/recommend", &headers, r#"{"items":[]}"#).status
}

#[test]
fn key_is_rotated_without_a_refused_request() {
    let dir = tempfile::tempdir().unwrap();
    for (name, file) in [("first.pem", "cert.pem"), ("first.key.pem", "key.pem")] {
        std::fs::copy(tls::pem(name), dir.path().join(file)).unwrap();
    }
    let write = |text: String| std::fs::write(dir.path().join("keys.toml"), text).unwrap();
    write(entry("old", OLD));
    let (mut process, addr, _lines) = serve_with(run(), Some(dir.path()));
    while !ready(addr) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let secret = std::sync::Mutex::new(OLD);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let ask = || {
        let mut asked = 0;
        while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
            // The lock is held for the request: a client that has moved asks with the new key.
            let secret = secret.lock().unwrap();
            assert_eq!(status(addr, *secret), 200, "{secret}");
            asked += 1;
        }
        asked
    };
    let wait_for = |secret: &str, expected: u16| {
        while status(addr, secret) != expected {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    let asked: usize = std::thread::scope(|scope| {
        let asker = scope.spawn(ask);
        assert_eq!(status(addr, NEW), 401);
        write(entry("old", OLD) + &entry("new", NEW));
        signal(&process, "-HUP");
        wait_for(NEW, 200);
        *secret.lock().unwrap() = NEW;
        // A broken file changes nothing.
        write("[[key]]".into());
        signal(&process, "-HUP");
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!([status(addr, OLD), status(addr, NEW)], [200, 200]);
        write(entry("new", NEW));
        signal(&process, "-HUP");
        wait_for(OLD, 401);
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        asker.join().unwrap()
    });
    assert!(asked > 10, "{asked}");
    signal(&process, "-TERM");
    assert!(process.wait().unwrap().success());
}
