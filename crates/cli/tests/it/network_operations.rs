//! Operations of a shop: promotion of another run, back-up, restoring, and erasure of a person.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Connection, send};
use crate::network_replicas::{Process, free_port, run, serve_line};

const JSON: (&str, &str) = ("content-type", "application/json");
const KEY: (&str, &str) = ("authorization", "Bearer secret");

pub fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn prl(dir: &Path, line: &str) -> Output {
    let mut prl = Command::new(env!("CARGO_BIN_EXE_prl"));
    prl.current_dir(dir).args(line.split_whitespace());
    prl.env("PRL_API_KEY", "secret").output().unwrap()
}

/// Runs a command that must succeed; returns what it prints.
pub fn done(dir: &Path, line: &str) -> String {
    let output = prl(dir, line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(dir: &Path, line: &str) -> String {
    let output = prl(dir, line);
    assert!(!output.status.success(), "{line} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

fn post(port: u16, path: &str, body: &Value) -> Value {
    let reply = send(addr(port), "POST", path, &[JSON, KEY], &body.to_string());
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    reply.json()
}

fn click(port: u16, session: &str) -> u64 {
    let body = json!({"events": [{"item": "1"}]});
    let answer = post(port, &format!("/v1/sessions/{session}/events"), &body);
    answer["events"].as_u64().unwrap()
}

/// Names of the models that answered until `is_done` and once after it, in order; panics at a
/// failed request.
pub fn models_until(port: u16, is_done: &AtomicBool) -> Vec<String> {
    let mut models: Vec<String> = Vec::new();
    let mut connection = Connection::open(addr(port)).unwrap();
    let body = json!({"items": ["1"], "k": 3}).to_string();
    let mut is_last = false;
    while !is_last {
        is_last = is_done.load(Ordering::SeqCst);
        let reply = connection
            .send("POST", "/v1/recommend", &[JSON], &body)
            .unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        let model = reply.json()["model"].as_str().unwrap().to_owned();
        if models.last() != Some(&model) {
            models.push(model);
        }
    }
    models
}

/// Waits until the server answers with another model than `old`.
pub fn wait_for_other_model(port: u16, old: &str) -> String {
    let start = Instant::now();
    loop {
        let reply = send(addr(port), "GET", "/health/ready", &[], "").json();
        let model = reply["model"].as_str().unwrap();
        if model != old {
            return model.to_owned();
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{old} is still served"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn promotion_and_rollback_reach_the_server_without_a_failed_request() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir);
    fs::create_dir(dir.join("models")).unwrap();
    fs::rename(dir.join("run"), dir.join("models/monday")).unwrap();
    done(
        dir,
        "train --data data --method prl --max-steps 20 --seed 2 --out models/tuesday",
    );
    let without = refused(dir, "serve --registry models --addr 127.0.0.1:0");
    assert!(without.contains("no run is promoted"), "{without}");
    done(dir, "models promote --registry models monday");
    let unknown = refused(dir, "models promote --registry models wednesday");
    assert!(
        unknown.contains("no run \"wednesday\"; there are monday, tuesday"),
        "{unknown}"
    );
    let none = refused(dir, "models rollback --registry models");
    assert!(none.contains("no earlier promotion"), "{none}");

    let port = free_port();
    let _server = serve_line(dir, port, "serve --registry models --threads 1");
    let is_done = AtomicBool::new(false);
    let (monday, tuesday, served) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| models_until(port, &is_done));
        let monday = wait_for_other_model(port, "");
        done(dir, "models promote --registry models tuesday");
        let tuesday = wait_for_other_model(port, &monday);
        let back = done(dir, "models rollback --registry models");
        assert_eq!(back, format!("serving monday (model {monday})\n"));
        assert_eq!(wait_for_other_model(port, &tuesday), monday);
        is_done.store(true, Ordering::SeqCst);
        (monday, tuesday, asking.join().unwrap())
    });
    assert_eq!(served, [monday.clone(), tuesday.clone(), monday.clone()]);
    let list = done(dir, "models list --registry models");
    let [first, second] = list.lines().collect::<Vec<_>>()[..] else {
        panic!("{list}");
    };
    assert!(
        first.starts_with("* monday") && first.contains(&monday),
        "{list}"
    );
    assert!(
        second.starts_with("  tuesday") && second.contains(&tuesday),
        "{list}"
    );
}

#[test]
fn erased_person_is_in_no_file_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir);
    fs::write(dir.join("key"), "secret").unwrap();
    let port = free_port();
    let flags =
        "--threads 1 --state state --experiment-log log --backups backups --api-key-file key";
    let start = || serve_line(dir, port, &format!("serve --run run {flags}"));
    let server = start();
    for session in ["anna", "bert", "anna"] {
        click(port, session);
    }
    let url = format!("http://127.0.0.1:{port}");
    let said = done(dir, &format!("state backup --via {url}"));
    assert!(said.ends_with("2 sessions\n"), "{said}");
    click(port, "anna");
    let said = done(dir, &format!("state erase anna --via {url}"));
    for expected in [
        "\"sessions\":1",
        "\"log_records\":3",
        "\"backup_sessions\":1",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(click(port, "anna"), 1);
    assert_eq!(click(port, "bert"), 2);
    done(dir, &format!("state erase anna --via {url}"));
    assert_in_no_text(dir, "anna");

    // What one process uses is not opened by another.
    let busy = refused(dir, "state backup --state state --out all.jsonl");
    assert!(busy.contains("in use by"), "{busy}");
    Process::kill(server);
    assert_eq!(
        done(dir, "state backup --state state --out all.jsonl"),
        "all.jsonl: 1 sessions\n"
    );
    let said = done(dir, "state requests all.jsonl --out requests.jsonl");
    assert_eq!(said, "requests.jsonl: 1 requests\n");
    let line = fs::read_to_string(dir.join("requests.jsonl")).unwrap();
    let expected = json!({"session": "bert", "items": ["1", "1"], "kinds": ["click", "click"]});
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    done(
        dir,
        "recommend --run run --input requests.jsonl --out lists.jsonl",
    );
    let list = fs::read_to_string(dir.join("lists.jsonl")).unwrap();
    assert!(
        list.starts_with("{\"session\":\"bert\",\"items\":[{"),
        "{list}"
    );
    fs::remove_dir_all(dir.join("state")).unwrap();
    let said = done(dir, "state restore all.jsonl --state state");
    assert_eq!(said, "1 sessions restored\n");
    let _server = start();
    assert_eq!(click(port, "bert"), 3);
}

/// No JSON line under `dir` holds `text`.
fn assert_in_no_text(dir: &Path, text: &str) {
    let mut files = 0;
    for folder in ["log", "backups"] {
        for entry in fs::read_dir(dir.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let content = fs::read_to_string(&path).unwrap();
            assert!(!content.contains(text), "{}: {content}", path.display());
            files += 1;
        }
    }
    assert!(files >= 2, "{files}");
}
