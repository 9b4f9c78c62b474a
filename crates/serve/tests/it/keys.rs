//! API keys of a file: roles, quotas, log and metrics.

use std::path::Path;

use prl_serve::{ApiKey, Options, Server};
use serde_json::json;

use crate::common::http::{Reply, send};
use crate::common::{JSON, TestServer, run};

const SECRETS: [&str; 4] = [
    "ask-ask-ask-ask-ask",
    "write-write-write-write",
    "admin-admin-admin-admin",
    "slow-slow-slow-slow",
];

fn write_keys(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("keys.toml");
    // printf ask-ask-ask-ask-ask | sha256sum
    let text = format!(
        "[[key]]\nname = 'shop'\nroles = ['ask']\n\
         sha256 = 'c01431f7fee0ec6302e26a63a2ed530d8b2803d625c21885de7b0837ffa97e84'\n\
         [[key]]\nname = 'events'\nroles = ['write']\nsecret = '{}'\n\
         [[key]]\nname = 'ops'\nroles = ['admin']\nsecret = '{}'\n\
         [[key]]\nname = 'slow'\nroles = ['ask']\nsecret = '{}'\nper_second = 0.01\nburst = 2\n",
        SECRETS[1], SECRETS[2], SECRETS[3]
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn server(dir: &Path) -> TestServer {
    let path = write_keys(dir);
    TestServer::start(|o| o.web.keys = Some(path))
}

fn ask(server: &TestServer, secret: &str, (method, path, body): (&str, &str, &str)) -> Reply {
    let authorization = format!("Bearer {secret}");
    let headers = [JSON, ("authorization", authorization.as_str())];
    send(server.addr, method, path, &headers, body)
}

const RECOMMEND: (&str, &str, &str) = ("POST", "/v1/recommend", r#"{"items":[]}"#);
const EVENTS: (&str, &str, &str) = (
    "POST",
    "/v1/sessions/u/events",
    r#"{"events":[{"item":"item-1"}]}"#,
);
const RELOAD: (&str, &str, &str) = ("POST", "/v1/admin/reload", "{}");

#[test]
fn key_is_admitted_to_the_routes_of_its_roles() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let statuses = |secret: &str| {
        [RECOMMEND, EVENTS, RELOAD].map(|request| ask(&server, secret, request).status)
    };
    assert_eq!(statuses(SECRETS[0]), [200, 403, 403]);
    assert_eq!(statuses(SECRETS[1]), [403, 200, 403]);
    assert_eq!(statuses(SECRETS[2]), [200, 200, 200]);
    assert_eq!(statuses("unknown-unknown-unknown"), [401, 401, 401]);
    let refused = ask(&server, SECRETS[0], EVENTS).json();
    assert_eq!(refused["type"], "urn:prl:problem:no-role");
    assert_eq!(
        refused["detail"],
        r#"the key "shop" has not the role "write" that this route needs"#
    );
    for open in [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/",
    ] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
}

#[test]
fn quota_gives_429_with_time_of_retry_for_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let replies = [(); 3].map(|()| ask(&server, SECRETS[3], RECOMMEND));
    assert_eq!(replies.each_ref().map(|r| r.status), [200, 200, 429]);
    let wait: u64 = replies[2].header("retry-after").unwrap().parse().unwrap();
    assert!((98..=100).contains(&wait), "{wait}");
    assert_eq!(replies[2].json()["type"], "urn:prl:problem:quota");
    assert_eq!(ask(&server, SECRETS[0], RECOMMEND).status, 200);
    let metrics = server.get("/metrics").body;
    for line in [
        r#"prl_api_key_requests_total{key="slow",code="200"} 2"#,
        r#"prl_api_key_requests_total{key="slow",code="429"} 1"#,
        r#"prl_api_key_requests_total{key="shop",code="200"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    for secret in SECRETS {
        assert!(!metrics.contains(secret));
    }
}

#[test]
fn default_key_and_file_are_valid_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_keys(dir.path());
    let server = TestServer::start(|o| {
        o.key = ApiKey::new("default");
        o.web.keys = Some(path.clone());
    });
    assert_eq!(ask(&server, "default", RELOAD).status, 200);
    assert_eq!(ask(&server, SECRETS[0], RECOMMEND).status, 200);
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        let value = format!("{scheme} default");
        let headers = [JSON, ("authorization", value.as_str())];
        let reply = send(
            server.addr,
            "POST",
            "/v1/recommend",
            &headers,
            "{\"items\":[]}",
        );
        assert_eq!(reply.status, 200, "{scheme}");
    }
    for value in [
        "Basic default",
        "default",
        "Bearer",
        "Bearer default x",
        "Bearerdefault",
    ] {
        let headers = [JSON, ("authorization", value)];
        let reply = send(
            server.addr,
            "POST",
            "/v1/recommend",
            &headers,
            "{\"items\":[]}",
        );
        assert_eq!(reply.status, 401, "{value}");
    }
}

#[test]
fn invalid_keys_file_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let start = || {
        let mut options = Options::new(run());
        options.web.keys = Some(path.clone());
        Server::start(options).err().unwrap().to_string()
    };
    assert!(start().contains("No such file"));
    std::fs::write(&path, "").unwrap();
    assert!(start().contains("no [[key]] entry"));
    let entry = |name: &str, secret: &str| {
        format!("[[key]]\nname = '{name}'\nsecret = '{secret}'\nroles = ['ask']\n")
    };
    let twice = entry("a", SECRETS[0]) + &entry("a", SECRETS[1]);
    std::fs::write(&path, twice).unwrap();
    assert!(start().contains("the name \"a\" is given twice"));
    let same = entry("a", SECRETS[0]) + &entry("b", SECRETS[0]);
    std::fs::write(&path, same).unwrap();
    let error = start();
    assert!(error.contains("have the same secret") && !error.contains(SECRETS[0]));
}

#[test]
fn openapi_document_names_the_role_of_every_guarded_route() {
    let server = TestServer::start(|_| {});
    let document = server.get("/openapi.json").json();
    let mut roles = [0; 4];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            let security = operation["security"].as_array().unwrap();
            let role = match security.last().and_then(|last| last["key"][0].as_str()) {
                None => 0,
                Some("ask") => 1,
                Some("write") => 2,
                Some("admin") => 3,
                Some(other) => panic!("{path}: {other}"),
            };
            assert_eq!(role > 0, path.starts_with("/v1/"), "{path}");
            // Without configured keys all but administration is open.
            let is_optional = security.first() == Some(&json!({}));
            assert_eq!(is_optional, role == 1 || role == 2, "{path}");
            roles[role] += 1;
        }
    }
    assert!(roles.iter().all(|&n| n > 0), "{roles:?}");
}
