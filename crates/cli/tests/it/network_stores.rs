//! Sessions that survive the server: on disk, and in a Redis that two servers share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{Connection, send};
use crate::network_replicas::{Process, free_port, run, serve_with};
use crate::redis_server::RedisServer;

const JSON: (&str, &str) = ("content-type", "application/json");
const SESSIONS: usize = 5;

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Appends clicks to a session; the number of its events if they are acknowledged.
fn add(port: u16, session: &str, items: &[&str]) -> Option<u64> {
    let mut events = Vec::new();
    for item in items {
        events.push(json!({ "item": item }));
    }
    let body = json!({ "events": events }).to_string();
    let path = format!("/v1/sessions/{session}/events");
    let sent = Connection::open(addr(port)).and_then(|mut c| c.send("POST", &path, &[JSON], &body));
    let reply = sent.ok().filter(|reply| reply.status == 200)?;
    reply.json()["events"].as_u64()
}

/// Appends one event after the other to sessions, in turn at each of the servers, until none of
/// them answers; returns the acknowledged number of events of each session.
fn append_until_killed(ports: &[u16], is_killed: &AtomicBool) -> Vec<u64> {
    let mut acknowledged = vec![0; SESSIONS];
    for n in 0.. {
        let session = n % SESSIONS;
        let port = ports[n / SESSIONS % ports.len()];
        match add(port, &format!("s{session}"), &["1"]) {
            Some(count) => acknowledged[session] = count,
            None if is_killed.load(Ordering::SeqCst) => return acknowledged,
            None => panic!("no acknowledgement before the kill"),
        }
    }
    acknowledged
}

/// Kills `victim` half a second after events begin to be appended through `ports`.
fn kill_under_load(victim: Process, ports: &[u16]) -> Vec<u64> {
    let is_killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| append_until_killed(ports, &is_killed));
        std::thread::sleep(Duration::from_millis(500));
        is_killed.store(true, Ordering::SeqCst);
        drop(victim);
        appending.join().unwrap()
    })
}

/// The stored sessions hold what was acknowledged, and at most the one event whose answer was lost.
fn assert_nothing_lost(port: u16, acknowledged: &[u64]) {
    assert!(acknowledged.iter().sum::<u64>() > 20, "{acknowledged:?}");
    let mut surplus = 0;
    for (session, &expected) in acknowledged.iter().enumerate() {
        let stored = add(port, &format!("s{session}"), &[]).unwrap();
        assert!(
            stored >= expected,
            "session {session}: {stored} of {expected}"
        );
        surplus += stored - expected;
    }
    assert!(surplus <= 1, "{surplus}");
}

#[test]
fn killed_server_with_state_keeps_every_acknowledged_event() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let port = free_port();
    let server = serve_with(dir.path(), port, "--threads 1 --state state");
    let acknowledged = kill_under_load(server, &[port]);
    let _server = serve_with(dir.path(), port, "--threads 1 --state state");
    assert_nothing_lost(port, &acknowledged);
    let reply = send(
        addr(port),
        "POST",
        "/v1/sessions/s0/recommend",
        &[JSON],
        "{}",
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[test]
fn replicas_share_sessions_and_survive_a_kill_and_a_store_that_is_down() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let flags = format!("--threads 1 --session-store {}", redis.url());
    let ports = [free_port(), free_port()];
    let [one, _other] = ports.map(|port| serve_with(dir.path(), port, &flags));
    let acknowledged = kill_under_load(one, &ports);
    assert_nothing_lost(ports[1], &acknowledged);

    let redis_port = redis.port;
    drop(redis);
    let stored = |path: &str| send(addr(ports[1]), "POST", path, &[JSON], "{}");
    let reply = stored("/v1/sessions/s0/recommend");
    assert_eq!(reply.status, 503, "{}", reply.body);
    assert_eq!(reply.json()["type"], "urn:prl:problem:store-down");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains(&format!("redis://127.0.0.1:{redis_port}")),
        "{detail}"
    );
    let body = json!({"items": ["1"], "k": 3}).to_string();
    let reply = send(addr(ports[1]), "POST", "/v1/recommend", &[JSON], &body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(send(addr(ports[1]), "GET", "/metrics", &[], "").status, 200);

    let _redis = RedisServer::start_at(redis_port);
    let start = Instant::now();
    while add(ports[1], "s0", &["1"]).is_none() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
}
