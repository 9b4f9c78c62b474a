//! The server on the web as it is: browsers of other origins, path prefixes, encodings, request
//! ids, several addresses.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prl_serve::{ApiKey, CorsOrigin, ListenAddr, Options, PathPrefix, Server};
use serde_json::json;

use crate::common::http::{Connection, Reply, send};
use crate::common::{JSON, TestServer, run};

const QUESTION: &str = r#"{"items":["item-1","item-2"],"k":5}"#;
const SHOP: &str = "https://shop.example";

fn origins(texts: &[&str]) -> Vec<CorsOrigin> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn preflight(server: &TestServer, origin: &str) -> Reply {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    send(server.addr, "OPTIONS", "/v1/recommend", &headers, "")
}

#[test]
fn preflight_needs_no_key_and_names_allowed_origin() {
    let server = TestServer::start(|o| {
        o.key = ApiKey::new("secret");
        o.web.cors = origins(&[SHOP, "http://localhost:3000"]);
    });
    let reply = preflight(&server, SHOP);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some(SHOP));
    let allowed = reply.header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "content-type",
        "traceparent",
        "x-request-id",
    ] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert!(
        reply
            .header("access-control-allow-methods")
            .unwrap()
            .contains("POST")
    );
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    assert_eq!(reply.header("access-control-max-age"), Some("600"));
    assert!(reply.header("vary").unwrap().contains("origin"));
    let second = preflight(&server, "http://localhost:3000");
    assert_eq!(
        second.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    for refused in ["https://shop.example.evil", "http://shop.example", "null"] {
        let reply = preflight(&server, refused);
        assert_eq!(
            reply.header("access-control-allow-origin"),
            None,
            "{refused}"
        );
    }
}

#[test]
fn every_response_names_allowed_origin_problems_too() {
    let server = TestServer::start(|o| {
        o.key = ApiKey::new("secret");
        o.web.cors = origins(&[SHOP]);
    });
    let key = ("authorization", "Bearer secret");
    let origin = ("origin", SHOP);
    let ask = |path: &str, headers: &[(&str, &str)], body: &str| {
        send(server.addr, "POST", path, headers, body)
    };
    let replies = [
        (200, ask("/v1/recommend", &[JSON, key, origin], QUESTION)),
        (401, ask("/v1/recommend", &[JSON, origin], QUESTION)),
        (404, ask("/nothing", &[origin], "")),
        (405, ask("/v1/model", &[origin], "")),
        (415, ask("/v1/recommend", &[key, origin], QUESTION)),
        (422, ask("/v1/recommend", &[JSON, key, origin], "{}")),
        (200, send(server.addr, "GET", "/health/live", &[origin], "")),
    ];
    for (status, reply) in replies {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some(SHOP),
            "{reply:?}"
        );
        let exposed = reply.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn all_origins_are_allowed_without_credentials_and_none_by_default() {
    let server = TestServer::start(|o| o.web.cors = origins(&["*"]));
    let reply = preflight(&server, "https://anything.example");
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    let closed = TestServer::start(|_| {});
    let reply = preflight(&closed, SHOP);
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (405, None)
    );
}

#[test]
fn path_prefix_works_whether_the_proxy_removes_it_or_not() {
    let prefix: PathPrefix = "/shop/prl".parse().unwrap();
    let server = TestServer::start(|o| o.web.path_prefix = Some(prefix));
    let get = |path: &str| send(server.addr, "GET", path, &[], "");
    for base in ["", "/shop/prl"] {
        assert_eq!(get(&format!("{base}/health/ready")).status, 200);
        let items = get(&format!("{base}/v1/items?prefix=item-1&limit=1"));
        assert_eq!(items.json(), json!({"items": ["item-1"]}));
        let path = format!("{base}/v1/recommend");
        assert_eq!(
            send(server.addr, "POST", &path, &[JSON], QUESTION).status,
            200
        );
        let document = get(&format!("{base}/openapi.json")).json();
        assert_eq!(document["servers"], json!([{"url": "/shop/prl"}]));
        // The page calls paths relative to its own.
        let page = get(&format!("{base}/")).body;
        assert!(page.contains(r#"fetch("." + path"#), "{page}");
        assert!(!page.contains("src=\"/") && !page.contains("href=\"/"));
    }
    let redirect = get("/shop/prl?mu=2");
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (308, Some("/shop/prl/?mu=2"))
    );
    assert_eq!(get("/shop/prlx/v1/model").status, 404);
    assert_eq!(get("/shop/prl/../v1/model").status, 404);
    assert_eq!(get("/shop/prl//v1/model").status, 404);
    let metrics = get("/metrics").body;
    assert!(
        metrics.contains(r#"route="/v1/items""#),
        "routes have no prefix: {metrics}"
    );
    let plain = TestServer::start(|_| {});
    let document = plain.get("/openapi.json").json();
    assert_eq!(document["servers"], json!([{"url": "/"}]));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_body_is_answered_as_the_plain_one_and_bombs_are_refused() {
    let server = TestServer::start(|_| {});
    let post = |encoding: &str, body: &[u8]| {
        let headers = [JSON, ("content-encoding", encoding)];
        send(server.addr, "POST", "/v1/recommend", &headers, body)
    };
    let plain = send(server.addr, "POST", "/v1/recommend", &[JSON], QUESTION);
    assert_eq!(
        post("gzip", &gzip(QUESTION.as_bytes())).json(),
        plain.json()
    );
    assert_eq!(post("GZIP", &gzip(QUESTION.as_bytes())).status, 200);
    assert_eq!(post("identity", QUESTION.as_bytes()).json(), plain.json());
    let bomb = gzip(&vec![b' '; 16 << 20]);
    assert!(bomb.len() < 1 << 15);
    let reply = post("gzip", &bomb);
    assert_eq!(reply.status, 413);
    assert!(
        reply.body.contains("decompressed body exceeds"),
        "{}",
        reply.body
    );
    assert_eq!(post("gzip", QUESTION.as_bytes()).status, 400);
    for unsupported in ["br", "deflate", "zstd", "gzip, gzip"] {
        let reply = post(unsupported, QUESTION.as_bytes());
        assert_eq!(reply.status, 415, "{unsupported}");
        assert_eq!(reply.header("accept-encoding"), Some("gzip"));
        assert_eq!(reply.json()["type"], "urn:prl:problem:encoding");
    }
}

#[test]
fn response_is_compressed_only_if_asked_and_large() {
    let server = TestServer::start(|_| {});
    let question = r#"{"items":["item-1"],"k":60}"#;
    let post = |accept: &str, body: &str| {
        let headers = [JSON, ("accept-encoding", accept)];
        send(server.addr, "POST", "/v1/recommend", &headers, body)
    };
    let plain = send(server.addr, "POST", "/v1/recommend", &[JSON], question);
    assert_eq!(plain.header("content-encoding"), None);
    let small = post("gzip", r#"{"items":["item-1"],"k":1}"#);
    assert_eq!(small.header("content-encoding"), None);
    let compressed = post("br;q=1.0, gzip;q=0.8", question);
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert!(compressed.bytes.len() < plain.bytes.len() / 2);
    let mut text = String::new();
    GzDecoder::new(&*compressed.bytes)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, plain.body);
    for refused in ["gzip;q=0", "br", "identity"] {
        assert_eq!(post(refused, question).header("content-encoding"), None);
    }
}

#[test]
fn request_id_is_in_header_and_problem() {
    let server = TestServer::start(|_| {});
    let get = |path: &str, id: &str| send(server.addr, "GET", path, &[("x-request-id", id)], "");
    let reply = get("/health/live", "shop-7f.3:1");
    assert_eq!(reply.header("x-request-id"), Some("shop-7f.3:1"));
    let problem = get("/v1/items?limit=0", "shop-8");
    assert_eq!(problem.header("x-request-id"), Some("shop-8"));
    assert_eq!(problem.json()["request_id"], "shop-8");
    let unsafe_id = get("/nothing", "a\"b");
    let made = unsafe_id.header("x-request-id").unwrap();
    assert_eq!(made.len(), 32);
    assert_eq!(unsafe_id.json()["request_id"], made);
    let made: Vec<_> = (0..2)
        .map(|_| {
            server
                .get("/health/live")
                .header("x-request-id")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_ne!(made[0], made[1]);
}

#[test]
fn several_addresses_are_listened_on() {
    let addr = |text: &str| text.parse::<ListenAddr>().unwrap();
    let server = TestServer::start(|o| {
        o.web.listen = vec![addr("127.0.0.1:0"), addr("localhost:0")];
    });
    assert!(server.urls.len() >= 2, "{:?}", server.urls);
    for url in &server.urls {
        let at = url.strip_prefix("http://").unwrap().parse().unwrap();
        assert_eq!(
            send(at, "POST", "/v1/recommend", &[JSON], QUESTION).status,
            200
        );
    }
    let mut options = Options::new(run());
    options.web.listen = vec![addr("no-such-host.invalid:8080")];
    let error = Server::start(options).err().unwrap().to_string();
    assert!(
        error.contains("failed to listen on no-such-host.invalid:8080"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn unix_socket_is_served_replaced_if_stale_and_removed() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prl.sock");
    // The socket of a process that is gone.
    drop(UnixListener::bind(&path).unwrap());
    let options = |path: &std::path::Path| {
        let mut options = Options::new(run());
        options.web.listen = vec![
            ListenAddr::Unix(path.to_owned()),
            "127.0.0.1:0".parse().unwrap(),
        ];
        options
    };
    let server = TestServer::start(|o| *o = options(&path));
    assert_eq!(server.urls[0], format!("unix:{}", path.display()));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut connection = Connection::over(UnixStream::connect(&path).unwrap());
    for _ in 0..2 {
        let reply = connection.send("POST", "/v1/recommend", &[JSON], QUESTION);
        assert_eq!(reply.unwrap().status, 200);
    }
    let taken = Server::start(options(&path)).err().unwrap().to_string();
    assert!(taken.contains("another server listens"), "{taken}");
    drop(connection);
    server.stop().unwrap();
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let file = dir.path().join("file");
    std::fs::write(&file, "data").unwrap();
    let refused = Server::start(options(&file)).err().unwrap().to_string();
    assert!(refused.contains("exists and is no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "data");
}
