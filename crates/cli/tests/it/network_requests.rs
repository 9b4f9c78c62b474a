//! One grammar: a request by flags, as a line and over HTTP has one answer, and one error.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use prl_runs::Method;
use serde_json::{Value, json};

use crate::http::{Reply, send};
use crate::network_remote::{Served, train};

/// Requests as flags and as JSON.
fn requests() -> Vec<(Vec<&'static str>, Value)> {
    vec![
        (vec!["--items", ""], json!({"items": []})),
        (
            vec!["--items", "item-4,item-5"],
            json!({"items": ["item-4", "item-5"]}),
        ),
        (
            vec!["--items", "item-4", "--items", "item-5, 7", "-k", "3"],
            json!({"items": ["item-4", "item-5", 7], "k": 3}),
        ),
        (
            vec![
                "--item", "item-4", "--item", " a,b ", "--mu", "-0.5", "-k1000",
            ],
            json!({"items": ["item-4", " a,b "], "mu": -0.5, "k": 1000}),
        ),
        (
            vec!["--items=-5", "--eps", "0.5", "--case", "7"],
            json!({"items": ["-5"], "eps": 0.5, "case": 7}),
        ),
        (
            vec!["--items", "-5,x y", "--quantile", "0.25"],
            json!({"items": ["-5", "x y"], "quantile": 0.25}),
        ),
        (
            vec!["--items", r"item-4,a\,b", "--target-return", "2.5"],
            json!({"items": ["item-4", "a,b"], "target_return": 2.5}),
        ),
        (
            vec!["--items", "item-9", "--max-return"],
            json!({"items": ["item-9"], "max_return": true}),
        ),
        (
            vec![
                "--items",
                "item-4,item-5",
                "--purchased",
                "item-5",
                "--sequence-wise",
            ],
            json!({"items": ["item-4", "item-5"], "purchased": ["item-5"], "sequence_wise": true}),
        ),
        (
            vec![
                "--items",
                "item-4,item-4",
                "--kinds",
                "purchase,click",
                "--sequence-wise",
            ],
            json!({"items": ["item-4", "item-4"], "kinds": ["purchase", "click"],
                "sequence_wise": true}),
        ),
        (
            vec![
                "--items",
                "item-4,item-5",
                "--exclude-seen",
                "--exclude",
                "item-6,gone",
                "-k60",
            ],
            json!({"items": ["item-4", "item-5"], "exclude_seen": true,
                "exclude": ["item-6", "gone"], "k": 60}),
        ),
        (
            vec![
                "--items",
                "item-4",
                "--allow",
                "item-6",
                "--allow",
                "-1,item-7",
            ],
            json!({"items": ["item-4"], "allow": ["item-6", "-1", "item-7"]}),
        ),
        (
            vec!["--items", "item-4", "--allow", ""],
            json!({"items": ["item-4"], "allow": []}),
        ),
    ]
}

/// Invalid requests as flags and as JSON, and the error of each.
fn invalid() -> Vec<(Vec<&'static str>, &'static str, &'static str)> {
    let k = "expected a whole number from 1 to 1000";
    vec![
        (vec!["-k", "0"], r#""k": 0"#, k),
        (vec!["-k", "-1"], r#""k": -1"#, k),
        (vec!["-k", "1.5"], r#""k": 1.5"#, k),
        (vec!["-k", "five"], r#""k": "5""#, k),
        (vec!["-k", "1e99"], r#""k": 1e99"#, k),
        (vec!["-k", "1001"], r#""k": 1001"#, k),
        (vec!["--mu", "x"], r#""mu": "x""#, "expected a number"),
        (
            vec!["--mu", "1e300"],
            r#""mu": 1e300"#,
            "mu: expected a number from -1000000 to 1000000, found 1e300",
        ),
        (
            vec!["--eps", "-1"],
            r#""eps": -1"#,
            "eps: expected a number from 0 to 1000000, found -1",
        ),
        (
            vec!["--quantile", "2"],
            r#""quantile": 2"#,
            "quantile: expected a number from 0 to 1, found 2",
        ),
        (
            vec!["--target-return", "-1e7"],
            r#""target_return": -1e7"#,
            "target_return: expected a number from -1000000 to 1000000, found -10000000",
        ),
        (
            vec!["--kinds", "view"],
            r#""kinds": ["view"]"#,
            "expected click or purchase, found the text \"view\"",
        ),
        (
            vec!["--kinds", "click,click"],
            r#""kinds": ["click", "click"]"#,
            "kinds holds 2 values for 1 items; give one for each item",
        ),
    ]
}

fn recommend(run: &Path, flags: &[&str], stdin: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_prl"))
        .args(["recommend", "--run"])
        .arg(run)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early closes stdin, so writing may fail.
    _ = process.stdin.take().unwrap().write_all(stdin.as_bytes());
    process.wait_with_output().unwrap()
}

fn post(url: &str, body: &str) -> Reply {
    let addr = url.trim_start_matches("http://").parse().unwrap();
    let headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer k"),
    ];
    send(addr, "POST", "/v1/recommend", &headers, body)
}

fn values(output: &Output) -> Vec<Value> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = str::from_utf8(&output.stdout).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn flags_lines_and_http_give_the_same_answers_and_errors() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), Method::Prl);
    let server = Served::start(&run);
    let mut lines = String::new();
    for (_, json) in requests() {
        lines += &format!("{json}\n\n");
    }
    let from_lines = values(&recommend(&run, &[], &lines));
    let from_input = values(&recommend(&run, &["--input", "-", "--out", "-"], &lines));
    assert_eq!(from_lines, from_input);
    assert_eq!(from_lines.len(), requests().len());
    for ((flags, json), line) in requests().into_iter().zip(from_lines) {
        let reply = post(&server.1, &json.to_string());
        assert_eq!((reply.status, reply.json()), (200, line.clone()), "{json}");
        let flags = [flags, vec!["--json"]].concat();
        assert_eq!(values(&recommend(&run, &flags, "")), [line], "{flags:?}");
    }
    let valid = json!({"items": []});
    for (flags, json, expected) in invalid() {
        let body = format!("{{\"items\": [\"item-4\"], {json}}}");
        let reply = post(&server.1, &body);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(reply.status == 422 && detail.contains(expected), "{detail}");
        let output = recommend(&run, &[], &format!("{valid}\n{body}\n{valid}\n"));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error, format!("error: stdin, line 2: {detail}\n"));
        assert_eq!(output.status.code(), Some(2));
        let answered = String::from_utf8(output.stdout).unwrap().lines().count();
        assert_eq!(answered, 1, "the answers before the error are printed");
        let flags = [vec!["--items", "item-4"], flags].concat();
        let output = recommend(&run, &flags, "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{flags:?}: {error}");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
}

#[test]
fn flags_are_defaults_of_lines() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), Method::Prl);
    let lines = "{\"items\": [\"item-4\"], \"session\": 12}\n{\"items\": [], \"k\": 2, \"eps\": 0}";
    let flags = ["-k", "3", "--mu", "0.5", "--exclude", "item-5,gone"];
    let answers = values(&recommend(&run, &flags, lines));
    let len = |answer: &Value| answer["items"].as_array().unwrap().len();
    assert_eq!((len(&answers[0]), len(&answers[1])), (3, 2));
    assert_eq!(answers[0]["session"], "12");
    for answer in &answers {
        assert_eq!(answer["unknown_exclude"], json!(["gone"]));
        assert_eq!(answer["prompt"]["relative"], json!({"mu": 0.5, "eps": 0.0}));
    }
}

#[test]
fn text_output_names_unknown_ids_on_stderr() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), Method::Prl);
    let flags = [
        "--items",
        "a,item-4",
        "--exclude",
        "b",
        "--allow",
        "c,item-5",
    ];
    let output = recommend(&run, &flags, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        error,
        "not in the catalogue, skipped: a\n--exclude: not in the catalogue, ignored: b\n\
         --allow: not in the catalogue, ignored: c\n"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines().count() == 1 && text.contains("item-5"),
        "{text}"
    );
}
