//! Changes of properties: stored, shared, refused.

use std::sync::atomic::{AtomicBool, Ordering};

use prl_items::{
    ChangeError, ChangeStore, ChangeStoreError, ItemTable, LiveItems, MemoryChangeStore, RawValue,
    Since, TableBuilder, Where,
};
use serde_json::{Map, Value as Json, json};

fn items() -> LiveItems {
    let mut rows = TableBuilder::new(["brand", "price"]).unwrap();
    for (id, price) in [("a", 1.0), ("b", 2.0), ("x", 9.0)] {
        rows.push(id, [RawValue::Text(id), RawValue::Number(price)])
            .unwrap();
    }
    LiveItems::new(rows.finish(["a", "b", "c"]).unwrap().0, "available")
}

fn index(id: &str) -> Option<u32> {
    ["a", "b", "c"]
        .iter()
        .position(|own| *own == id)
        .map(|at| at as u32)
}

fn set(json: &Json) -> Map<String, Json> {
    json.as_object().unwrap().clone()
}

fn patch(
    live: &LiveItems,
    store: &dyn ChangeStore,
    id: &str,
    json: Json,
) -> Result<(), ChangeError> {
    live.patch(store, &[(id.into(), set(&json))], &index)
        .map(drop)
}

fn allowed(live: &LiveItems, filter: Json) -> Option<Vec<u32>> {
    let mask = live.mask(&Where::from_json(&filter).unwrap()).unwrap();
    mask.map(|mask| mask.to_items())
}

#[test]
fn item_that_is_not_available_leaves_every_mask_until_it_is_again() {
    let (live, store) = (items(), MemoryChangeStore::default());
    assert_eq!(allowed(&live, json!({})), None);
    patch(&live, &store, "b", json!({"available": false})).unwrap();
    assert_eq!(allowed(&live, json!({})), Some(vec![0, 2]));
    assert_eq!(allowed(&live, json!({"price": {"min": 0}})), Some(vec![0]));
    assert_eq!(allowed(&live, json!({"available": false})), Some(vec![1]));
    assert!(!live.is_shown(1) && live.is_shown(0));
    patch(&live, &store, "b", json!({"available": null})).unwrap();
    assert_eq!(allowed(&live, json!({})), None);
    assert!(live.deny(&store, ("a", true), &index).unwrap());
    assert!(!live.deny(&store, ("a", true), &index).unwrap());
    assert_eq!(allowed(&live, json!({})), Some(vec![1, 2]));
    assert_eq!(allowed(&live, json!({"brand": ["a", "b"]})), Some(vec![1]));
    assert!(live.deny(&store, ("a", false), &index).unwrap());
    assert_eq!(allowed(&live, json!({})), None);
}

#[test]
fn servers_that_share_a_store_follow_each_other() {
    let store = MemoryChangeStore::default();
    let [first, second] = [items(), items()];
    patch(&first, &store, "a", json!({"price": 5, "brand": null})).unwrap();
    first.deny(&store, ("b", true), &index).unwrap();
    first.deny(&store, ("unknown", true), &index).unwrap();
    second.sync(&store, &index).unwrap();
    // A change by the second server keeps what the first has changed of the item.
    patch(&second, &store, "a", json!({"available": false})).unwrap();
    patch(&second, &store, "x", json!({"price": 10})).unwrap();
    first.sync(&store, &index).unwrap();
    for live in [&first, &second] {
        let expected = json!({"price": 5, "available": false});
        assert_eq!(Json::from(live.properties(0, None)), expected);
        let price = ["price".to_owned()];
        assert_eq!(
            Json::from(live.properties(3, Some(&price))),
            json!({"price": 10})
        );
        let denied: Vec<String> = live.snapshot().denied().map(str::to_owned).collect();
        assert_eq!(denied, ["b", "unknown"]);
        assert_eq!(allowed(live, json!({})), Some(vec![2]));
    }
    // A new catalogue has an item that was denied before it was known.
    let late = LiveItems::new(ItemTable::empty(1), "available");
    let unknown = |id: &str| (id == "unknown").then_some(0);
    let ignored = late.sync(&store, &unknown).unwrap();
    assert_eq!(allowed(&late, json!({})), Some(vec![]));
    assert!(ignored.is_empty(), "{ignored:?}");
}

#[test]
fn refused_change_changes_nothing() {
    let (live, store) = (items(), MemoryChangeStore::default());
    let refused = [
        (
            "nobody",
            json!({"price": 1}),
            "item \"nobody\" is neither in the catalogue nor in the table of items",
        ),
        (
            "a",
            json!({"colour": "red"}),
            "item \"a\": the items have no column \"colour\"; they have brand, price, available",
        ),
        (
            "a",
            json!({"price": "1"}),
            "item \"a\": price: expected a number or null, found the text \"1\"",
        ),
        (
            "a",
            json!({"brand": ["x"]}),
            "item \"a\": brand: expected a text or null, found a list",
        ),
        (
            "a",
            json!({"available": 1}),
            "item \"a\": available: expected true or false or null, found 1",
        ),
    ];
    for (id, json, expected) in refused {
        let batch = [
            ("b".into(), set(&json!({"price": 7}))),
            (id.into(), set(&json)),
        ];
        let error = live.patch(&store, &batch, &index).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(store.since(0).unwrap(), (0, Vec::new()));
        assert_eq!(live.value(1, "price").unwrap().to_string(), "2");
    }
    // The second change of an item in a batch adds to the first.
    let batch = [
        ("b".into(), set(&json!({"price": 7}))),
        ("b".into(), set(&json!({"brand": "z"}))),
    ];
    live.patch(&store, &batch, &index).unwrap();
    assert_eq!(
        Json::from(live.properties(1, None)),
        json!({"brand": "z", "price": 7})
    );
}

#[test]
fn table_without_columns_takes_those_of_its_changes() {
    let (live, store) = (
        LiveItems::new(ItemTable::empty(3), "available"),
        MemoryChangeStore::default(),
    );
    patch(
        &live,
        &store,
        "a",
        json!({"category": ["x", "y"], "price": 3}),
    )
    .unwrap();
    assert_eq!(allowed(&live, json!({"category": "y"})), Some(vec![0]));
    let wrong = patch(&live, &store, "b", json!({"price": "3"})).unwrap_err();
    assert!(matches!(wrong, ChangeError::Type { .. }), "{wrong}");
    let nested = patch(&live, &store, "b", json!({"size": {"cm": 3}})).unwrap_err();
    assert!(nested.to_string().contains("size"), "{nested}");
    let unknown = Where::from_json(&json!({"size": 3})).unwrap();
    let refused = live.mask(&unknown).unwrap_err().to_string();
    assert_eq!(
        refused,
        "where: the items have no column \"size\"; they have available, category, price"
    );
}

/// A store that fails while it is down.
#[derive(Default)]
struct Flaky {
    inner: MemoryChangeStore,
    is_down: AtomicBool,
}

impl Flaky {
    fn up(&self) -> Result<&MemoryChangeStore, ChangeStoreError> {
        match self.is_down.load(Ordering::Relaxed) {
            true => Err(ChangeStoreError::new("the store is down")),
            false => Ok(&self.inner),
        }
    }
}

impl ChangeStore for Flaky {
    fn put(&self, changes: &[(String, Vec<u8>)]) -> Result<u64, ChangeStoreError> {
        self.up()?.put(changes)
    }

    fn since(&self, version: u64) -> Result<Since, ChangeStoreError> {
        self.up()?.since(version)
    }
}

#[test]
fn store_that_is_down_refuses_changes_and_keeps_answers() {
    let (live, store) = (items(), Flaky::default());
    patch(&live, &store, "a", json!({"available": false})).unwrap();
    store.is_down.store(true, Ordering::Relaxed);
    let refused = patch(&live, &store, "b", json!({"available": false})).unwrap_err();
    assert_eq!(refused.to_string(), "the store is down");
    assert_eq!(allowed(&live, json!({})), Some(vec![1, 2]));
    assert!(live.sync(&store, &index).is_err());
    store.is_down.store(false, Ordering::Relaxed);
    patch(&live, &store, "b", json!({"available": false})).unwrap();
    assert_eq!(allowed(&live, json!({})), Some(vec![2]));
}

#[test]
fn stored_document_that_is_none_is_reported_and_has_no_effect() {
    let (live, store) = (items(), MemoryChangeStore::default());
    let documents = [
        ("a", &b"not json"[..]),
        (
            "b",
            br#"{"set": {"price": "high", "colour": "red", "brand": "n"}}"#,
        ),
    ];
    for (id, document) in documents {
        store.put(&[(id.into(), document.to_vec())]).unwrap();
    }
    let ignored = live.sync(&store, &index).unwrap();
    assert_eq!(ignored.len(), 3, "{ignored:?}");
    assert!(ignored[0].starts_with("item \"a\": not a document of changes"));
    assert_eq!(ignored[1], "item \"b\": colour: no such column");
    assert_eq!(
        ignored[2],
        "item \"b\": price: expected a number, found the text \"high\""
    );
    assert_eq!(
        Json::from(live.properties(1, None)),
        json!({"brand": "n", "price": 2})
    );
}
