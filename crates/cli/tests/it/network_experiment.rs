//! A server with an experiment that is killed under load: nothing that it acknowledged is lost.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use prl_arms::{Experiment, Log, Record, SessionOptions};
use serde_json::json;

use crate::http::Connection;
use crate::network_replicas::{free_port, run, serve_with};

const TEXT: &str = "name = 'dial'\n[[arm]]\nname = 'low'\nask = { mu = 0.5 }\n[[arm]]\n\
                    name = 'high'\nask = { mu = 4.0 }\n";
const CLIENTS: usize = 4;
const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends answers and events until the server is gone. Returns the sessions whose answer and the
/// items whose event were acknowledged.
fn client(addr: SocketAddr, name: usize) -> (Vec<String>, Vec<String>) {
    let (mut sessions, mut items) = (Vec::new(), Vec::new());
    let Ok(mut connection) = Connection::open(addr) else {
        return (sessions, items);
    };
    for i in 0.. {
        let session = format!("{name}-{i}");
        let item = format!("item-{session}");
        let question = json!({"session": session, "items": [], "k": 3}).to_string();
        let event = json!({"events": [{"item": item}]}).to_string();
        let path = format!("/v1/sessions/{session}/events");
        for (path, body, item) in [
            ("/v1/recommend", question, None),
            (&path, event, Some(item)),
        ] {
            let Ok(reply) = connection.send("POST", path, &[JSON], &body) else {
                return (sessions, items);
            };
            assert_eq!(reply.status, 200, "{reply:?}");
            match item {
                None => sessions.push(session.clone()),
                Some(item) => items.push(item),
            }
        }
    }
    (sessions, items)
}

#[test]
fn server_killed_under_load_has_logged_all_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    std::fs::write(dir.path().join("e.toml"), TEXT).unwrap();
    let (mut sessions, mut items) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..3 {
        let port = free_port();
        let flags = "--experiment e.toml --experiment-log log";
        let server = serve_with(dir.path(), port, flags);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let acknowledged: Vec<_> = std::thread::scope(|s| {
            let mut clients = Vec::new();
            for name in 0..CLIENTS {
                clients.push(s.spawn(move || client(addr, round * CLIENTS + name)));
            }
            std::thread::sleep(Duration::from_millis(400));
            drop(server); // by SIGKILL
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        });
        for (answered, logged) in acknowledged {
            sessions.extend(answered);
            items.extend(logged);
        }
    }
    assert!(items.len() > 100, "{} events", items.len());
    let log = Log::open(&dir.path().join("log")).unwrap();
    assert_eq!(log.files(), 3);
    let mut found = BTreeSet::new();
    for read in log.records() {
        if let (_, Record::Event(event)) = read.unwrap() {
            assert!(found.insert(event.item), "an event twice");
        }
    }
    assert!(
        items.is_subset(&found),
        "{:?} are lost",
        items.difference(&found)
    );
    let experiment = Experiment::from_toml("e.toml", TEXT).unwrap();
    let read = log.sessions(&SessionOptions::default()).unwrap();
    let mut answered = BTreeSet::new();
    for record in read.records {
        let assigned = experiment.assign(&record.session);
        let arm = &read.arms[record.arm as usize];
        assert_eq!((arm, record.p), (&assigned.arm.name, 0.5));
        answered.insert(record.session);
    }
    assert!(
        sessions.is_subset(&answered),
        "{:?} are lost",
        sessions.difference(&answered)
    );
}
