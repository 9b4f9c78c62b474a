//! A shop's evening, as the README tells it: items with properties, a server with state that a page
//! of another origin asks, an item that goes out of stock, a crash, and tomorrow's run.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::http::{Reply, send};
use crate::network_operations::{addr, done, models_until, wait_for_other_model};
use crate::network_replicas::{Process, free_port, serve_line};
use crate::slow_grow::write_day;

const JSON: (&str, &str) = ("content-type", "application/json");
const ORIGIN: (&str, &str) = ("origin", "https://shop.example");

/// Category, price and title of each item: even numbers are shoes.
fn write_items(path: &Path, items: &[String]) {
    let mut text = "item_id,category,price,title\n".to_owned();
    for (i, item) in items.iter().enumerate() {
        let category = if i % 2 == 0 { "shoes" } else { "socks" };
        text += &format!("{item},{category},{}.5,\"Item, {item}\"\n", 10 + i);
    }
    fs::write(path, text).unwrap();
}

fn call(port: u16, method: &str, path: &str, body: &Value) -> Reply {
    let reply = send(addr(port), method, path, &[JSON, ORIGIN], &body.to_string());
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN.1));
    reply
}

/// Shoes up to a price for the session u1, with their properties.
fn cheap_shoes(port: u16) -> Vec<Value> {
    let body = json!({
        "k": 5,
        "where": {"category": ["shoes"], "price": {"max": 40}},
        "properties": ["category", "price", "title"],
    });
    let answer = call(port, "POST", "/v1/sessions/u1/recommend", &body).json();
    answer["items"].as_array().unwrap().clone()
}

fn ids(items: &[Value]) -> Vec<&str> {
    let mut ids = Vec::new();
    for item in items {
        ids.push(item["item"].as_str().unwrap());
    }
    ids
}

#[test]
fn shops_evening_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut items: Vec<String> = (0..30).map(|i| format!("sku-{i}")).collect();
    write_day(&dir.join("today.csv"), 0, &items);
    write_items(&dir.join("items.csv"), &items);
    let columns = "--columns session=session,time=time,item=item,event=event";
    let kinds = "--click view --purchase buy --split time --keep-log";
    done(
        dir,
        &format!(
            "prepare --source csv --input today.csv {columns} {kinds} --items items.csv --out ds"
        ),
    );
    done(
        dir,
        "train --data ds --out models/today --epochs 40 --batch-size 64 --dim 16",
    );
    done(dir, "models promote --registry models today");

    let port = free_port();
    let line = "serve --registry models --threads 1 --state state \
                --cors-origin https://shop.example";
    let server = serve_line(dir, port, line);
    let asked = ("access-control-request-method", "POST");
    let preflight = send(addr(port), "OPTIONS", "/v1/recommend", &[ORIGIN, asked], "");
    assert_eq!(preflight.status / 100, 2, "{preflight:?}");
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some(ORIGIN.1)
    );
    let events = json!({"events": [{"item": "sku-17"}, {"item": "sku-18"}]});
    call(port, "POST", "/v1/sessions/u1/events", &events);
    let shoes = cheap_shoes(port);
    assert_eq!(shoes.len(), 5);
    for item in &shoes {
        let properties = &item["properties"];
        assert_eq!(properties["category"], "shoes");
        assert!(properties["price"].as_f64().unwrap() <= 40.0, "{item}");
        let title = format!("Item, {}", item["item"].as_str().unwrap());
        assert_eq!(properties["title"], title);
    }

    // The best item goes out of stock.
    let gone = ids(&shoes)[0].to_owned();
    let path = format!("/v1/items/{gone}");
    call(
        port,
        "PATCH",
        &path,
        &json!({"available": false, "price": 5}),
    );
    let left = cheap_shoes(port);
    assert!(!ids(&left).contains(&gone.as_str()));
    assert_eq!(ids(&left)[..4], ids(&shoes)[1..]);

    Process::kill(server);
    let _server = serve_line(dir, port, line);
    let none = json!({"events": []});
    let stored = call(port, "POST", "/v1/sessions/u1/events", &none).json();
    assert_eq!(stored["events"], 2);
    assert_eq!(cheap_shoes(port), left);

    // Tomorrow's log has an item that today's had not.
    items.insert(20, "new".to_owned());
    write_day(&dir.join("tomorrow.csv"), 1, &items);
    write_items(&dir.join("items.csv"), &items);
    done(
        dir,
        "prepare --append ds --input tomorrow.csv --items items.csv --keep-log --out next",
    );
    done(
        dir,
        "train --from models/today --data next --out models/tomorrow",
    );
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| models_until(port, &is_done));
        let today = wait_for_other_model(port, "");
        done(dir, "models promote --registry models tomorrow");
        let tomorrow = wait_for_other_model(port, &today);
        is_done.store(true, Ordering::SeqCst);
        assert_eq!(asking.join().unwrap(), [today, tomorrow]);
    });
    let events = json!({"events": [{"item": "sku-19"}]});
    let stored = call(port, "POST", "/v1/sessions/u1/events", &events).json();
    assert_eq!(stored["events"], 3);
    let shoes = cheap_shoes(port);
    assert!(ids(&shoes).contains(&"new"), "{shoes:?}");
    assert!(!ids(&shoes).contains(&gone.as_str()));
}
