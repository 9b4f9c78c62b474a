//! Back-ups: written, restored into another store, and freed of a session.

use std::collections::BTreeSet;
use std::time::Duration;

use prl_store::{
    Error, MemoryStore, SavedSession, SessionLimits, SessionStore, erase_in_backup, restore_backup,
    write_backup,
};

use crate::contract::events;

/// A store of three sessions, the last of them used 10 s ago.
async fn store() -> MemoryStore {
    let store = MemoryStore::new(SessionLimits::default());
    for (name, idle) in [("a", 30), ("b \"quoted\"\n", 20), ("ç", 10)] {
        let saved = SavedSession {
            session: name.into(),
            idle: Duration::from_secs(idle),
            events: events(&["x", name]),
        };
        store.restore(saved).await.unwrap();
    }
    store
}

#[tokio::test]
async fn backup_restores_sessions_in_order_with_their_age() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.jsonl");
    let original = store().await;
    assert_eq!(write_backup(&original, &file).await.unwrap(), 3);
    let copy = MemoryStore::new(SessionLimits::default());
    copy.add("a", events(&["newer"])).await.unwrap();
    assert_eq!(restore_backup(&copy, &file).await.unwrap(), 3);
    let names = copy.names().await.unwrap();
    assert_eq!(names, original.names().await.unwrap());
    for (name, idle) in names.iter().zip([30.0, 20.0, 10.0]) {
        let saved = copy.saved(name).await.unwrap().unwrap();
        assert_eq!(saved.events, events(&["x", name]));
        let age = saved.idle.as_secs_f64();
        assert!((idle..idle + 1.0).contains(&age), "{name}: {age}");
    }
}

#[tokio::test]
async fn erased_session_is_in_no_byte_of_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.jsonl");
    write_backup(&store().await, &file).await.unwrap();
    let erased = BTreeSet::from(["ç".to_owned(), "absent".to_owned()]);
    assert_eq!(erase_in_backup(&file, &erased).unwrap(), 1);
    assert!(!std::fs::read_to_string(&file).unwrap().contains('ç'));
    let copy = MemoryStore::new(SessionLimits::default());
    assert_eq!(restore_backup(&copy, &file).await.unwrap(), 2);
    assert_eq!(erase_in_backup(&file, &erased).unwrap(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn file_that_is_no_backup_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.jsonl");
    write_backup(&store().await, &file).await.unwrap();
    let whole = std::fs::read_to_string(&file).unwrap();
    let copy = MemoryStore::new(SessionLimits::default());
    for (text, expected) in [
        (String::new(), "sessions.jsonl:1 is damaged: it is empty"),
        (
            "{}\n".into(),
            "sessions.jsonl:1 is damaged: it is no back-up",
        ),
        (
            whole.replace("_sessions\":1", "_sessions\":2"),
            "has format 2",
        ),
        (
            whole.replace("\"idle\"", "\"age\""),
            "sessions.jsonl:2 is damaged: unknown field",
        ),
        (
            whole[..whole.len() - 3].into(),
            "sessions.jsonl:4 is damaged: the line is cut off",
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        let refused = restore_backup(&copy, &file).await.unwrap_err();
        assert!(matches!(
            &refused,
            Error::Damaged { .. } | Error::Format { .. }
        ));
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}
