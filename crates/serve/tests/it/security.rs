//! Attacks on a server: what SECURITY.md names and no other test covers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use prl_serve::ApiKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::http::{Reply, send};
use crate::common::{JSON, TestServer, run};

const KEY: (&str, &str) = ("authorization", "Bearer secret-of-the-tests");

fn server(change: impl FnOnce(&mut prl_serve::Options)) -> TestServer {
    TestServer::start(|o| {
        o.key = ApiKey::new("secret-of-the-tests");
        change(o);
    })
}

/// Sends bytes and returns what comes until the connection ends, or for two seconds.
fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    // The server may end the connection before it has read everything.
    _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn connections(server: &TestServer) -> usize {
    let text = send(server.addr, "GET", "/metrics", &[], "").body;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("prl_http_connections "));
    line.unwrap().parse().unwrap()
}

#[test]
fn slow_head_and_unread_answers_end_the_connection() {
    let server = server(|o| o.header_timeout = Duration::from_millis(200));
    let mut slow = TcpStream::connect(server.addr).unwrap();
    let dripping = std::thread::spawn(move || {
        let start = Instant::now();
        for byte in b"GET /health/live HTTP/1.1\r\nx: "
            .iter()
            .chain(b"y".repeat(600).iter())
        {
            if slow.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    });
    let unread = TcpStream::connect(server.addr).unwrap();
    let mut writer = unread.try_clone().unwrap();
    writer
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    // More answers than the system's buffers hold.
    for _ in 0..2_000 {
        if writer.write_all(request).is_err() {
            break;
        }
    }
    assert!(dripping.join().unwrap() < Duration::from_secs(5));
    let deadline = Instant::now() + Duration::from_secs(10);
    // The connection that asks for the number is one.
    while connections(&server) > 1 {
        assert!(Instant::now() < deadline, "an unread connection stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(unread);
}

#[test]
fn flood_of_headers_is_refused() {
    let server = server(|_| {});
    let head = "GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let many = "a: b\r\n".repeat(101);
    let long = format!("a: {}\r\n", "b".repeat(80_000));
    for flood in [many, long] {
        let answer = raw(server.addr, format!("{head}{flood}\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let answer = raw(
        server.addr,
        format!("{head}{}\r\n", "a: b\r\n".repeat(90)).as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(80_000));
    let answer = raw(server.addr, line.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn hostile_json_is_refused() {
    let server = server(|_| {});
    let post = |body: &[u8]| send(server.addr, "POST", "/v1/recommend", &[JSON, KEY], body);
    let deep = |n: usize| format!("{{\"items\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let (too_deep, nested) = (deep(100_000), deep(100));
    let bodies: [(&[u8], u16); 8] = [
        (too_deep.as_bytes(), 400),
        (nested.as_bytes(), 422),
        (b"{\"items\":[\"\xff\xfe\"]}", 400),
        (br#"{"items":["\ud800"]}"#, 400),
        (br#"{"items":[],"items":[]}"#, 422),
        (br#"{"items":[],"k":1e400}"#, 400),
        (b"", 400),
        (br#"{"items":["\u0000"],"k":1}"#, 200),
    ];
    for (body, status) in bodies {
        let reply = post(body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
        assert_eq!(reply.status, status, "{shown}: {}", reply.body);
    }
}

#[test]
fn server_answers_among_many_bad_connections() {
    let server = server(|_| {});
    let mut bad = Vec::new();
    for i in 0..300 {
        let mut stream = TcpStream::connect(server.addr).unwrap();
        let bytes: &[u8] = match i % 3 {
            0 => b"",
            1 => b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-le",
            _ => &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
        };
        stream.write_all(bytes).unwrap();
        bad.push(stream);
    }
    let start = Instant::now();
    for _ in 0..20 {
        let reply = send(
            server.addr,
            "POST",
            "/v1/recommend",
            &[JSON, KEY],
            r#"{"items":[]}"#,
        );
        assert_eq!(reply.status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(
        connections(&server) >= 200,
        "silent and half heads are open"
    );
    drop(bad);
}

#[test]
fn ambiguous_length_is_refused() {
    let server = server(|_| {});
    let body = r#"{"items":[]}"#;
    let smuggled = "GET /v1/model HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = |headers: &str, body: &str| {
        let (name, value) = KEY;
        let head = "POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        raw(
            server.addr,
            format!("{head}{name}: {value}\r\n{headers}\r\n{body}").as_bytes(),
        )
    };
    let two = format!("content-length: {}\r\ncontent-length: 3\r\n", body.len());
    for headers in [
        two.as_str(),
        "content-length: +12\r\n",
        "content-length: 12, 12\r\ncontent-length: 13\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
    ] {
        let answer = post(headers, &format!("{body}{smuggled}"));
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{headers}: {answer}"
        );
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{answer}");
    }
    // The chunks count, as the standard says, and the length does not.
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let answer = post(
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        &chunks,
    );
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[test]
fn path_tricks_reach_no_route() {
    let server = server(|_| {});
    for path in [
        "/v1/../v1/model",
        "//v1/model",
        "/v1//model",
        "/v1/model/",
        "/v1/%6dodel",
        "/V1/model",
        "/v1/model%00",
        "/v1/model;a=b",
        "/v1/model%2f",
        "/health/../v1/model",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/openapi.json/../v1/model",
    ] {
        assert_eq!(
            send(server.addr, "GET", path, &[KEY], "").status,
            404,
            "{path}"
        );
    }
    for target in [
        "http://other.example/v1/model",
        "/v1/model?key=secret-of-the-tests",
    ] {
        assert_eq!(
            send(server.addr, "GET", target, &[], "").status,
            401,
            "{target}"
        );
    }
    // The name of a session is a name, and no path.
    let path = "/v1/sessions/..%2f..%2fadmin/events";
    let body = r#"{"events":[{"item":"item-1"}]}"#;
    let reply = send(server.addr, "POST", path, &[JSON, KEY], body);
    assert_eq!(reply.json(), json!({"session": "../../admin", "events": 1}));
}

#[test]
fn route_with_a_role_refuses_every_other_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    let roles = ["ask", "write", "admin"];
    let mut text = String::new();
    for role in roles {
        text += &format!("[[key]]\nname = '{role}'\nsecret = '{role}-0123456789abcdef'\n");
        text += &format!("roles = ['{role}']\n");
    }
    std::fs::write(&keys, text).unwrap();
    let server = TestServer::start(|o| o.web.keys = Some(keys));
    let document = send(server.addr, "GET", "/openapi.json", &[], "").json();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            let Some(needed) = security.last().and_then(|last| last["key"][0].as_str()) else {
                continue;
            };
            let url = path.replace("{id}", "x");
            for role in roles {
                let bearer = format!("Bearer {role}-0123456789abcdef");
                let headers = [JSON, ("authorization", bearer.as_str())];
                // No JSON, so that an admitted request changes nothing.
                let reply = send(server.addr, &method.to_uppercase(), &url, &headers, "-");
                let is_refused = reply.status == 403 && reply.body.contains("no-role");
                let is_allowed = role == needed || role == "admin";
                assert_eq!(
                    is_refused, !is_allowed,
                    "{method} {path} as {role}: {reply:?}"
                );
                assert_ne!(reply.status, 401, "{method} {path} as {role}");
                tried += 1;
            }
            let reply = send(server.addr, &method.to_uppercase(), &url, &[JSON], "-");
            assert_eq!(reply.status, 401, "{method} {path} without a key");
        }
    }
    assert!(tried >= 27, "{tried}");
}

fn reload(server: &TestServer, run: &Path) -> Reply {
    let body = json!({"run": run}).to_string();
    send(server.addr, "POST", "/v1/admin/reload", &[JSON, KEY], &body)
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Replaces the weights of a run and what its manifest says about them.
fn poison(run: &Path, weights: &[u8]) {
    let manifest = run.join("best/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let mut digest = String::new();
    for byte in Sha256::digest(weights) {
        digest += &format!("{byte:02x}");
    }
    let file = &mut json["files"][0];
    assert_eq!(file["name"], "weights.safetensors");
    (file["bytes"], file["sha256"]) = (weights.len().into(), digest.into());
    std::fs::write(manifest, json.to_string()).unwrap();
    std::fs::write(run.join("best/weights.safetensors"), weights).unwrap();
}

#[test]
fn poisoned_run_is_refused_and_the_model_stays() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(|_| {});
    let model = || send(server.addr, "GET", "/v1/model", &[KEY], "").json()["model"].clone();
    let (first, weights) = (
        model(),
        std::fs::read(run().join("best/weights.safetensors")).unwrap(),
    );
    let header_len = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(weights[8..8 + header_len].to_vec()).unwrap();
    let with_header = |header: &str| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(&weights[8 + header_len..]);
        bytes
    };
    let mut huge_header = weights.clone();
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut long_header = weights.clone();
    long_header[..8].copy_from_slice(&(weights.len() as u64 * 2).to_le_bytes());
    let mut not_finite = weights.clone();
    for value in not_finite[8 + header_len..].chunks_exact_mut(4) {
        value.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    let attacks = [
        ("cut", weights[..weights.len() / 2].to_vec()),
        ("empty", vec![]),
        ("huge header", huge_header),
        ("long header", long_header),
        ("no finite weight", not_finite),
        (
            "huge shape",
            with_header(&header.replacen("\"shape\":[", "\"shape\":[4294967295,4294967295,", 1)),
        ),
        (
            "offsets",
            with_header(&header.replacen(
                "\"data_offsets\":[0,",
                "\"data_offsets\":[18446744073709551000,",
                1,
            )),
        ),
        (
            "another type",
            with_header(&header.replacen("F32", "F64", 1)),
        ),
        ("deep header", with_header(&"[".repeat(50_000))),
    ];
    for (name, bytes) in attacks {
        let poisoned = dir.path().join(name);
        copy(run(), &poisoned);
        poison(&poisoned, &bytes);
        let reply = reload(&server, &poisoned);
        assert_eq!(reply.status, 422, "{name}: {reply:?}");
        assert_eq!(reply.json()["type"], "urn:prl:problem:bad-run", "{name}");
        assert_eq!(model(), first, "{name}");
    }
    // Other weights than the manifest's.
    let changed = dir.path().join("changed");
    copy(run(), &changed);
    let mut bytes = weights.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(changed.join("best/weights.safetensors"), bytes).unwrap();
    assert_eq!(reload(&server, &changed).status, 422);
    let answer = send(
        server.addr,
        "POST",
        "/v1/recommend",
        &[JSON, KEY],
        r#"{"items":[]}"#,
    );
    assert_eq!((answer.status, &answer.json()["model"]), (200, &first));
}

#[cfg(unix)]
#[test]
fn reload_is_confined_to_the_runs_root() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("runs"), dir.path().join("outside"));
    std::fs::create_dir(&root).unwrap();
    copy(run(), &root.join("inside"));
    copy(run(), &outside);
    std::os::unix::fs::symlink(&outside, root.join("link-out")).unwrap();
    std::os::unix::fs::symlink("inside", root.join("link-in")).unwrap();
    let server = server(|o| o.web.runs_root = Some(root.clone()));
    for allowed in [root.join("inside"), "inside".into(), "link-in".into()] {
        assert_eq!(
            reload(&server, &allowed).status,
            200,
            "{}",
            allowed.display()
        );
    }
    for refused in [
        outside.clone(),
        "../outside".into(),
        root.join("../outside"),
        root.join("inside/../../outside"),
        "link-out".into(),
        "/".into(),
        "/no/such/directory".into(),
    ] {
        let reply = reload(&server, &refused);
        assert_eq!(reply.status, 403, "{}: {reply:?}", refused.display());
        assert_eq!(reply.json()["type"], "urn:prl:problem:outside-root");
    }
    assert_eq!(reload(&server, Path::new("missing")).status, 422);
    // Without a run the current one's directory is read again.
    let reply = send(server.addr, "POST", "/v1/admin/reload", &[JSON, KEY], "{}");
    assert_eq!(reply.status, 200);
}
