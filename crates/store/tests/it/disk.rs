//! What is on disk after a store ends, and after a crash.

use std::time::Duration;

use prl_store::{DiskStore, Error, SessionLimits, SessionStore};
use redb::{Database, TableDefinition};

use crate::contract::events;

#[tokio::test]
async fn reopened_store_holds_the_same_sessions() {
    let (dir, limits) = (tempfile::tempdir().unwrap(), SessionLimits::default());
    let store = DiskStore::open(dir.path(), limits).unwrap();
    for name in ["a", "b", "c"] {
        store.add(name, events(&["x", name])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    store.add("a", events(&["y"])).await.unwrap();
    store.delete("b").await.unwrap();
    drop(store);
    let limits = SessionLimits {
        sessions: 2,
        ..limits
    };
    let store = DiskStore::open(dir.path(), limits).unwrap();
    assert_eq!(store.names().await.unwrap(), ["c", "a"]);
    let expected = [events(&["x", "a"]), events(&["y"])].concat();
    assert_eq!(store.events("a").await.unwrap(), Some(expected));
    tokio::time::sleep(Duration::from_millis(2)).await;
    store.add("d", events(&["z"])).await.unwrap();
    drop(store);
    // The evicted session is not on disk any more.
    let store = DiskStore::open(dir.path(), SessionLimits::default()).unwrap();
    assert_eq!(store.names().await.unwrap(), ["a", "d"]);
}

/// The file as it is on disk while the store is open: what a killed process leaves.
#[tokio::test]
async fn killed_store_holds_every_acknowledged_event() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = DiskStore::open(dir.path(), SessionLimits::default()).unwrap();
    for n in 1..=20 {
        let name = format!("s{}", n % 3);
        store.add(&name, events(&["x"])).await.unwrap();
        let copied = copy.path().join(n.to_string());
        std::fs::create_dir(&copied).unwrap();
        let file = "sessions.redb";
        std::fs::copy(dir.path().join(file), copied.join(file)).unwrap();
        let survivor = DiskStore::open(&copied, SessionLimits::default()).unwrap();
        let mut total = 0;
        for name in survivor.names().await.unwrap() {
            total += survivor.events(&name).await.unwrap().unwrap().len();
        }
        assert_eq!(total, n);
    }
}

#[tokio::test]
async fn expired_session_is_gone_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let limits = SessionLimits {
        ttl: Duration::from_millis(100),
        ..SessionLimits::default()
    };
    let store = DiskStore::open(dir.path(), limits).unwrap();
    store.add("u", events(&["x"])).await.unwrap();
    drop(store);
    tokio::time::sleep(Duration::from_millis(120)).await;
    let store = DiskStore::open(dir.path(), limits).unwrap();
    assert_eq!(store.count().await.unwrap(), 0);
    assert_eq!(store.add("u", events(&["y"])).await.unwrap(), 1);
    drop(store);
    let store = DiskStore::open(dir.path(), SessionLimits::default()).unwrap();
    assert_eq!(store.events("u").await.unwrap(), Some(events(&["y"])));
}

#[test]
fn directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _store = DiskStore::open(dir.path(), SessionLimits::default()).unwrap();
    let refused = DiskStore::open(dir.path(), SessionLimits::default());
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("in use by"), "{message}");
}

#[test]
fn other_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.redb");
    let database = Database::create(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", 7)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = DiskStore::open(dir.path(), SessionLimits::default())
        .err()
        .unwrap();
    assert!(matches!(&refused, Error::Format { found, supported: 1, .. } if found == "7"));
    assert!(
        refused.to_string().contains("sessions.redb has format 7"),
        "{refused}"
    );
}

#[tokio::test]
async fn damaged_file_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.redb");
    let store = DiskStore::open(dir.path(), SessionLimits::default()).unwrap();
    store.add("u", events(&["x"])).await.unwrap();
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    for content in [&b"not a database"[..], &whole[..100], &whole[..5_000]] {
        std::fs::write(&file, content).unwrap();
        let opened = DiskStore::open(dir.path(), SessionLimits::default());
        let refused = opened.err().unwrap();
        assert!(matches!(&refused, Error::Damaged { .. }), "{refused}");
        let message = refused.to_string();
        assert!(message.contains("sessions.redb is damaged"), "{message}");
    }
}
