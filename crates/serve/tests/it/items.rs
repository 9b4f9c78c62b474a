//! Properties of items: filters, live changes, the deny list, and properties in answers.

use std::sync::Arc;

use crate::common::http::send;
use crate::common::{JSON, TestServer, run, run_with_items};
use prl_items::{ChangeStore, ItemTable, MemoryChangeStore, RawValue, TableBuilder};
use prl_runs::Run;
use serde_json::{Value, json};

/// Number of the items `item-0`..
const ITEMS: usize = 60;

/// Category `even` or `odd`, and the number as the price.
fn table() -> ItemTable {
    let run = Run::open(run()).unwrap();
    let mut ids = Vec::new();
    for index in 0..run.items().len() as u32 {
        ids.push(run.items().raw(index).unwrap());
    }
    assert_eq!(ids.len(), ITEMS);
    let mut rows = TableBuilder::new(["category", "price", "title"]).unwrap();
    for id in &ids {
        let number: u32 = id.strip_prefix("item-").unwrap().parse().unwrap();
        let category = if number % 2 == 0 { "even" } else { "odd" };
        let title = format!("<b>Item {number}</b>");
        let values = [
            RawValue::Text(category),
            RawValue::Number(f64::from(number)),
            RawValue::Text(&title),
        ];
        rows.push(id, values).unwrap();
    }
    rows.push("outside", [RawValue::Text("even")]).unwrap();
    rows.finish(ids).unwrap().0
}

fn with_items(change: impl FnOnce(&mut prl_serve::Options)) -> (tempfile::TempDir, TestServer) {
    let dir = tempfile::tempdir().unwrap();
    let run = run_with_items(dir.path(), &table());
    let server = TestServer::start(|options| {
        options.run = run;
        change(options);
    });
    (dir, server)
}

/// The recommended ids of a request for `item-4`.
fn ids(server: &TestServer, fields: &Value) -> Vec<String> {
    let mut body = json!({"items": ["item-4"], "k": 1000});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = server.post("/v1/recommend", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    ids_of(&reply.json())
}

fn ids_of(answer: &Value) -> Vec<String> {
    let mut ids = Vec::new();
    for item in answer["items"].as_array().unwrap() {
        ids.push(item["item"].as_str().unwrap().to_owned());
    }
    ids
}

fn number(id: &str) -> u32 {
    id.strip_prefix("item-").unwrap().parse().unwrap()
}

fn only(all: &[String], keep: impl Fn(u32) -> bool) -> Vec<String> {
    let mut kept = all.to_vec();
    kept.retain(|id| keep(number(id)));
    kept
}

#[test]
fn where_keeps_the_order_of_the_unfiltered_list() {
    let (_dir, server) = with_items(|_| {});
    let all = ids(&server, &json!({}));
    assert_eq!(all.len(), ITEMS);
    let odd = |n: u32| n % 2 == 1;
    let cases: [(Value, &dyn Fn(u32) -> bool); 6] = [
        (json!({"category": "odd"}), &odd),
        (json!({"category": ["odd", "even"]}), &|_| true),
        (json!({"price": {"min": 3, "max": 7}}), &|n| {
            (3..=7).contains(&n)
        }),
        (json!({"price": 5, "category": ["odd"]}), &|n| n == 5),
        (json!({"category": "odd", "price": {"max": 4}}), &|n| {
            odd(n) && n <= 4
        }),
        (json!({"available": true}), &|_| false),
    ];
    for (filter, keep) in cases {
        let expected = only(&all, keep);
        let fields = json!({"where": filter});
        assert_eq!(ids(&server, &fields), expected, "{fields}");
        let fields = json!({"where": filter, "exclude": ["item-5"], "exclude_seen": true});
        let expected = only(&expected, |n| n != 5 && n != 4);
        assert_eq!(ids(&server, &fields), expected, "{fields}");
        let fields = json!({"where": filter, "allow": ["item-5", "item-6", "item-7"]});
        let expected = only(&all, |n| (5..=7).contains(&n) && keep(n));
        assert_eq!(ids(&server, &fields), expected, "{fields}");
    }
}

#[test]
fn where_and_properties_of_no_column_are_refused() {
    let (_dir, server) = with_items(|_| {});
    let known = "they have category, price, title, available";
    let cases = [
        (json!({"where": {"colour": "red"}}), format!("where: the items have no column \"colour\"; {known}")),
        (json!({"properties": ["colour"]}), format!("properties: the items have no column \"colour\"; {known}")),
        (json!({"where": {"price": "5"}}), "where.price: expected a number, a list of numbers, or {\"min\": .., \"max\": ..}, since the column is of type number, found the text \"5\"".into()),
        (json!({"where": {"category": {"min": 1}}}), "where.category: expected a text or a list of texts, since the column is of type text, found a range of numbers".into()),
        (json!({"where": []}), "where: where: expected an object of conditions by column, found a list".into()),
    ];
    for (mut body, expected) in cases {
        body["items"] = json!([]);
        let reply = send(
            server.addr,
            "POST",
            "/v1/recommend",
            &[JSON],
            &body.to_string(),
        );
        assert_eq!(
            (reply.status, reply.json()["detail"].clone()),
            (422, json!(expected))
        );
    }
}

#[test]
fn item_out_of_stock_vanishes_from_answers_of_every_kind_at_once() {
    let (_dir, server) = with_items(|_| {});
    let events = json!({"events": [{"item": "item-4"}]});
    server.post("/v1/sessions/s/events", &events);
    let everywhere = || {
        let stored = server.post("/v1/sessions/s/recommend", &json!({"k": 1000}));
        let batch = json!({"questions": [{"items": ["item-4"], "k": 1000}]});
        let batch = server.post("/v1/recommend/batch", &batch);
        [
            ids(&server, &json!({})),
            ids_of(&stored.json()),
            ids_of(&batch.json()["answers"][0]),
        ]
    };
    let all = ids(&server, &json!({}));
    assert_eq!(
        server
            .patch("/v1/items/item-5", &json!({"available": false}))
            .status,
        200
    );
    for found in everywhere() {
        assert_eq!(only(&found, |n| n == 5), Vec::<String>::new());
        assert_eq!(found.len(), ITEMS - 1);
    }
    assert_eq!(ids(&server, &json!({})), only(&all, |n| n != 5));
    assert_eq!(
        ids(&server, &json!({"where": {"available": false}})),
        ["item-5"]
    );
    let odd = json!({"where": {"category": "odd"}});
    assert_eq!(ids(&server, &odd), only(&all, |n| n % 2 == 1 && n != 5));
    assert_eq!(
        send(server.addr, "PUT", "/v1/deny/item-6", &[], "").status,
        200
    );
    for found in everywhere() {
        assert_eq!(found.len(), ITEMS - 2);
        assert_eq!(only(&found, |n| n == 6), Vec::<String>::new());
    }
    let back = server.patch("/v1/items/item-5", &json!({"available": true}));
    assert_eq!(back.json()["recommended"], true);
    assert_eq!(
        send(server.addr, "DELETE", "/v1/deny/item-6", &[], "").status,
        204
    );
    for found in everywhere() {
        assert_eq!(found.len(), ITEMS);
    }
    assert_eq!(ids(&server, &json!({})), all);
}

#[test]
fn patched_properties_are_in_the_next_answer() {
    let (_dir, server) = with_items(|_| {});
    let fields = json!({"items": [], "k": 3, "properties": ["title", "price"], "where": {"price": {"max": 0}}});
    let answer = || server.post("/v1/recommend", &fields).json()["items"].clone();
    let expected = json!([{"title": "<b>Item 0</b>", "price": 0}]);
    assert_eq!(answer()[0]["properties"], expected[0]);
    let patched = server.patch("/v1/items/item-3", &json!({"price": -1.5, "title": null}));
    assert_eq!(patched.status, 200);
    let expected = json!({"category": "odd", "price": -1.5});
    assert_eq!(patched.json()["properties"], expected);
    let mut properties = Vec::new();
    for item in answer().as_array().unwrap() {
        if item["item"] == "item-3" {
            properties.push(item["properties"].clone());
        }
    }
    assert_eq!(properties, [json!({"price": -1.5})]);
    let plain = server.post("/v1/recommend", &json!({"items": []})).json();
    assert_eq!(plain["items"][0].get("properties"), None);
}

#[test]
fn changes_of_items_answer_with_their_result_or_a_problem() {
    let (_dir, server) = with_items(|_| {});
    let item = server.get("/v1/items/item-2").json();
    assert_eq!(
        item["properties"],
        json!({"category": "even", "price": 2, "title": "<b>Item 2</b>"})
    );
    assert_eq!(
        (&item["in_catalogue"], &item["denied"], &item["recommended"]),
        (&json!(true), &json!(false), &json!(true))
    );
    let outside = server
        .patch("/v1/items/outside", &json!({"price": 3}))
        .json();
    assert_eq!(
        outside["properties"],
        json!({"category": "even", "price": 3})
    );
    assert_eq!(
        (&outside["in_catalogue"], &outside["recommended"]),
        (&json!(false), &json!(false))
    );
    for (path, body, status) in [
        ("/v1/items/gone", json!({"price": 1}), 404),
        ("/v1/items/item-2", json!({"colour": "red"}), 422),
        ("/v1/items/item-2", json!({"price": "red"}), 422),
        ("/v1/items/item-2", json!([]), 422),
        (
            "/v1/items",
            json!({"items": [{"item": "item-2", "set": {"price": 9}}, {"item": "gone", "set": {}}]}),
            404,
        ),
        ("/v1/items", json!({"items": [{"item": "item-2"}]}), 422),
        (
            "/v1/items",
            json!({"items": vec![json!({"item": 1, "set": {}}); 1001]}),
            422,
        ),
    ] {
        let reply = server.patch(path, &body);
        assert_eq!(reply.status, status, "{path} {body}: {reply:?}");
    }
    assert_eq!(
        server.get("/v1/items/item-2").json()["properties"]["price"],
        2
    );
    assert_eq!(server.get("/v1/items/gone").status, 404);
    let batch = json!({"items": [
        {"item": "item-2", "set": {"price": 20}}, {"item": "item-3", "set": {"available": false}},
    ]});
    assert_eq!(
        server.patch("/v1/items", &batch).json(),
        json!({"changed": 2})
    );
    assert_eq!(server.get("/v1/items/item-3").json()["recommended"], false);
    assert_eq!(
        server.get("/v1/items/item-2").json()["properties"]["price"],
        20
    );
    for (method, path, status) in [
        ("PUT", "/v1/deny/tomorrow", 200),
        ("PUT", "/v1/deny/item-1", 200),
        ("PUT", "/v1/deny/item-1", 200),
        ("DELETE", "/v1/deny/item-7", 404),
    ] {
        let reply = send(server.addr, method, path, &[], "");
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
    }
    assert_eq!(
        server.get("/v1/deny").json(),
        json!({"items": ["item-1", "tomorrow"]})
    );
    assert_eq!(server.get("/v1/items/item-1").json()["denied"], true);
}

#[test]
fn replicas_of_one_store_and_reloaded_models_have_all_changes() {
    let changes: Arc<dyn ChangeStore> = Arc::new(MemoryChangeStore::default());
    let share = |options: &mut prl_serve::Options| {
        options.changes = Some(Arc::clone(&changes));
        options.key = prl_serve::ApiKey::new("k");
    };
    let (_a, first) = with_items(share);
    let (dir, second) = with_items(share);
    let key = ("authorization", "Bearer k");
    let call = |server: &TestServer, method: &str, path: &str, body: Value| {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        send(server.addr, method, path, &[JSON, key], &text)
    };
    let body = json!({"available": false, "price": 7.25});
    assert_eq!(call(&first, "PATCH", "/v1/items/item-9", body).status, 200);
    let start = std::time::Instant::now();
    let item = || call(&second, "GET", "/v1/items/item-9", Value::Null).json();
    while item()["recommended"] == true {
        assert!(start.elapsed().as_secs() < 10, "the change does not arrive");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // A server that starts with changes, and a model that is loaded with them.
    let (_c, third) = with_items(share);
    let item = call(&third, "GET", "/v1/items/item-9", Value::Null).json();
    assert_eq!(item["properties"]["price"], 7.25);
    let run = json!({"run": dir.path().join("run")});
    assert_eq!(call(&first, "POST", "/v1/admin/reload", run).status, 200);
    let list = call(
        &first,
        "POST",
        "/v1/recommend",
        json!({"items": [], "k": 1000}),
    )
    .json();
    assert_eq!(ids_of(&list).len(), ITEMS - 1);
}

#[test]
fn another_column_of_availability_hides_items() {
    let (_dir, server) = with_items(|options| options.engine.available = "price".into());
    // A price of 0 hides item-0, and nothing else does.
    let all = ids(&server, &json!({}));
    assert_eq!((all.len(), only(&all, |n| n == 0).len()), (ITEMS - 1, 0));
    assert_eq!(ids(&server, &json!({"where": {"price": 0}})), ["item-0"]);
}

#[test]
fn run_without_properties_takes_changes_and_names_its_columns() {
    let server = TestServer::start(|_| {});
    let refused = server.post(
        "/v1/recommend",
        &json!({"items": [], "properties": ["title"]}),
    );
    let expected = "properties: the items have no column \"title\"; they have available";
    assert_eq!(
        (refused.status, &refused.json()["detail"]),
        (422, &json!(expected))
    );
    let before = ids(&server, &json!({}));
    server.patch("/v1/items/item-4", &json!({"available": false}));
    assert_eq!(ids(&server, &json!({})), only(&before, |n| n != 4));
    server.patch(
        "/v1/items/item-5",
        &json!({"category": "new", "available": true}),
    );
    assert_eq!(
        ids(&server, &json!({"where": {"category": "new"}})),
        ["item-5"]
    );
    assert_eq!(
        ids(&server, &json!({"where": {"available": true}})),
        ["item-5"]
    );
}
