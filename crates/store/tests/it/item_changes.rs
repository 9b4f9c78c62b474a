//! Stores of changes of items: what every one keeps to, and what is on disk.

use prl_items::{ChangeStore, MemoryChangeStore};
use prl_store::{DiskChangeStore, RedisChangeStore};

use crate::redis_server::RedisServer;

fn put(store: &dyn ChangeStore, changes: &[(&str, &str)]) -> u64 {
    let mut owned = Vec::new();
    for (item, document) in changes {
        owned.push(((*item).to_owned(), document.as_bytes().to_vec()));
    }
    store.put(&owned).unwrap()
}

fn since(store: &dyn ChangeStore, version: u64) -> (u64, Vec<(String, String)>) {
    let (latest, changes) = store.since(version).unwrap();
    let mut read = Vec::new();
    for (item, document) in changes {
        read.push((item, String::from_utf8(document).unwrap()));
    }
    (latest, read)
}

fn listed(changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |&(item, document): &(&str, &str)| (item.to_owned(), document.to_owned());
    changes.iter().map(owned).collect()
}

fn keeps_contract(store: &dyn ChangeStore) {
    assert_eq!(since(store, 0), (0, vec![]));
    assert_eq!(put(store, &[("a", "1"), ("b", "1"), ("ç/d", "1")]), 1);
    assert_eq!(put(store, &[("a", "2")]), 2);
    let all = listed(&[("b", "1"), ("ç/d", "1"), ("a", "2")]);
    assert_eq!(since(store, 0), (2, all));
    assert_eq!(since(store, 1), (2, listed(&[("a", "2")])));
    assert_eq!(since(store, 2), (2, vec![]));
}

#[test]
fn every_store_lists_the_latest_documents_since_a_version() {
    keeps_contract(&MemoryChangeStore::default());
    let dir = tempfile::tempdir().unwrap();
    keeps_contract(&DiskChangeStore::open(dir.path()).unwrap());
    if let Some(server) = RedisServer::start() {
        keeps_contract(&RedisChangeStore::new(&server.url()).unwrap());
    }
}

#[test]
fn reopened_store_goes_on_from_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskChangeStore::open(dir.path()).unwrap();
    put(&store, &[("a", "1")]);
    // The file as a killed process leaves it.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(
        dir.path().join("items.redb"),
        copy.path().join("items.redb"),
    )
    .unwrap();
    let survivor = DiskChangeStore::open(copy.path()).unwrap();
    assert_eq!(since(&survivor, 0), (1, listed(&[("a", "1")])));
    assert_eq!(put(&survivor, &[("b", "1")]), 2);
    let busy = DiskChangeStore::open(dir.path()).err().unwrap().to_string();
    assert!(busy.contains("in use by"), "{busy}");
}

#[test]
fn redis_that_lost_its_data_lists_everything_again() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let port = server.port;
    let store = RedisChangeStore::new(&server.url()).unwrap();
    put(&store, &[("a", "1")]);
    put(&store, &[("a", "2")]);
    drop(server);
    let down = store.since(0).unwrap_err().to_string();
    assert!(down.starts_with("changes of items not read: "), "{down}");
    let _server = RedisServer::start_at(port);
    assert_eq!(put(&store, &[("b", "1")]), 1);
    assert_eq!(since(&store, 2), (1, listed(&[("b", "1")])));
}
