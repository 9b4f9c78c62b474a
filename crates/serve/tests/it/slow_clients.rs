//! Programs made from the OpenAPI document: schemathesis calls a server by it, and clients that are
//! generated in Python and TypeScript recommend. Skipped with a message where a tool is missing.
//!
//! The Python with schemathesis and openapi-python-client is PRL_API_PYTHON, by default python3.
//! The folder with node_modules (openapi-typescript, openapi-fetch, typescript 5 and @types/node)
//! is PRL_API_NODE.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prl_dataset::Split;
use prl_engine::Device;
use prl_runs::{Method, Run};
use prl_serve::ApiKey;
use serde_json::{Value, json};

use crate::common::http::send;
use crate::common::{JSON, TestServer, train};

/// Maximum number of generated requests of each kind for a route.
const EXAMPLES: &str = "5";

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The Python that has a module, if there is one. PRL_API_PYTHON must have it if set.
fn python(module: &str) -> Option<OsString> {
    let named = std::env::var_os("PRL_API_PYTHON");
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let import = format!("import {module}");
    let tried = Command::new(&python).args(["-c", &import]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        named.is_none(),
        "PRL_API_PYTHON is set, but has no {module}"
    );
    eprintln!("SKIPPED: {module} (pip install) is missing");
    None
}

/// The folder with node_modules, if there is one.
fn node() -> Option<PathBuf> {
    let Some(dir) = std::env::var_os("PRL_API_NODE") else {
        eprintln!("SKIPPED: PRL_API_NODE is not set (npm install openapi-typescript ..)");
        return None;
    };
    Some(PathBuf::from(dir).join("node_modules"))
}

fn server() -> TestServer {
    TestServer::start(|o| o.key = ApiKey::new("k"))
}

fn check(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

/// Writes the document of a server to a file.
fn save_document(server: &TestServer, dir: &Path) -> PathBuf {
    let path = dir.join("openapi.json");
    let document = send(server.addr, "GET", "/openapi.json", &[], "").body;
    std::fs::write(&path, document).unwrap();
    path
}

/// Checks what a client printed: the server's own answer, and that of a stored session.
fn check_printed(server: &TestServer, text: &str) {
    let printed: Value = serde_json::from_str(text).unwrap();
    let key = ("authorization", "Bearer k");
    let body = r#"{"items": ["item-1", "item-2"], "k": 5, "mu": 2}"#;
    let own = send(server.addr, "POST", "/v1/recommend", &[JSON, key], body).json();
    assert_eq!(own["items"].as_array().unwrap().len(), 5);
    // Another language writes 2.0 as 2.
    for field in ["items", "model", "cold"] {
        assert_eq!(printed["answer"][field], own[field]);
    }
    assert_eq!(printed["stored"]["items"].as_array().unwrap().len(), 3);
    assert_eq!(printed["stored"]["prompt"]["sequence_wise"], json!(true));
}

#[test]
fn python_client_of_the_document_recommends() {
    let Some(python) = python("openapi_python_client") else {
        return;
    };
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    let generated = Command::new(&python)
        .args(["-m", "openapi_python_client", "generate", "--meta", "none"])
        .arg("--path")
        .arg(save_document(&server, dir.path()))
        .arg("--output-path")
        .arg(dir.path().join("prl_client"))
        .output();
    let text = check(&generated.unwrap());
    assert!(!text.contains("WARNING parsing"), "{text}");
    let client = Command::new(&python)
        .arg(tests().join("clients/client.py"))
        .args([&format!("http://{}", server.addr), "k"])
        .env("PYTHONPATH", dir.path())
        .output();
    check_printed(&server, &check(&client.unwrap()));
}

#[cfg(unix)]
#[test]
fn typescript_client_of_the_document_recommends() {
    let Some(modules) = node() else {
        return;
    };
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).unwrap();
    std::fs::copy(
        tests().join("clients/client.ts"),
        dir.path().join("client.ts"),
    )
    .unwrap();
    let run = |program: PathBuf, flags: &str| {
        let mut command = Command::new(program);
        command.current_dir(dir.path()).args(flags.split(' '));
        check(&command.output().unwrap())
    };
    save_document(&server, dir.path());
    // Fields with a default may be absent.
    let flags = "openapi.json --default-non-nullable=false --output schema.d.ts";
    run(modules.join(".bin/openapi-typescript"), flags);
    let flags = "--strict --target es2022 --module node16 --types node --skipLibCheck client.ts";
    run(modules.join(".bin/tsc"), flags);
    let printed = run(
        "node".into(),
        &format!("client.js http://{} k", server.addr),
    );
    check_printed(&server, &printed);
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(python) = python("schemathesis") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    // With a forecast, so that every way to ask for a return is valid.
    let run = train(dir.path(), Method::Prl);
    let opened = Run::open(&run).unwrap();
    let (data, model) = (
        opened.data(None).unwrap(),
        opened.load(&Device::Cpu).unwrap(),
    );
    opened.fit_forecast(&model, &data, Split::Val).unwrap();
    let server = TestServer::start(|o| {
        o.run = run;
        o.key = ApiKey::new("k");
        o.experiment_log = Some(dir.path().join("log"));
    });
    for name in ["schemathesis.toml", "schemathesis_hooks.py"] {
        std::fs::copy(tests().join(name), dir.path().join(name)).unwrap();
    }
    let tested = Command::new(python)
        .current_dir(dir.path())
        .args([
            "-m",
            "schemathesis.cli",
            "run",
            "--seed",
            "1",
            "--max-examples",
            EXAMPLES,
        ])
        .args(["--header", "Authorization: Bearer k"])
        .arg(format!("http://{}/openapi.json", server.addr))
        .output();
    let text = check(&tested.unwrap());
    let is_clean = !text.contains("FAILURES") && text.contains(" passed");
    assert!(is_clean, "{text}");
}
