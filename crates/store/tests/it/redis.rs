//! A Redis that is down, comes back, or answers nonsense.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use prl_store::{Error, RedisStore, SessionLimits, SessionStore};

use crate::contract::events;
use crate::redis_server::RedisServer;

#[test]
fn invalid_address_is_refused_without_its_password() {
    for url in ["redis://:geheim@", "http://x", "redis://:geheim@h:port"] {
        let refused = RedisStore::new(url, SessionLimits::default())
            .err()
            .unwrap();
        assert!(
            matches!(&refused, Error::Address { .. }),
            "{url}: {refused}"
        );
        assert!(!refused.to_string().contains("geheim"), "{refused}");
    }
}

#[tokio::test]
async fn store_that_is_down_is_unavailable_and_works_when_it_is_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(&server.url(), SessionLimits::default()).unwrap();
    store.add("u", events(&["a"])).await.unwrap();
    let port = server.port;
    drop(server);
    for _ in 0..3 {
        let refused = store.add("u", events(&["b"])).await.unwrap_err();
        assert!(matches!(&refused, Error::Unavailable { .. }), "{refused}");
        let place = format!("redis://127.0.0.1:{port}");
        assert!(refused.to_string().contains(&place), "{refused}");
    }
    let _server = RedisServer::start_at(port);
    let start = Instant::now();
    while store.add("u", events(&["c"])).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn two_stores_share_sessions() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let one = RedisStore::new(&server.url(), SessionLimits::default()).unwrap();
    let other = RedisStore::new(&server.url(), SessionLimits::default()).unwrap();
    assert_eq!(one.add("u", events(&["a"])).await.unwrap(), 1);
    assert_eq!(other.add("u", events(&["b"])).await.unwrap(), 2);
    drop(one);
    let expected = [events(&["a"]), events(&["b"])].concat();
    assert_eq!(other.events("u").await.unwrap(), Some(expected));
}

#[tokio::test]
async fn other_format_and_foreign_values_are_refused() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let client = redis::Client::open(server.url()).unwrap();
    let mut link = client.get_multiplexed_async_connection().await.unwrap();
    let set = |key: &str, value: &str| redis::cmd("SET").arg(key).arg(value).to_owned();
    let push = |key: &str, value: &str| redis::cmd("RPUSH").arg(key).arg(value).to_owned();
    push("{prl}:session:u", "x17")
        .exec_async(&mut link)
        .await
        .unwrap();
    set("{prl}:session:v", "text")
        .exec_async(&mut link)
        .await
        .unwrap();
    let store = RedisStore::new(&server.url(), SessionLimits::default()).unwrap();
    let refused = store.events("u").await.unwrap_err();
    assert!(matches!(&refused, Error::Damaged { .. }), "{refused}");
    let refused = store.events("v").await.unwrap_err().to_string();
    assert!(
        refused.contains("WRONGTYPE") || refused.contains("wrong kind"),
        "{refused}"
    );
    set("{prl}:format", "9")
        .exec_async(&mut link)
        .await
        .unwrap();
    let store = RedisStore::new(&server.url(), SessionLimits::default()).unwrap();
    let refused = store.check().await.unwrap_err().to_string();
    assert!(
        refused.contains("has format 9, this program reads format 1"),
        "{refused}"
    );
}

/// Bytes that are no Redis protocol, answers of wrong types, silence, and a connection that is
/// closed at once.
#[tokio::test]
async fn hostile_server_gets_an_error_within_the_time_limit() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "$-9\r\n",
        "*1000000000\r\n",
        "+OK\r\n",
        ":7\r\n",
        "$2\r\n\u{1}\u{2}\r\n",
        "*2\r\n*2\r\n*2\r\n*2\r\n",
        "",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                        if stream.write_all(answer.repeat(4).as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let url = format!("redis://127.0.0.1:{port}");
        let store = RedisStore::new(&url, SessionLimits::default()).unwrap();
        let start = Instant::now();
        let refused = store.events("u").await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Unavailable { .. } | Error::Damaged { .. } | Error::Format { .. }
            ),
            "{answer:?}: {refused}"
        );
        assert!(start.elapsed() < Duration::from_secs(5), "{answer:?}");
    }
}
