//! `prl serve` on the web: keys made by `prl key`, logs as JSON, invalid flags.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use prl_runs::Method;
use serde_json::{Value, json};

use crate::http::send;
use crate::network_remote::train;

fn prl(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prl"))
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

/// Makes a key; returns its secret and appends its entry to a file.
fn make_key(flags: &str, file: &Path) -> String {
    let output = prl(&format!("key {flags}"));
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (comment, entry) = text.split_once('\n').unwrap();
    let known = std::fs::read_to_string(file).unwrap_or_default();
    std::fs::write(file, known + entry).unwrap();
    comment
        .strip_prefix("# secret, shown once: ")
        .unwrap()
        .to_owned()
}

/// A server whose log is a file; killed when dropped.
struct Running(Child);

impl Running {
    /// Starts it, and waits until its log holds each text.
    fn start(run: &Path, flags: &str, log: &Path, texts: &[&str]) -> Self {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_prl"));
        serve
            .args(["serve", "--run"])
            .arg(run)
            .args(flags.split_whitespace())
            .env("PRL_LOG", "info")
            .stderr(File::create(log).unwrap());
        let running = Self(serve.spawn().unwrap());
        let start = Instant::now();
        loop {
            let found = std::fs::read_to_string(log).unwrap();
            if texts.iter().all(|text| found.contains(text)) {
                return running;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{found}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(mut self) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn json_log_has_request_ids_and_key_names_and_no_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), Method::Popularity);
    let keys = dir.path().join("keys.toml");
    let shop = make_key("--name shop --roles ask --per-second 100", &keys);
    let ops = make_key("--name ops --roles admin", &keys);
    assert_ne!(shop, ops);
    let text = std::fs::read_to_string(&keys).unwrap();
    assert!(
        !text.contains(&shop) && text.contains("per_second = 100"),
        "{text}"
    );

    let log = dir.path().join("log");
    let flags = format!(
        "--addr 127.0.0.1:0 --log-format json --keys {}",
        keys.display()
    );
    let server = Running::start(&run, &flags, &log, &["\"ready\"", "\"listening\""]);
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let is_listening = |line: &&Value| line["message"] == "listening";
    let url = lines().iter().find(is_listening).unwrap()["url"].clone();
    let addr = url
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let ask = |secret: &str, id: &str, path: &str| {
        let bearer = format!("Bearer {secret}");
        let headers = [
            ("content-type", "application/json"),
            ("authorization", bearer.as_str()),
            ("x-request-id", id),
        ];
        send(addr, "POST", path, &headers, r#"{"items":[]}"#).status
    };
    assert_eq!(ask(&shop, "id-1", "/v1/recommend"), 200);
    assert_eq!(ask(&shop, "id-2", "/v1/admin/reload"), 403);
    assert_eq!(ask("wrong-wrong-wrong", "id-3", "/v1/recommend"), 401);
    let query = format!("/v1/items?prefix={ops}&key={ops}");
    assert_eq!(send(addr, "GET", &query, &[], "").status, 401);
    server.terminate();

    let access: Vec<Value> = lines()
        .into_iter()
        .filter(|l| l["target"] == "access")
        .collect();
    let of = |i: usize| json!([access[i]["id"], access[i]["status"], access[i]["key"]]);
    assert_eq!(of(0), json!(["id-1", 200, "shop"]));
    assert_eq!(of(1), json!(["id-2", 403, "shop"]));
    assert_eq!(of(2), json!(["id-3", 401, "-"]));
    assert_eq!(access[0]["route"], "/v1/recommend");
    assert!(access[0]["ms"].is_number() && access[0]["timestamp"].is_string());
    let text = std::fs::read_to_string(&log).unwrap();
    for secret in [&shop, &ops, "wrong-wrong-wrong"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn invalid_web_flags_are_usage_errors_that_name_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("keys.toml");
    std::fs::write(
        &bad,
        "[[key]]\nname = 'a'\nsecret = 'hush-hush'\nroles = ['ask']\n",
    )
    .unwrap();
    let keys = format!("--keys {}", bad.display());
    for (flags, hint) in [
        ("--addr localhost", "NAME:PORT as"),
        (
            "--cors-origin https://shop.example/",
            "SCHEME://HOST[:PORT]",
        ),
        ("--path-prefix prl", "as /shop/prl"),
        ("--tls-addr 127.0.0.1:0", "--tls-cert"),
        ("--tls-cert c.pem", "--tls-addr"),
        (
            "--tls-addr 127.0.0.1:0 --tls-cert no.pem --tls-key no.pem",
            "cannot use no.pem for TLS",
        ),
        (
            "--otlp-endpoint https://c:4318",
            "run one beside the server",
        ),
        (
            "--otlp-endpoint http://c:4318 --otlp-share 2",
            "from 0 to 1",
        ),
        (&keys, "secret: expected at least 16"),
    ] {
        let output = prl(&format!("serve --run none {flags}"));
        let error = String::from_utf8(output.stderr).unwrap();
        let words: Vec<&str> = error.split_whitespace().collect();
        assert_eq!(output.status.code(), Some(2), "{flags}: {error}");
        assert!(words.join(" ").contains(hint), "{flags}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
    assert_eq!(prl("key --name a/b").status.code(), Some(2));
    assert_eq!(prl("key --name a --roles root").status.code(), Some(2));
}
