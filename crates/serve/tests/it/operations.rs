//! Operation of the server: start, API key, load limits, timeouts, reload, metrics, shutdown.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::http::{Connection, send};
use crate::common::{JSON, TestServer, run, train};
use prl_runs::Method;
use prl_serve::{ApiKey, Options, Server};
use serde_json::json;

const QUESTION: &str = r#"{"items":["item-1","item-2"],"k":5}"#;

/// Begins a request: sends all but the last byte of its body.
fn begin(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    let (n, most) = (QUESTION.len(), &QUESTION[..QUESTION.len() - 1]);
    let head = format!(
        "POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {n}"
    );
    write!(stream, "{head}\r\nconnection: close\r\n\r\n{most}").unwrap();
    stream
}

fn end(mut stream: TcpStream) -> String {
    stream.write_all(b"}").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

fn in_flight(server: &TestServer) -> usize {
    let text = server.get("/metrics").body;
    text.lines()
        .find_map(|line| line.strip_prefix("prl_requests_in_flight "))
        .unwrap()
        .parse()
        .unwrap()
}

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the condition was not met in time"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn request_limit_is_shared_by_all_connections() {
    let server = TestServer::start(|o| (o.requests, o.timeout) = (2, Duration::from_secs(20)));
    let first = [begin(server.addr), begin(server.addr)];
    let refused = || send(server.addr, "POST", "/v1/recommend", &[JSON], QUESTION);
    wait_for(|| in_flight(&server) == 2);
    let replies: Vec<_> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..100).map(|_| s.spawn(refused)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(
        replies
            .iter()
            .all(|r| r.status == 503 && r.header("retry-after") == Some("1"))
    );
    assert_eq!(replies[0].json()["type"], "urn:prl:problem:overloaded");
    assert_eq!(
        server.get("/health/ready").status,
        200,
        "the health probes have no load limit"
    );
    first
        .into_iter()
        .for_each(|stream| assert!(end(stream).starts_with("HTTP/1.1 200 ")));
    wait_for(|| refused().status == 200);
}

#[test]
fn slow_request_times_out() {
    let server = TestServer::start(|o| o.timeout = Duration::from_millis(100));
    let mut stream = begin(server.addr);
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 504 ") && reply.contains("urn:prl:problem:late"),
        "{reply}"
    );
}

#[test]
fn idle_connection_is_closed() {
    let server = TestServer::start(|o| o.header_timeout = Duration::from_millis(100));
    let mut silent = TcpStream::connect(server.addr).unwrap();
    let mut slow = TcpStream::connect(server.addr).unwrap();
    slow.write_all(b"GET /health/live HTTP/1.1\r\nho").unwrap();
    for stream in [&mut silent, &mut slow] {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut reply = String::new();
        stream
            .read_to_string(&mut reply)
            .expect("closed before the read timeout");
        assert!(!reply.contains(" 200 "), "{reply}");
    }
    let kept = Connection::open(server.addr)
        .unwrap()
        .send("GET", "/health/live", &[], "")
        .unwrap();
    assert_eq!(kept.status, 200);
}

#[test]
fn connection_over_limit_waits() {
    let server = TestServer::start(|o| o.connections = 2);
    let open = || {
        let mut connection = Connection::open(server.addr).unwrap();
        assert_eq!(
            connection
                .send("GET", "/health/live", &[], "")
                .unwrap()
                .status,
            200
        );
        connection
    };
    let (first, _second) = (open(), open());
    let third = std::thread::spawn({
        let addr = server.addr;
        move || send(addr, "GET", "/health/live", &[], "").status
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(!third.is_finished(), "the limit is reached");
    drop(first);
    assert_eq!(third.join().unwrap(), 200);
}

#[test]
fn stop_answers_begun_requests_only() {
    let server = TestServer::start(|o| (o.requests, o.timeout) = (1, Duration::from_secs(20)));
    let begun = begin(server.addr);
    wait_for(|| in_flight(&server) == 1);
    let addr = server.addr;
    let stopping = std::thread::spawn(move || server.stop());
    wait_for(|| TcpStream::connect(addr).is_err());
    assert!(end(begun).starts_with("HTTP/1.1 200 "));
    assert!(stopping.join().unwrap().is_ok());
}

#[test]
fn missing_run_or_taken_address_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let error = Server::start(options).unwrap().wait().unwrap_err();
    assert!(error.to_string().contains("no run here"), "{error}");
    let server = TestServer::start(|_| {});
    let mut options = Options::new(run());
    options.addr = server.addr;
    let error = Server::start(options).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("choose another address with --addr"),
        "{error}"
    );
}

#[test]
fn api_key_guards_v1_routes() {
    let server = TestServer::start(|o| o.key = ApiKey::new(" secret\n"));
    let with = |key: &str| {
        send(
            server.addr,
            "GET",
            "/v1/model",
            &[("authorization", key)],
            "",
        )
        .status
    };
    assert_eq!(
        [
            "Bearer secret",
            "Bearer secre",
            "Bearer secrets",
            "Bearer ",
            "secret"
        ]
        .map(with),
        [200, 401, 401, 401, 401]
    );
    let without = server.get("/v1/model");
    assert_eq!(
        (without.status, without.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(server.post("/v1/admin/reload", &json!({})).status, 401);
    assert_eq!(server.get("/health/ready").status, 200);
    assert!(ApiKey::new(" \n").is_none());
    let open = TestServer::start(|_| {});
    assert_eq!(
        open.post("/v1/admin/reload", &json!({})).status,
        403,
        "a server without a key has no reload"
    );
}

#[test]
fn reload_under_load_loses_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let other = train(dir.path(), Method::PrlMean);
    let server = TestServer::start(|o| o.key = ApiKey::new("k"));
    let key = ("authorization", "Bearer k");
    let reload = |run: &std::path::Path| {
        send(
            server.addr,
            "POST",
            "/v1/admin/reload",
            &[JSON, key],
            &json!({ "run": run }).to_string(),
        )
    };
    let first = server_model(&server, key);
    let done = AtomicBool::new(false);
    let ask = || {
        let mut connection = Connection::open(server.addr).unwrap();
        let mut models = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let reply = connection
                .send("POST", "/v1/recommend", &[JSON, key], QUESTION)
                .unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
            models.push(reply.json()["model"].as_str().unwrap().to_owned());
        }
        models
    };
    let answered: Vec<String> = std::thread::scope(|s| {
        let askers: Vec<_> = (0..4).map(|_| s.spawn(ask)).collect();
        for _ in 0..10 {
            let second = reload(&other).json();
            assert_ne!(second["model"], first);
            let refused = reload(dir.path());
            assert_eq!(
                (refused.status, &refused.json()["type"]),
                (422, &json!("urn:prl:problem:bad-run"))
            );
            assert_eq!(
                server_model(&server, key),
                second["model"],
                "the model is unchanged"
            );
            assert_eq!(reload(run()).json()["model"], first);
        }
        done.store(true, Ordering::Relaxed);
        askers
            .into_iter()
            .flat_map(|asker| asker.join().unwrap())
            .collect()
    });
    let of_first = answered.iter().filter(|model| **model == first).count();
    assert!(
        0 < of_first && of_first < answered.len(),
        "both answered: {of_first} of {}",
        answered.len()
    );
}

fn server_model(server: &TestServer, key: (&str, &str)) -> String {
    send(server.addr, "GET", "/v1/model", &[key], "").json()["model"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn metrics_count_requests_and_inferences() {
    let server = TestServer::start(|_| {});
    for _ in 0..3 {
        server.post("/v1/recommend", &json!({"items": []}));
    }
    server.post("/v1/recommend", &json!({}));
    server.get("/nothing");
    server.post("/v1/sessions/u/events", &json!({"events": [{"item": 1}]}));
    let reply = server.get("/metrics");
    assert_eq!(
        reply.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = reply.body;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().parse().unwrap()
    };
    assert_eq!(
        value(r#"prl_requests_total{route="/v1/recommend",code="200"}"#),
        3.0
    );
    assert_eq!(
        value(r#"prl_requests_total{route="/v1/recommend",code="422"}"#),
        1.0
    );
    assert_eq!(
        value(r#"prl_requests_total{route="unmatched",code="404"}"#),
        1.0
    );
    assert_eq!(
        value(r#"prl_request_seconds_count{route="/v1/recommend"}"#),
        4.0
    );
    assert_eq!(
        value(r#"prl_request_seconds_bucket{le="+Inf",route="/v1/recommend"}"#),
        4.0
    );
    assert_eq!(value("prl_batch_size_sum"), 3.0);
    assert_eq!(
        value("prl_inference_seconds_count"),
        value("prl_batch_size_count")
    );
    assert!(value("prl_inference_seconds_sum") > 0.0);
    assert_eq!(
        (value("prl_queue_length"), value("prl_sessions ")),
        (0.0, 1.0)
    );
}

/// Names and labels that dashboards and alerts refer to.
#[test]
fn metrics_have_stable_names_and_labels() {
    let server = TestServer::start(|o| o.key = ApiKey::new("k"));
    let key = ("authorization", "Bearer k");
    send(server.addr, "POST", "/v1/recommend", &[JSON, key], QUESTION);
    let text = server.get("/metrics").body;
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once([' ', '{']).unwrap();
        let mut series = name.to_owned();
        if line.contains('{') {
            let labels = labels.rsplit_once('}').unwrap().0.split("\",");
            let mut names: Vec<&str> = labels.map(|l| l.split('=').next().unwrap()).collect();
            names.sort_unstable();
            series = format!("{series} {}", names.join(" "));
        }
        found.insert(series);
    }
    let expected = [
        "prl_api_key_requests_total code key",
        "prl_batch_size_bucket le",
        "prl_batch_size_count",
        "prl_batch_size_sum",
        "prl_http_connections",
        "prl_http_request_duration_seconds_bucket le route",
        "prl_http_request_duration_seconds_count route",
        "prl_http_request_duration_seconds_sum route",
        "prl_http_requests_in_flight",
        "prl_http_requests_total code method route",
        "prl_inference_duration_seconds_bucket le",
        "prl_inference_duration_seconds_count",
        "prl_inference_duration_seconds_sum",
        "prl_inference_seconds_bucket le",
        "prl_inference_seconds_count",
        "prl_inference_seconds_sum",
        "prl_model_info model",
        "prl_queue_length",
        "prl_ready",
        "prl_request_seconds_bucket le route",
        "prl_request_seconds_count route",
        "prl_request_seconds_sum route",
        "prl_requests_in_flight",
        "prl_requests_total code route",
        "prl_sessions",
    ];
    assert_eq!(found, expected.map(str::to_owned).into(), "{text}");
}

#[test]
fn server_is_live_before_ready() {
    let mut options = Options::new(run());
    options.addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(options).unwrap();
    assert_eq!(
        send(server.addr(), "GET", "/health/live", &[], "").status,
        200
    );
    let first = send(server.addr(), "POST", "/v1/recommend", &[JSON], QUESTION);
    assert!(
        first.status == 200 || first.json()["type"] == "urn:prl:problem:not-ready",
        "{first:?}"
    );
    wait_for(|| send(server.addr(), "GET", "/health/ready", &[], "").status == 200);
    assert_eq!(
        send(server.addr(), "POST", "/v1/recommend", &[JSON], QUESTION).status,
        200
    );
}
