//! Metrics by the conventions of Prometheus, the dashboard and alerts on them, and traces.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use prl_serve::{ApiKey, TraceOptions};
use serde_json::{Value, json};

use crate::common::http::{Reply, send};
use crate::common::{JSON, TestServer};

/// Metrics in the format that promtool reads, after each kind of request.
fn metrics_text(server: &TestServer) -> Reply {
    let key = ("authorization", "Bearer k");
    let body = r#"{"items":["item-1"]}"#;
    assert_eq!(
        send(server.addr, "POST", "/v1/recommend", &[JSON, key], body).status,
        200
    );
    assert_eq!(
        send(server.addr, "BREW", "/v1/recommend", &[], "").status,
        405
    );
    send(
        server.addr,
        "GET",
        "/metrics",
        &[("accept", "text/plain;version=0.0.4")],
        "",
    )
}

fn server() -> TestServer {
    TestServer::start(|o| {
        o.key = ApiKey::new("k");
        o.web.traces = Some(TraceOptions::new("http://127.0.0.1:9").unwrap());
    })
}

/// Runs promtool with a text on its standard input; `None` where it is not installed.
fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut process) = command.spawn() else {
        eprintln!("SKIPPED: no promtool on the PATH");
        return None;
    };
    process
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(text).unwrap()))
}

#[test]
fn promtool_finds_no_fault_in_metrics() {
    let reply = metrics_text(&server());
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(
        reply
            .body
            .contains("# TYPE prl_http_requests_total counter\n"),
        "{}",
        reply.body
    );
    assert!(
        reply.body.contains("# TYPE prl_model_info gauge\n"),
        "{}",
        reply.body
    );
    assert!(!reply.body.contains("# EOF") && !reply.body.contains("BREW"));
    let Some((is_clean, text)) = promtool(&["check", "metrics"], &reply.body) else {
        return;
    };
    assert!(is_clean && text.is_empty(), "{text}");
    // The check is able to fail.
    let broken = reply.body.replace("# HELP prl_ready", "# HELP other");
    let (is_clean, text) = promtool(&["check", "metrics"], &broken).unwrap();
    assert!(
        !is_clean && text.contains("prl_ready no help text"),
        "{text}"
    );
}

#[test]
fn old_metric_names_are_exported_beside_new_ones() {
    let text = metrics_text(&server()).body;
    for (old, new) in [
        ("prl_requests_total", "prl_http_requests_total"),
        ("prl_request_seconds", "prl_http_request_duration_seconds"),
        ("prl_requests_in_flight", "prl_http_requests_in_flight"),
        ("prl_inference_seconds", "prl_inference_duration_seconds"),
    ] {
        let help = format!("# HELP {old} Deprecated and absent from the next version: use {new}.");
        assert!(text.contains(&help), "{help} in {text}");
        assert!(text.contains(&format!("# HELP {new} ")), "{new} in {text}");
    }
    let line = r#"prl_http_requests_total{method="POST",route="/v1/recommend",code="200"} 1"#;
    assert!(text.contains(line), "{text}");
    let line = r#"prl_http_requests_total{method="other",route="/v1/recommend",code="405"} 1"#;
    assert!(text.contains(line), "{text}");
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/deploy")
        .join(name)
}

/// Names that begin with `prl_` in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with("prl_")).collect()
}

#[test]
fn dashboard_and_alerts_use_exported_metrics_only() {
    let text = metrics_text(&server()).body;
    let mut exported = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        exported.insert(line.split(['{', ' ']).next().unwrap());
    }
    let dashboard = std::fs::read_to_string(deploy("grafana-dashboard.json")).unwrap();
    let parsed: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() >= 10);
    let alerts = std::fs::read_to_string(deploy("alerts.yml")).unwrap();
    let used: BTreeSet<&str> = names(&dashboard).union(&names(&alerts)).copied().collect();
    assert!(used.len() > 10, "{used:?}");
    for name in used {
        assert!(exported.contains(name), "{name} is not among {exported:?}");
        for suffix in ["", "_bucket", "_sum", "_count"] {
            let base = name.strip_suffix(suffix).unwrap_or(name);
            let help = format!("# HELP {base} Deprecated");
            assert!(!text.contains(&help), "{name}");
        }
    }
    let path = deploy("alerts.yml");
    let args = ["check", "rules", path.to_str().unwrap()];
    if let Some((is_clean, text)) = promtool(&args, "") {
        assert!(
            is_clean && text.contains("SUCCESS: 6 rules found"),
            "{text}"
        );
    }
}

/// A collector that answers each call with a status and hands out the bodies.
fn collector(status: u16) -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (bodies, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while stream.read_line(&mut head).unwrap() > 2 {
                let line = head.to_lowercase();
                if let Some(n) = line.strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                assert!(!line.starts_with("post ") || line.starts_with("post /v1/traces "));
                head.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            // Before the answer: whoever has it finds the body received.
            if bodies.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (addr, received)
}

/// The spans of a call.
fn spans(body: &Value) -> Vec<Value> {
    body["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap()
        .clone()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    &found.unwrap_or_else(|| panic!("{key} in {span}"))["value"]
}

#[test]
fn request_is_traced_as_child_of_its_caller_with_queue_and_inference() {
    let (addr, received) = collector(200);
    let server = TestServer::start(|o| {
        let mut traces = TraceOptions::new(&format!("http://{addr}")).unwrap();
        // The caller's decision counts.
        (traces.share, traces.service) = (0.0, "shop".into());
        o.web.traces = Some(traces);
    });
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let ask = |flags: &str, body: &Value| {
        let parent = format!("00-{trace_id}-00f067aa0ba902b7-{flags}");
        let headers = [JSON, ("traceparent", &*parent), ("x-request-id", "id-7")];
        send(
            server.addr,
            "POST",
            "/v1/recommend",
            &headers,
            &body.to_string(),
        )
        .status
    };
    assert_eq!(
        server.post("/v1/recommend", &json!({"items": []})).status,
        200
    );
    assert_eq!(ask("00", &json!({"items": []})), 200);
    assert_eq!(ask("01", &json!({"items": ["item-1"]})), 200);
    let body = received.recv_timeout(Duration::from_secs(10)).unwrap();
    let resource = &body["resourceSpans"][0]["resource"];
    assert_eq!(
        *attribute(resource, "service.name"),
        json!({"stringValue": "shop"})
    );
    let spans = spans(&body);
    assert_eq!(spans.len(), 3, "one request is sampled: {spans:?}");
    let [own, queue, inference] = &spans[..] else {
        panic!("{spans:?}")
    };
    for span in &spans {
        assert_eq!(span["traceId"], trace_id);
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
    }
    assert_eq!(
        (&own["name"], &own["kind"]),
        (&json!("POST /v1/recommend"), &json!(2))
    );
    assert_eq!(own["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(
        *attribute(own, "http.response.status_code"),
        json!({"intValue": "200"})
    );
    assert_eq!(
        *attribute(own, "prl.request_id"),
        json!({"stringValue": "id-7"})
    );
    assert_eq!(
        (&queue["name"], &inference["name"]),
        (&json!("queue wait"), &json!("inference"))
    );
    assert_eq!(
        *attribute(inference, "prl.batch_size"),
        json!({"intValue": "1"})
    );
    let time = |span: &Value, end: &str| -> u128 {
        span[format!("{end}TimeUnixNano")]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    for child in [queue, inference] {
        assert_eq!(child["parentSpanId"], own["spanId"]);
    }
    let times = [
        time(own, "start"),
        time(queue, "start"),
        time(queue, "end"),
        time(inference, "end"),
        time(own, "end"),
    ];
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(time(queue, "end"), time(inference, "start"));
    // 2020 or later, and not longer than the test.
    assert!(times[0] > 1_577_836_800_000_000_000 && times[4] - times[0] < 10_000_000_000);
    let text = server.get("/metrics").body;
    assert!(text.contains("prl_trace_spans_dropped_total 0\n"), "{text}");
    server.stop().unwrap();
    assert!(received.try_recv().is_err(), "no other spans");
}

#[test]
fn spans_are_sent_before_the_server_ends() {
    let (addr, received) = collector(200);
    let server = TestServer::start(|o| {
        o.web.traces = Some(TraceOptions::new(&format!("http://{addr}")).unwrap());
    });
    let batch = json!({"questions": vec![json!({"items": []}); 20]});
    assert_eq!(server.post("/v1/recommend/batch", &batch).status, 200);
    server.stop().unwrap();
    let body = received.try_recv().unwrap();
    // The request's, and two for each of the first eight questions.
    assert_eq!(spans(&body).len(), 17);
    assert!(spans(&body)[0].get("parentSpanId").is_none());
}

#[test]
fn collector_that_is_down_or_refuses_costs_no_request() {
    for (status, endpoint) in [(0, "127.0.0.1:9".to_owned()), (503, String::new())] {
        let (addr, _received) = collector(status);
        let endpoint = if status == 0 {
            endpoint
        } else {
            addr.to_string()
        };
        let server = TestServer::start(|o| {
            o.web.traces = Some(TraceOptions::new(&format!("http://{endpoint}")).unwrap());
        });
        let start = Instant::now();
        for _ in 0..50 {
            assert_eq!(
                server.post("/v1/recommend", &json!({"items": []})).status,
                200
            );
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!(seconds < 5.0, "{seconds}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !server
            .get("/metrics")
            .body
            .contains("prl_trace_spans_dropped_total 150\n")
        {
            assert!(Instant::now() < deadline, "{}", server.get("/metrics").body);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(
            server
                .get("/metrics")
                .body
                .contains("prl_trace_spans_exported_total 0\n")
        );
    }
}
