//! The OpenAPI document against the contract with clients, and against real requests and responses.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::common::http::send;
use crate::common::{JSON, TestServer};
use crate::schema::{check, document, of, resolve};

/// Operations, fields and limits that clients rely on, one per line.
const CONTRACT: &str = include_str!("../golden/openapi-contract.txt");

/// Keywords of a schema that restrict its values.
const LIMITS: [&str; 7] = [
    "minimum",
    "maximum",
    "maxItems",
    "maxLength",
    "default",
    "enum",
    "additionalProperties",
];

/// The operations, fields and limits of a document, one per line.
fn contract(document: &Value) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let place = format!("{method} {path}");
            lines.insert(format!("{place}: operation"));
            if operation["requestBody"].is_object() {
                let schema = of(document, operation, None);
                describe(document, schema, &format!("{place} request"), &mut lines);
            }
            for status in operation["responses"].as_object().unwrap().keys() {
                lines.insert(format!("{place} {status}: response"));
                if status == "200" {
                    let schema = of(document, operation, Some(200));
                    describe(document, schema, &format!("{place} {status}"), &mut lines);
                }
            }
        }
    }
    let problem = &document["components"]["schemas"]["Problem"];
    describe(document, problem, "problem", &mut lines);
    lines
}

fn describe(document: &Value, schema: &Value, place: &str, lines: &mut BTreeSet<String>) {
    let schema = resolve(document, schema);
    for limit in LIMITS {
        match &schema[limit] {
            Value::Null => {}
            Value::Number(number) => {
                let number = number.as_f64().unwrap();
                lines.insert(format!("{place}: {limit} {number}"));
            }
            value => _ = lines.insert(format!("{place}: {limit} {value}")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        lines.insert(format!("{place}: required {name}"));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        lines.insert(format!("{place}.{name}: field"));
        describe(document, field, &format!("{place}.{name}"), lines);
    }
    if schema["items"].is_object() {
        describe(document, &schema["items"], &format!("{place}[]"), lines);
    }
}

#[test]
fn openapi_document_keeps_contract() {
    let server = TestServer::start(|_| {});
    let found = contract(document(server.addr));
    let missing: Vec<&str> = CONTRACT
        .lines()
        .filter(|line| !found.contains(*line))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:#?}");
    let expected: BTreeSet<&str> = CONTRACT.lines().collect();
    let mut new = Vec::new();
    for line in &found {
        // A new required field of a request would break clients; one of a response would not.
        let is_required = line.contains(" request") && line.contains(": required ");
        let is_breaking = is_required || line.ends_with(": operation");
        if is_breaking && !expected.contains(line.as_str()) {
            new.push(line.as_str());
        }
    }
    assert!(new.is_empty(), "new:\n{}", new.join("\n"));
}

#[test]
fn operation_ids_are_unique() {
    let server = TestServer::start(|_| {});
    let mut ids = BTreeSet::new();
    for methods in document(server.addr)["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id}");
        }
    }
}

#[test]
fn requests_and_responses_match_their_schemas() {
    let server = TestServer::start(|_| {});
    let document = document(server.addr);
    let event = json!({"events": [{"item": "item-4"}, {"item": 5, "type": "purchase"}]});
    let full = json!({
        "items": ["item-4", 5, "gone"], "purchased": ["item-4"], "k": 3, "mu": 2.5, "eps": 0.5,
        "sequence_wise": true, "case": 7, "exclude_seen": true, "exclude": ["item-1"],
        "allow": ["item-2", "item-3"],
    });
    let requests = [
        ("post", "/v1/recommend", json!({"items": []}), 200),
        ("post", "/v1/recommend", full.clone(), 200),
        (
            "post",
            "/v1/recommend",
            json!({"items": [], "quantile": 0.5, "mu": null}),
            200,
        ),
        (
            "post",
            "/v1/recommend",
            json!({"items": [], "target_return": 2}),
            200,
        ),
        (
            "post",
            "/v1/recommend",
            json!({"items": [], "max_return": true}),
            200,
        ),
        ("post", "/v1/recommend", json!({"items": [], "k": 0}), 422),
        ("post", "/v1/recommend", json!({"items": [], "kk": 1}), 422),
        ("post", "/v1/recommend", json!({"k": 1}), 422),
        ("post", "/v1/recommend", json!({"items": [1.5]}), 422),
        (
            "post",
            "/v1/recommend",
            json!({"items": [], "quantile": 2}),
            422,
        ),
        (
            "post",
            "/v1/recommend",
            json!({"items": [], "exclude": vec![1; 1001]}),
            422,
        ),
        (
            "post",
            "/v1/recommend/batch",
            json!({"questions": [full, {"items": []}]}),
            200,
        ),
        (
            "post",
            "/v1/recommend/batch",
            json!({"questions": [{"items": [], "k": 0}]}),
            422,
        ),
        ("post", "/v1/sessions/{id}/events", event, 200),
        (
            "post",
            "/v1/sessions/{id}/events",
            json!({"events": [{"item": 1, "type": "x"}]}),
            422,
        ),
        (
            "post",
            "/v1/sessions/{id}/recommend",
            json!({"k": 4, "mu": 3}),
            200,
        ),
        (
            "post",
            "/v1/sessions/{id}/recommend",
            json!({"items": []}),
            422,
        ),
        ("delete", "/v1/sessions/{id}", Value::Null, 204),
        ("delete", "/v1/sessions/{id}", Value::Null, 404),
        ("post", "/v1/admin/reload", json!({"run": null}), 403),
        ("get", "/v1/model", Value::Null, 200),
        ("get", "/v1/items", Value::Null, 200),
        ("get", "/health/live", Value::Null, 200),
        ("get", "/health/ready", Value::Null, 200),
    ];
    for (method, path, body, status) in requests {
        let place = format!("{method} {path} {body}");
        let operation = &document["paths"][path][method];
        let url = path.replace("{id}", "user-1");
        let reply = match &body {
            Value::Null => send(server.addr, &method.to_uppercase(), &url, &[], ""),
            body => send(
                server.addr,
                &method.to_uppercase(),
                &url,
                &[JSON],
                &body.to_string(),
            ),
        };
        assert_eq!(reply.status, status, "{place}: {reply:?}");
        if !body.is_null() {
            let checked = check(document, of(document, operation, None), &body);
            assert_eq!(checked.is_ok(), status != 422, "{place}: {checked:?}");
        }
        if status != 204 {
            let schema = of(document, operation, Some(status));
            check(document, schema, &reply.json()).unwrap_or_else(|e| panic!("{place}: {e}"));
        }
    }
}
