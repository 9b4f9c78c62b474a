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
        let category = ["even", "odd"][number as usize % 2];
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

/// The body of an answer about `item-4` with 1000 items at most.
fn answer(server: &TestServer, fields: &Value) -> Value {
    let mut body = json!({"items": ["item-4"], "k": 60});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = server.post("/v1/recommend", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn pinned_items_come_first_unless_the_filter_leaves_them_out() {
    let (_dir, server) = with_items(|_| {});
    let all = ids(&server, &json!({}));
    let scores = |answer: &Value| -> Vec<(String, f64)> {
        let items = answer["items"].as_array().unwrap().iter();
        let pair = |item: &Value| {
            let id = item["item"].as_str().unwrap().to_owned();
            (id, item["score"].as_f64().unwrap())
        };
        items.map(pair).collect()
    };
    let plain = scores(&answer(&server, &json!({})));
    let pinned = json!({"pinned": ["item-50", "gone", "item-9", "item-50"], "where": {"price": {"min": 10}}, "k": 5});
    let found = answer(&server, &pinned);
    let mut expected = vec!["item-50".to_owned()];
    expected.extend(only(&all, |n| n >= 10 && n != 50).into_iter().take(4));
    assert_eq!(ids_of(&found), expected);
    assert_eq!(found["unpinned"], json!(["gone", "item-9"]));
    // A pinned item has the model's score.
    for pair in scores(&found) {
        assert!(plain.contains(&pair), "{pair:?}");
    }
    let many = answer(
        &server,
        &json!({"pinned": ["item-1", "item-2", "item-3"], "k": 2}),
    );
    assert_eq!(
        (ids_of(&many), &many["unpinned"]),
        (vec!["item-1".into(), "item-2".into()], &json!(["item-3"]))
    );
    assert_eq!(answer(&server, &json!({})).get("unpinned"), None);
}

#[test]
fn limits_and_diversity_shape_the_list() {
    let (_dir, server) = with_items(|_| {});
    let all = ids(&server, &json!({}));
    let limited = ids(&server, &json!({"max_per": {"category": 2}, "k": 60}));
    let mut expected = only(&all, |n| n % 2 == 0)[..2].to_vec();
    expected.extend_from_slice(&only(&all, |n| n % 2 == 1)[..2]);
    expected.sort_by_key(|id| all.iter().position(|other| other == id));
    assert_eq!(limited, expected);
    let pinned = json!({"max_per": {"category": 2}, "pinned": ["item-6", "item-8"], "k": 60});
    let mut expected = vec!["item-6".to_owned(), "item-8".to_owned()];
    expected.extend_from_slice(&only(&all, |n| n % 2 == 1)[..2]);
    assert_eq!(ids(&server, &pinned), expected);
    assert_eq!(ids(&server, &json!({"diversity": 0, "k": 60})), all);
    let diverse = ids(&server, &json!({"diversity": 0.7, "k": 60}));
    assert_eq!((diverse.len(), &diverse[0]), (ITEMS, &all[0]));
    assert_ne!(diverse, all);
    for (fields, expected) in [
        (
            json!({"diversity": 2}),
            "diversity: expected a number from 0 to 1, found 2",
        ),
        (
            json!({"diversity": 0.5, "k": 101}),
            "k: expected a whole number from 1 to 100 with diversity, found 101",
        ),
        (
            json!({"max_per": {"category": 0}}),
            "max_per: category: expected an object of whole numbers from 1 by column, found 0",
        ),
        (
            json!({"max_per": {"colour": 1}}),
            "max_per: the items have no column \"colour\"; they have category, price, title, available",
        ),
    ] {
        let mut body = json!({"items": []});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = send(
            server.addr,
            "POST",
            "/v1/recommend",
            &[JSON],
            &body.to_string(),
        );
        assert_eq!(
            (reply.status, &reply.json()["detail"]),
            (422, &json!(expected))
        );
    }
}

#[test]
fn fallback_of_an_unknown_session_is_popular_and_says_so() {
    let (_dir, server) = with_items(|_| {});
    let counts = Run::open(run())
        .unwrap()
        .purchase_counts()
        .unwrap()
        .unwrap();
    let popular = |keep: &dyn Fn(usize) -> bool| {
        let mut items: Vec<usize> = (0..ITEMS).filter(|&i| keep(i)).collect();
        items.sort_by_key(|&i| std::cmp::Reverse(counts.events[i]));
        items.truncate(7);
        items
            .into_iter()
            .map(|i| format!("item-{i}"))
            .collect::<Vec<_>>()
    };
    let ask = |fields: Value| answer(&server, &fields);
    let known = ask(json!({"fallback": true, "k": 7}));
    assert_eq!(
        (&known["source"], &known["cold"]),
        (&json!("model"), &json!(false))
    );
    let unknown = ask(json!({"items": ["gone"], "fallback": true, "k": 7}));
    assert_eq!(
        (&unknown["source"], &unknown["cold"]),
        (&json!("popular"), &json!(true))
    );
    assert_eq!(ids_of(&unknown), popular(&|_| true));
    let events = unknown["items"][0]["score"].as_f64().unwrap();
    assert_eq!(events, f64::from(*counts.events.iter().max().unwrap()));
    let odd = ask(json!({"items": [], "fallback": true, "k": 7, "where": {"category": "odd"}}));
    assert_eq!(
        (&odd["source"], ids_of(&odd)),
        (&json!("popular in where"), popular(&|i| i % 2 == 1))
    );
    let plain = ask(json!({"items": ["gone"], "k": 7}));
    assert_eq!(plain.get("source"), None);
}

#[test]
fn items_beside_an_item_honour_filter_and_deny_list() {
    let (_dir, server) = with_items(|_| {});
    let encoded = "%7B%22category%22%3A%22odd%22%7D";
    let similar = server.get("/v1/items/item-4/similar?k=59").json();
    let all = ids_of(&similar);
    assert_eq!(
        (all.len(), similar["item"].clone()),
        (ITEMS - 1, json!("item-4"))
    );
    let path = format!("/v1/items/item-4/similar?k=4&where={encoded}&properties=price,category");
    let odd = server.get(&path).json();
    assert_eq!(ids_of(&odd), only(&all, |n| n % 2 == 1)[..4].to_vec());
    assert_eq!(odd["items"][0]["properties"]["category"], "odd");
    assert_eq!(
        send(server.addr, "PUT", &format!("/v1/deny/{}", all[0]), &[], "").status,
        200
    );
    assert_eq!(
        ids_of(&server.get("/v1/items/item-4/similar?k=3").json()),
        all[1..4].to_vec()
    );

    // The pairs of a plain pass over the training sessions.
    let data = Run::open(run()).unwrap().data(None).unwrap();
    let (items, kinds, splits) = (data.item_indices(), data.kinds(), data.splits());
    let mut counts = vec![0; ITEMS];
    for session in data.sessions() {
        let mut bought = std::collections::BTreeSet::new();
        for event in session {
            let is_training = splits.all()[event] == prl_dataset::Split::Train;
            if is_training && kinds[event] == prl_dataset::Kind::Purchase {
                bought.insert(items[event] as usize);
            }
        }
        if bought.contains(&10) {
            for item in bought {
                counts[item] += usize::from(item != 10);
            }
        }
    }
    let denied = number(&all[0]) as usize;
    let mut expected: Vec<(usize, usize)> = counts
        .into_iter()
        .enumerate()
        .filter(|c| c.1 > 0 && c.0 != denied)
        .collect();
    expected.sort_by_key(|&(item, sessions)| (std::cmp::Reverse(sessions), item));
    assert!(expected.len() > 2, "{expected:?}");
    let together = server.get("/v1/items/item-10/bought-together?k=50").json();
    let mut found = Vec::new();
    for item in together["items"].as_array().unwrap() {
        let id = number(item["item"].as_str().unwrap()) as usize;
        found.push((id, item["sessions"].as_u64().unwrap() as usize));
    }
    assert_eq!(found, expected);
    for (path, status) in [
        ("/v1/items/gone/similar", 404),
        ("/v1/items/outside/bought-together", 404),
        ("/v1/items/item-4/similar?k=0", 422),
        ("/v1/items/item-4/similar?where=%7B", 422),
        ("/v1/items/item-4/similar?properties=colour", 422),
        ("/v1/items/item-4/bought-together?top=3", 422),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
}
