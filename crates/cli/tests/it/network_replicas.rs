//! Two servers behind nginx with the configuration of `deploy/`: under load one is killed and one
//! is replaced, and no request fails. Skipped with a message if nginx is not installed.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::http::{Connection, send};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Requests per second, and duration in seconds.
const RATE: u32 = 200;
const SECONDS: u32 = 6;
const CONNECTIONS: u32 = 8;
const JSON: (&str, &str) = ("content-type", "application/json");

/// A process that is killed when dropped.
pub struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    /// Sends SIGKILL and waits.
    pub fn kill(self) {
        drop(self);
    }

    /// Sends SIGTERM, as a rolling update does, and waits.
    fn terminate(mut self) {
        assert!(
            Command::new("kill")
                .arg(self.0.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        assert!(
            self.0.wait().unwrap().success(),
            "the server exits cleanly on SIGTERM"
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn prl(dir: &Path, line: &str) -> Command {
    let mut prl = Command::new(env!("CARGO_BIN_EXE_prl"));
    prl.current_dir(dir).args(line.split_whitespace());
    prl
}

/// Trains a small run `run` in a directory.
pub fn run(dir: &Path) {
    let lines = [
        "synth --like tiny --out raw",
        "prepare --source retailrocket --input raw/events.csv --out data",
        "train --data data --method prl --max-steps 20 --out run",
    ];
    for line in lines {
        let output = prl(dir, line).output().unwrap();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{what} takes too long"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a server, directly or behind the proxy, is ready.
fn is_ready(port: u16) -> bool {
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let said = Connection::open(addr)
        .and_then(|mut connection| connection.send("GET", "/health/ready", &[], ""));
    said.is_ok_and(|reply| reply.status == 200)
}

fn serve(dir: &Path, port: u16) -> Process {
    serve_with(dir, port, "--threads 1")
}

/// A ready server of `run` with more flags.
pub fn serve_with(dir: &Path, port: u16, flags: &str) -> Process {
    serve_line(dir, port, &format!("serve --run run {flags}"))
}

/// A ready server of a command line, on a port.
pub fn serve_line(dir: &Path, port: u16, line: &str) -> Process {
    let line = format!("{line} --addr 127.0.0.1:{port}");
    let server = Process::start(&mut prl(dir, &line));
    until("a server", || is_ready(port));
    server
}

/// nginx with the project's configuration and other ports, in front of two servers.
fn nginx(dir: &Path, front: u16, behind: [u16; 2]) -> Process {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy/nginx.conf");
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace(":8080", &format!(":{front}"));
    let text = text
        .replace(":8081", &format!(":{}", behind[0]))
        .replace(":8082", &format!(":{}", behind[1]));
    let conf = dir.join("nginx.conf");
    fs::write(&conf, text).unwrap();
    let mut nginx = Command::new("nginx");
    let nginx = Process::start(
        nginx
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(conf)
            .args(["-g", "daemon off;"]),
    );
    until("nginx", || is_ready(front));
    nginx
}

/// Sends requests at a constant rate; returns the errors and the responses other than 200.
fn load(addr: SocketAddr, items: &[Value]) -> Vec<String> {
    let start = Instant::now();
    let ask = |i: u32, connection: &mut Option<Connection>| -> Result<(), String> {
        let planned = start + Duration::from_secs_f64(f64::from(i) / f64::from(RATE));
        std::thread::sleep(planned.saturating_duration_since(Instant::now()));
        let body = json!({"items": [items[i as usize % items.len()]], "k": 5}).to_string();
        let mut open = match connection.take() {
            Some(connection) => connection,
            None => Connection::open(addr).map_err(|e| e.to_string())?,
        };
        let reply = open
            .send("POST", "/v1/recommend", &[JSON], &body)
            .map_err(|e| e.to_string())?;
        *connection = Some(open);
        if reply.status == 200 {
            Ok(())
        } else {
            Err(format!("{}: {}", reply.status, reply.body))
        }
    };
    std::thread::scope(|s| {
        let worker = |c: u32| {
            let mut connection = None;
            let turns = (c..RATE * SECONDS).step_by(CONNECTIONS as usize);
            turns
                .filter_map(|i| ask(i, &mut connection).err())
                .collect::<Vec<String>>()
        };
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|c| s.spawn(move || worker(c)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// nginx in front of two servers of a small run.
struct Behind {
    dir: TempDir,
    ports: [u16; 2],
    servers: [Process; 2],
    front: SocketAddr,
    items: Vec<Value>,
    _nginx: Process,
}

impl Behind {
    /// `None`, with a message, if nginx is not installed.
    fn start() -> Option<Self> {
        if !Command::new("nginx")
            .arg("-v")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
        {
            eprintln!("SKIPPED: nginx is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        run(dir.path());
        let ([port, first, second], path) = ([free_port(), free_port(), free_port()], dir.path());
        let servers = [serve(path, first), serve(path, second)];
        let _nginx = nginx(path, port, [first, second]);
        let front = SocketAddr::from(([127, 0, 0, 1], port));
        let items: Value =
            serde_json::from_str(&send(front, "GET", "/v1/items?limit=50", &[], "").body).unwrap();
        let items = items["items"].as_array().unwrap().clone();
        Some(Self {
            dir,
            ports: [first, second],
            servers,
            front,
            items,
            _nginx,
        })
    }
}

#[test]
fn replica_killed_or_replaced_under_load_loses_no_request() {
    let Some(Behind {
        dir,
        ports,
        servers: [one, two],
        front,
        items,
        _nginx,
    }) = Behind::start()
    else {
        return;
    };
    let failed = std::thread::scope(|s| {
        let load = s.spawn(|| load(front, &items));
        let pause = || std::thread::sleep(Duration::from_millis(1200));
        pause();
        drop(one); // by SIGKILL
        pause();
        let one = serve(dir.path(), ports[0]);
        pause();
        two.terminate();
        let two = serve(dir.path(), ports[1]);
        pause();
        let failed = load.join().unwrap();
        drop((one, two));
        failed
    });
    assert!(
        failed.is_empty(),
        "{} of {} failed: {:?}",
        failed.len(),
        RATE * SECONDS,
        failed.first()
    );
}

#[test]
fn stored_session_stays_on_its_replica() {
    let Some(behind) = Behind::start() else {
        return;
    };
    let Behind { front, items, .. } = &behind;
    for user in 0..10 {
        let path = |what: &str| format!("/v1/sessions/user-{user}/{what}");
        for t in 0..3 {
            let events = json!({"events": [{"item": items[(user + t) % 50]}]}).to_string();
            assert_eq!(
                send(*front, "POST", &path("events"), &[JSON], &events).status,
                200
            );
        }
        let reply = send(*front, "POST", &path("recommend"), &[JSON], "{\"k\": 3}");
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(
            (reply.status, &answer["prompt"]["step"]),
            (200, &json!(3)),
            "all three events reached one replica"
        );
    }
    assert_eq!(
        send(*front, "POST", "/v1/admin/reload", &[JSON], "{}").status,
        404
    );
}
