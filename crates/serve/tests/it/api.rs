//! Requests over HTTP: responses, rejections, and their schemas.

use std::sync::OnceLock;

use crate::common::http::{Reply, send};
use crate::common::{JSON, TestServer, run};
use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::Kind;
use prl_engine::Device;
use prl_runs::{Event, Recommender, Run};
use serde_json::{Value, json};

/// The run's own answer as JSON, without the server.
fn offline(events: &[(&str, Kind)], ask: PromptSpec, k: usize) -> Value {
    static RUN: OnceLock<(Run, Recommender)> = OnceLock::new();
    let (run, model) = RUN.get_or_init(|| {
        let run = Run::open(run()).unwrap();
        let model = run.load(&Device::Cpu).unwrap();
        (run, model)
    });
    let session: Vec<_> = events
        .iter()
        .map(|&(item, kind)| Event { item, kind })
        .collect();
    let answer = serde_json::to_string(&run.recommend(model, &session, ask, k).unwrap()).unwrap();
    let mut answer: Value = serde_json::from_str(&answer).unwrap();
    answer["model"] = run.model_name().unwrap().into();
    answer["cold"] = (events.len() == answer["unknown_items"].as_array().unwrap().len()).into();
    answer
}

#[test]
fn recommend_matches_run_recommend() {
    let server = TestServer::start(|_| {});
    let session = [
        ("item-4", Kind::Click),
        ("item-5", Kind::Purchase),
        ("gone", Kind::Click),
    ];
    let items = json!(["item-4", "item-5", "gone"]);
    let cases = [
        (json!({}), PromptSpec::default(), 20),
        (
            json!({"k": 3, "mu": 0.5}),
            TargetReturn::Relative { mu: 0.5, eps: 0.0 }.into(),
            3,
        ),
        (
            json!({"k": 3, "eps": 0.5}),
            TargetReturn::Relative { mu: 2.0, eps: 0.5 }.into(),
            3,
        ),
        (
            json!({"k": 7, "target_return": 3.0}),
            TargetReturn::Absolute(3.0).into(),
            7,
        ),
        (
            json!({"k": 7, "quantile": 0.9}),
            TargetReturn::Quantile(0.9).into(),
            7,
        ),
        (
            json!({"k": 7, "max_return": true}),
            TargetReturn::Max.into(),
            7,
        ),
        (
            json!({"k": 7, "mu": 3.0, "sequence_wise": true, "purchased": ["item-5"]}),
            PromptSpec {
                target: TargetReturn::Relative { mu: 3.0, eps: 0.0 },
                sequence_wise: true,
                tilt: 0.0,
            },
            7,
        ),
        (
            json!({"k": 7, "mu": 1.0, "tilt": 0.75}),
            PromptSpec {
                target: TargetReturn::Relative { mu: 1.0, eps: 0.0 },
                sequence_wise: false,
                tilt: 0.75,
            },
            7,
        ),
    ];
    for (mut question, ask, k) in cases {
        question["items"] = items.clone();
        let reply = server.post("/v1/recommend", &question);
        assert_eq!(
            (reply.status, reply.json()),
            (200, offline(&session, ask, k)),
            "{question}"
        );
    }
    let cold = server
        .post("/v1/recommend", &json!({"items": [17], "k": 2}))
        .json();
    assert_eq!(
        cold,
        offline(&[("17", Kind::Click)], PromptSpec::default(), 2)
    );
    assert_eq!(cold["cold"], true);
}

#[test]
fn batch_matches_single_requests_and_applies_filters() {
    let server = TestServer::start(|_| {});
    let question = json!({"items": ["item-4", "item-5"], "k": 5});
    let one = server.post("/v1/recommend", &question).json();
    let best = one["items"][0]["item"].clone();
    let filtered =
        json!({"items": ["item-4", "item-5"], "k": 60, "exclude_seen": true, "exclude": [best]});
    let allowed = json!({"items": ["item-4", "item-5"], "allow": ["item-9", "item-30", "gone"]});
    let answers = server
        .post(
            "/v1/recommend/batch",
            &json!({"questions": [question, filtered, allowed]}),
        )
        .json();
    assert_eq!(answers["answers"][0], one);
    let ids = |n: usize| -> Vec<Value> {
        answers["answers"][n]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["item"].clone())
            .collect()
    };
    let left = ids(1);
    assert!(
        !left.contains(&best)
            && !left.contains(&json!("item-4"))
            && !left.contains(&json!("item-5"))
    );
    assert_eq!(
        left.len(),
        60 - if ["item-4", "item-5"].map(Value::from).contains(&best) {
            2
        } else {
            3
        }
    );
    assert_eq!(answers["answers"][1].get("unknown_exclude"), None);
    assert_eq!(answers["answers"][2]["unknown_allow"], json!(["gone"]));
    let mut allowed = ids(2);
    allowed.sort_by_key(Value::to_string);
    assert_eq!(allowed, ["item-30", "item-9"]);
}

#[test]
fn catalogue_and_model_are_described() {
    let server = TestServer::start(|_| {});
    assert_eq!(
        server.get("/v1/items?prefix=item-1&limit=3").json(),
        json!({"items": ["item-1", "item-10", "item-11"]})
    );
    assert_eq!(
        server.get("/v1/items?prefix=nothing").json(),
        json!({"items": []})
    );
    assert_eq!(server.get("/v1/items?limit=0").status, 422);
    assert_eq!(server.get("/v1/items?limit=x").status, 422);
    let model = server.get("/v1/model").json();
    assert_eq!(
        (&model["items"], &model["prompted"]),
        (&json!(60), &json!(true))
    );
    assert_eq!(model["run"]["method"], "prl");
    assert_eq!(server.get("/health/ready").json()["model"], model["model"]);
    assert_eq!(server.get("/health/live").status, 200);
    let openapi = server.get("/openapi.json").json();
    assert!(openapi["paths"]["/v1/recommend"]["post"].is_object());
    assert!(server.get("/").body.starts_with("<!doctype html>"));
}

#[test]
fn invalid_request_gets_problem_document() {
    let server = TestServer::start(|_| {});
    let long: Vec<u32> = (0..10_000).collect();
    let cases = [
        (r#"{"items": ["#.to_owned(), 400, "EOF"),
        (r#"{"items": [], "mu": NaN}"#.into(), 400, "expected value"),
        (
            r#"{"items": [], "mu": 1e999}"#.into(),
            400,
            "number out of range",
        ),
        (
            r#"{"items": [], "mu": 1e300}"#.into(),
            422,
            "mu: expected a number from -1000000 to 1000000, found 1e300",
        ),
        (
            r#"{"items": [], "target_return": -1e9}"#.into(),
            422,
            "target_return: expected a number from -1000000 to 1000000, found -1000000000",
        ),
        (
            r#"{"items": [], "eps": -1}"#.into(),
            422,
            "eps: expected a number from 0 to 1000000, found -1",
        ),
        (r#"{"items": [], "quantile": 1.5}"#.into(), 422, "quantile"),
        (
            r#"{"items": [], "mu": 1, "quantile": 0.5}"#.into(),
            422,
            "one way",
        ),
        (
            r#"{"items": "a"}"#.into(),
            422,
            "items: expected a list of ids, found the text",
        ),
        (r#"{"items": [1.5]}"#.into(), 422, "an item id"),
        (r#"{"items": [-1]}"#.into(), 422, "an item id"),
        (r#"{"items": [null]}"#.into(), 422, "an item id"),
        (r#"{"k": 5}"#.into(), 422, "items is missing"),
        (
            r#"{"items": [], "k": 0}"#.into(),
            422,
            "k: expected a whole number from 1 to 1000, found 0",
        ),
        (
            r#"{"items": [], "k": 1001}"#.into(),
            422,
            "1000, found 1001",
        ),
        (r#"{"items": [], "k": -1}"#.into(), 422, "1000, found -1"),
        (r#"{"items": [], "k": 1.5}"#.into(), 422, "1000, found 1.5"),
        (
            r#"{"items": [], "k": "5"}"#.into(),
            422,
            "1000, found the text",
        ),
        (
            r#"{"items": [], "k": 1e99}"#.into(),
            422,
            "1000, found 1e+99",
        ),
        (
            r#"{"items": [], "k": 1, "k": 2}"#.into(),
            422,
            "k is given twice",
        ),
        (r#"[]"#.into(), 422, "expected a JSON object, found a list"),
        (
            r#"{"items": [], "kk": 1}"#.into(),
            422,
            "unknown field `kk`",
        ),
        (
            json!({"items": long}).to_string(),
            422,
            "items holds 10000 ids",
        ),
        (
            json!({"items": [], "exclude": vec![1; 1001]}).to_string(),
            422,
            "exclude holds 1001",
        ),
        (
            json!({"items": [], "allow": vec![1; 10_001]}).to_string(),
            422,
            "allow holds 10001",
        ),
        (
            json!({"items": ["x".repeat(257)]}).to_string(),
            422,
            "items[0] is longer",
        ),
        (
            json!({"items": ["x".repeat(2 << 20)]}).to_string(),
            413,
            "length limit",
        ),
    ];
    for (body, status, detail) in cases {
        let reply = send(server.addr, "POST", "/v1/recommend", &[JSON], &body);
        assert_problem(&reply, status, detail);
    }
    assert_problem(
        &send(
            server.addr,
            "POST",
            "/v1/recommend",
            &[],
            r#"{"items": []}"#,
        ),
        415,
        "Content-Type",
    );
    assert_problem(&server.get("/v1/recommend"), 405, "openapi");
    assert_problem(&server.get("/nothing"), 404, "openapi");
    let batch = json!({"questions": [{"items": []}, {"items": [], "k": 0}]});
    assert_problem(
        &server.post("/v1/recommend/batch", &batch),
        422,
        "questions[1]: k: expected a whole number from 1 to 1000, found 0",
    );
    let many = json!({"questions": vec![json!({"items": []}); 101]});
    assert_problem(
        &server.post("/v1/recommend/batch", &many),
        422,
        "questions holds 101 requests",
    );
    assert_eq!(
        server
            .post("/v1/recommend", &json!({"items": ["item-1"]}))
            .status,
        200,
        "the server still answers"
    );
}

fn assert_problem(reply: &Reply, status: u16, detail: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    let problem = reply.json();
    assert_eq!(problem["status"], status);
    assert!(
        problem["detail"].as_str().unwrap().contains(detail),
        "{problem} does not mention {detail:?}"
    );
    assert!(
        problem["type"]
            .as_str()
            .unwrap()
            .starts_with("urn:prl:problem:")
            && problem["title"].is_string()
    );
}

#[test]
fn stored_session_prompt_subtracts_collected_reward() {
    let server = TestServer::start(|_| {});
    let path = "/v1/sessions/user-1";
    assert_problem(
        &server.post(&format!("{path}/recommend"), &json!({})),
        404,
        "never began",
    );
    let event = |body: Value| server.post(&format!("{path}/events"), &body);
    assert_eq!(
        event(json!({"events": [{"item": "item-4"}]})).json(),
        json!({"session": "user-1", "events": 1})
    );
    assert_eq!(
        event(json!({"events": [{"item": "item-5", "type": "purchase"}]})).json()["events"],
        2
    );
    let events = [("item-4", Kind::Click), ("item-5", Kind::Purchase)];
    let whole = |mu| PromptSpec {
        target: TargetReturn::Relative { mu, eps: 0.0 },
        sequence_wise: true,
        tilt: 0.0,
    };
    let reply = server.post(&format!("{path}/recommend"), &json!({"k": 4, "mu": 3}));
    assert_eq!(reply.json(), offline(&events, whole(3.0), 4));
    let step_wise = server.post(
        &format!("{path}/recommend"),
        &json!({"k": 4, "mu": 3, "sequence_wise": false}),
    );
    assert_eq!(
        step_wise.json(),
        offline(
            &events,
            TargetReturn::Relative { mu: 3.0, eps: 0.0 }.into(),
            4
        )
    );
    assert_problem(
        &server.post(&format!("{path}/recommend"), &json!({"items": []})),
        422,
        "stored session's own",
    );
    assert_problem(
        &event(json!({"events": [{"item": 4, "type": "view"}]})),
        422,
        "events[0]: type: expected click or purchase, found the text \"view\"",
    );
    let delete = || send(server.addr, "DELETE", path, &[], "");
    assert_eq!(delete().status, 204);
    assert_problem(&delete(), 404, "never began");
}
