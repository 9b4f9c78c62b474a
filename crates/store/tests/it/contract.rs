//! What every store keeps to, in memory, on disk and in Redis.

use std::sync::Arc;
use std::time::Duration;

use prl_dataset::Kind;
use prl_store::{
    DiskStore, Error, Event, MemoryStore, RedisStore, SavedSession, SessionLimits, SessionStore,
};

use crate::redis_server::RedisServer;

/// Clicks on items, and a purchase of the last one.
pub fn events(items: &[&str]) -> Vec<Event> {
    let mut events = Vec::new();
    for &item in items {
        events.push(Event::click(item.into()));
    }
    if let Some(last) = events.last_mut() {
        last.kind = Kind::Purchase;
    }
    events
}

/// Runs a test on an empty store of each kind.
async fn each<F: Future<Output = ()>>(
    limits: SessionLimits,
    test: impl Fn(Arc<dyn SessionStore>) -> F,
) {
    test(Arc::new(MemoryStore::new(limits))).await;
    let dir = tempfile::tempdir().unwrap();
    test(Arc::new(DiskStore::open(dir.path(), limits).unwrap())).await;
    if let Some(server) = RedisServer::start() {
        test(Arc::new(RedisStore::new(&server.url(), limits).unwrap())).await;
    }
}

#[tokio::test]
async fn session_holds_added_events_in_order_until_deleted() {
    each(SessionLimits::default(), async |store| {
        assert_eq!(store.events("u").await.unwrap(), None);
        assert_eq!(store.add("u", vec![]).await.unwrap(), 0);
        assert_eq!(store.count().await.unwrap(), 0);
        assert_eq!(store.add("u", events(&["a", "naïve/id"])).await.unwrap(), 2);
        assert_eq!(store.add("other", events(&["z"])).await.unwrap(), 1);
        assert_eq!(store.add("u", events(&["a"])).await.unwrap(), 3);
        let expected = [events(&["a", "naïve/id"]), events(&["a"])].concat();
        assert_eq!(store.events("u").await.unwrap(), Some(expected));
        assert_eq!(store.count().await.unwrap(), 2);
        assert!(store.delete("u").await.unwrap());
        assert!(!store.delete("u").await.unwrap());
        assert_eq!(store.events("u").await.unwrap(), None);
        assert_eq!(store.add("u", events(&["b"])).await.unwrap(), 1);
        assert_eq!(store.events("u").await.unwrap(), Some(events(&["b"])));
    })
    .await;
}

#[tokio::test]
async fn too_long_session_is_refused_whole() {
    let limits = SessionLimits {
        events: 3,
        ..SessionLimits::default()
    };
    each(limits, async |store| {
        store.add("u", events(&["a", "b"])).await.unwrap();
        let refused = store.add("u", events(&["c", "d"])).await.unwrap_err();
        assert!(matches!(
            refused,
            Error::SessionTooLong { events: 4, max: 3 }
        ));
        assert_eq!(store.add("u", events(&["e"])).await.unwrap(), 3);
        let expected = [events(&["a", "b"]), events(&["e"])].concat();
        assert_eq!(store.events("u").await.unwrap(), Some(expected));
    })
    .await;
}

#[tokio::test]
async fn full_store_evicts_the_least_recently_used_session() {
    let limits = SessionLimits {
        sessions: 2,
        ..SessionLimits::default()
    };
    each(limits, async |store| {
        for (name, wait) in [("a", 3), ("b", 3)] {
            store.add(name, events(&["x"])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        store.events("a").await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
        store.add("c", events(&["x"])).await.unwrap();
        assert_eq!(store.names().await.unwrap(), ["a", "c"]);
        assert_eq!(store.events("b").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn unused_session_expires() {
    let limits = SessionLimits {
        ttl: Duration::from_millis(400),
        ..SessionLimits::default()
    };
    each(limits, async |store| {
        store.add("read", events(&["x"])).await.unwrap();
        store.add("peeked", events(&["x"])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(store.events("read").await.unwrap().is_some());
        let saved = store.saved("peeked").await.unwrap().unwrap();
        assert!(saved.idle >= Duration::from_millis(250), "{saved:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(store.names().await.unwrap(), ["read"]);
        assert_eq!(store.count().await.unwrap(), 1);
        assert_eq!(store.events("peeked").await.unwrap(), None);
        assert_eq!(store.add("peeked", events(&["y"])).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn restored_session_replaces_and_keeps_its_age() {
    let limits = SessionLimits {
        ttl: Duration::from_secs(100),
        ..SessionLimits::default()
    };
    each(limits, async |store| {
        store.add("u", events(&["old"])).await.unwrap();
        let saved = SavedSession {
            session: "u".into(),
            idle: Duration::from_secs(60),
            events: events(&["a", "b"]),
        };
        store.restore(saved.clone()).await.unwrap();
        let back = store.saved("u").await.unwrap().unwrap();
        assert_eq!(back.events, saved.events);
        let age = back.idle.as_secs_f64();
        assert!((60.0..61.0).contains(&age), "{age}");
        let expired = SavedSession {
            session: "gone".into(),
            idle: Duration::from_secs(100),
            ..saved
        };
        store.restore(expired).await.unwrap();
        assert_eq!(store.names().await.unwrap(), ["u"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_adds_lose_and_reorder_nothing() {
    each(SessionLimits::default(), async |store| {
        let mut tasks = Vec::new();
        for task in 0..8 {
            let store = Arc::clone(&store);
            tasks.push(tokio::spawn(async move {
                for n in 0..25 {
                    let item = format!("{task}-{n}");
                    store.add("shared", events(&[&item])).await.unwrap();
                    store.add(&item, events(&[&item])).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(store.count().await.unwrap(), 201);
        let all = store.events("shared").await.unwrap().unwrap();
        assert_eq!(all.len(), 200);
        for task in 0..8 {
            let prefix = format!("{task}-");
            let own = all.iter().filter(|event| event.item.starts_with(&prefix));
            let own: Vec<_> = own.map(|event| event.item.to_string()).collect();
            let expected: Vec<_> = (0..25).map(|n| format!("{task}-{n}")).collect();
            assert_eq!(own, expected);
        }
    })
    .await;
}
