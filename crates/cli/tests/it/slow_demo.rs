//! `prl demo`: from nothing to a page that answers.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::http::send;

/// Everything is made in its directory; the address that is printed answers with titles, and the
/// dial changes the list. The same command continues what is there.
#[test]
fn demo_serves_the_page_that_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prl"));
    command.args(["demo", "--port", "0", "--dir", "demo"]);
    command.current_dir(dir.path());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut output = String::new();
    let url = loop {
        let line = lines
            .next()
            .expect("the page's address is printed")
            .unwrap();
        if line.starts_with("http://") {
            break line;
        }
        output.push_str(&line);
        output.push('\n');
    };
    assert!(output.contains("4000 visits, 1000 items"), "{output}");
    assert!(output.contains("\n   tilt 1 "), "{output}");
    let (addr, query) = url["http://".len()..].split_once("/?").unwrap();
    let items = query
        .split('&')
        .next()
        .unwrap()
        .strip_prefix("items=")
        .unwrap();
    let items: Vec<&str> = items.split(',').collect();
    let addr: std::net::SocketAddr = addr.parse().unwrap();
    assert!(send(addr, "GET", "/", &[], "").body.contains("id=\"tilt\""));
    let mut lists = Vec::new();
    for tilt in [0.0, 1.0] {
        let body = serde_json::json!({ "items": items, "tilt": tilt, "properties": ["title"] });
        let json = [("content-type", "application/json")];
        let reply = send(addr, "POST", "/v1/recommend", &json, &body.to_string());
        assert_eq!(reply.status, 200, "{reply:?}");
        lists.push(reply.json());
    }
    assert_ne!(lists[0]["items"], lists[1]["items"]);
    assert!(lists[0]["items"][0]["properties"]["title"].is_string());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
    let entries = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(entries, 1, "files outside the demo's directory");
}
