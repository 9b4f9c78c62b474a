//! A candidate beside the served run: compared in the shadow, or answering an arm.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use prl_arms::Experiment;
use prl_runs::Method;
use prl_serve::{ApiKey, CandidateOptions, Error, Server};
use serde_json::{Value, json};

use crate::common::http::send;
use crate::common::{JSON, TestServer, run, train};

/// Another run than [`run`], of the method normal.
fn other_run() -> PathBuf {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let run = train(dir.path(), Method::Normal);
        (dir, run)
    });
    run.clone()
}

fn report(server: &TestServer) -> Value {
    let key = ("authorization", "Bearer secret");
    let reply = send(server.addr, "GET", "/v1/admin/shadow", &[key], "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

/// The report once it has compared `n` answers.
fn report_of(server: &TestServer, n: u64) -> Value {
    let start = Instant::now();
    loop {
        let report = report(server);
        if report["compared"] == n {
            return report;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{report}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn shadow(run: PathBuf, shadow: f64) -> TestServer {
    TestServer::start(|options| {
        options.key = ApiKey::new("secret");
        options.candidate = Some(CandidateOptions { run, shadow });
    })
}

fn ask(server: &TestServer, body: &Value) -> Value {
    let key = ("authorization", "Bearer secret");
    let reply = send(
        server.addr,
        "POST",
        "/v1/recommend",
        &[JSON, key],
        &body.to_string(),
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

#[test]
fn shadow_of_the_same_run_agrees_in_every_answer() {
    let server = shadow(run().to_owned(), 0.5);
    assert_eq!(report(&server)["compared"], 0);
    for item in 0..6 {
        ask(&server, &json!({"items": [format!("item-{item}")], "k": 3}));
    }
    let report = report_of(&server, 3);
    assert_eq!(report["current"], report["candidate"]);
    for share in ["overlap", "same_first", "same_list"] {
        assert_eq!(report[share], 1.0, "{share}");
    }
    assert_eq!(report["failed"], 0);
}

#[test]
fn shadow_of_another_run_shows_where_they_differ() {
    let server = shadow(other_run(), 1.0);
    let mut common = 0;
    for item in 0..4 {
        let body = json!({"items": [format!("item-{item}")], "k": 3});
        common += usize::from(!ask(&server, &body)["items"].as_array().unwrap().is_empty());
    }
    let report = report_of(&server, common as u64);
    assert_ne!(report["current"], report["candidate"]);
    let examples = report["examples"].as_array().unwrap();
    assert_eq!(examples.len(), common);
    let mut overlap = 0.0;
    for example in examples {
        let [current, candidate] = ["current", "candidate"].map(|list| {
            let list = example[list].as_array().unwrap();
            list.iter().map(Value::to_string).collect::<Vec<_>>()
        });
        let shared = current
            .iter()
            .filter(|item| candidate.contains(item))
            .count();
        overlap += shared as f64 / current.len() as f64;
    }
    let mean = report["overlap"].as_f64().unwrap();
    assert!((mean - overlap / common as f64).abs() < 1e-9, "{report}");
}

#[test]
fn arm_of_the_candidate_is_answered_by_it() {
    let text = "name = \"canary\"\n[[arm]]\nname = \"old\"\n\
                [[arm]]\nname = \"new\"\nmodel = \"candidate\"\n";
    let experiment = Experiment::from_toml("canary.toml", text).unwrap();
    let server = TestServer::start(|options| {
        options.experiment = Some(experiment.clone());
        let run = other_run();
        options.candidate = Some(CandidateOptions { run, shadow: 0.0 });
    });
    let current = server.get("/health/ready").json()["model"].clone();
    let mut models = BTreeMap::new();
    for n in 0..20 {
        let body = json!({"session": format!("s{n}"), "items": ["item-1"], "k": 3});
        let single = ask(&server, &body);
        let batch = server.post("/v1/recommend/batch", &json!({"questions": [body]}));
        assert_eq!(batch.json()["answers"][0]["model"], single["model"]);
        let arm = single["arm"].as_str().unwrap().to_owned();
        assert_eq!(arm == "old", single["model"] == current, "{single}");
        *models.entry(arm).or_insert(0) += 1;
    }
    assert!(
        models.len() == 2 && models.values().all(|&n| n > 3),
        "{models:?}"
    );

    let mut options = prl_serve::Options::new(run());
    options.addr = ([127, 0, 0, 1], 0).into();
    options.experiment = Some(experiment);
    let refused = Server::start(options).err().unwrap();
    assert!(matches!(refused, Error::Experiment(_)));
    assert!(
        refused.to_string().contains("start it with --candidate"),
        "{refused}"
    );
}
