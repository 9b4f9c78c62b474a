//! Masks of filters against a plain pass over the rows, under any sequence of changes.

use std::collections::BTreeMap;

use prl_items::{ItemMask, LiveItems, MemoryChangeStore, RawValue, TableBuilder, Where};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

const ITEMS: usize = 200;
const COLUMNS: [&str; 5] = ["brand", "tags", "price", "new", "available"];

/// The properties of an item by column, as JSON.
type Row = BTreeMap<&'static str, Json>;

fn id(item: usize) -> String {
    format!("i{item}")
}

fn row(seed: u64) -> Row {
    let mut row = Row::new();
    let pick = |shift: u32, n: u64| (seed >> shift) % n;
    if pick(0, 5) > 0 {
        row.insert("brand", json!(format!("b{}", pick(3, 4))));
    }
    let mut tags = Vec::new();
    for tag in 0..4 {
        if pick(10 + tag, 3) == 0 {
            tags.push(format!("t{tag}"));
        }
    }
    if !tags.is_empty() {
        row.insert("tags", json!(tags));
    }
    if pick(20, 4) > 0 {
        row.insert("price", json!(pick(22, 40) as f64 / 4.0 - 2.0));
    }
    if pick(30, 3) > 0 {
        row.insert("new", json!(pick(33, 2) == 0));
    }
    if pick(40, 2) > 0 {
        row.insert("available", json!(pick(42, 5) > 0));
    }
    row
}

fn table(rows: &[Row]) -> prl_items::ItemTable {
    let mut builder = TableBuilder::new(COLUMNS).unwrap();
    for (item, row) in rows.iter().enumerate() {
        let tags: Vec<&str> = match row.get("tags") {
            Some(Json::Array(tags)) => tags.iter().map(|tag| tag.as_str().unwrap()).collect(),
            _ => Vec::new(),
        };
        let value = |column: &str| match row.get(column) {
            None => RawValue::None,
            Some(Json::String(text)) => RawValue::Text(text),
            Some(Json::Number(number)) => RawValue::Number(number.as_f64().unwrap()),
            Some(Json::Bool(value)) => RawValue::Bool(*value),
            Some(_) => RawValue::List(&tags),
        };
        builder.push(&id(item), COLUMNS.map(value)).unwrap();
    }
    builder.finish((0..ITEMS).map(id)).unwrap().0
}

/// Whether a condition in JSON holds for a value, read off the documentation.
fn holds(condition: &Json, value: Option<&Json>) -> bool {
    let Some(value) = value else {
        return false;
    };
    if let Json::Object(range) = condition {
        let number = value.as_f64().unwrap();
        let min = range
            .get("min")
            .map_or(f64::MIN, |min| min.as_f64().unwrap());
        let max = range
            .get("max")
            .map_or(f64::MAX, |max| max.as_f64().unwrap());
        return min <= number && number <= max;
    }
    let alternatives = match condition {
        Json::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let is_equal = |a: &Json, b: &Json| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    };
    match value {
        Json::Array(list) => list
            .iter()
            .any(|v| alternatives.iter().any(|a| is_equal(a, v))),
        one => alternatives.iter().any(|a| is_equal(a, one)),
    }
}

fn expected(rows: &[Row], denied: &[bool], filter: &Json) -> Vec<u32> {
    let filter = filter.as_object().unwrap();
    let mut items = Vec::new();
    for (item, row) in rows.iter().enumerate() {
        let mut is_in = !denied[item];
        if !filter.contains_key("available") {
            is_in &= row.get("available") != Some(&json!(false));
        }
        for (column, condition) in filter {
            is_in &= holds(condition, row.get(column.as_str()));
        }
        if is_in {
            items.push(item as u32);
        }
    }
    items
}

fn found(live: &LiveItems, filter: &Json) -> Vec<u32> {
    let mask = live.mask(&Where::from_json(filter).unwrap()).unwrap();
    let all = || (0..ITEMS as u32).collect();
    mask.map_or_else(all, |mask: std::sync::Arc<ItemMask>| mask.to_items())
}

fn filters() -> Vec<Json> {
    vec![
        json!({}),
        json!({"brand": "b1"}),
        json!({"brand": ["b0", "b3", "none"]}),
        json!({"brand": "none"}),
        json!({"brand": []}),
        json!({"tags": "t2"}),
        json!({"tags": ["t0", "t3"], "new": true}),
        json!({"price": 0}),
        json!({"price": [1.25, -2]}),
        json!({"price": {"min": 0, "max": 0.5}}),
        json!({"price": {"min": -1}}),
        json!({"price": {"max": 3.5}, "brand": ["b0", "b1", "b2"]}),
        json!({"price": {"max": 3.5}, "new": [true, false]}),
        json!({"available": true}),
        json!({"available": false, "new": false}),
        json!({"available": [true, false]}),
    ]
}

fn index(id: &str) -> Option<u32> {
    id.strip_prefix('i')?.parse().ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn mask_is_that_of_a_pass_over_the_rows(
        seeds in prop::collection::vec(any::<u64>(), ITEMS),
        changes in prop::collection::vec((0..ITEMS, any::<u64>(), 0..4_u8), 0..30),
    ) {
        let mut rows: Vec<Row> = seeds.iter().map(|&seed| row(seed)).collect();
        let mut denied = vec![false; ITEMS];
        let live = LiveItems::new(table(&rows), "available");
        let store = MemoryChangeStore::default();
        let filters = filters();
        for filter in &filters {
            prop_assert_eq!(found(&live, filter), expected(&rows, &denied, filter), "{}", filter);
        }
        for (n, (item, seed, kind)) in changes.into_iter().enumerate() {
            if kind == 0 {
                denied[item] = !denied[item];
                live.deny(&store, (&id(item), denied[item]), &index).unwrap();
            } else {
                let new = row(seed);
                let mut set = Map::new();
                for column in COLUMNS {
                    set.insert(column.into(), new.get(column).cloned().unwrap_or(Json::Null));
                }
                rows[item] = new;
                live.patch(&store, &[(id(item), set)], &index).unwrap();
            }
            // Some filters are asked after every change, some after several.
            for (at, filter) in filters.iter().enumerate() {
                if at <= n % 5 || n % 7 == 0 {
                    let expected = expected(&rows, &denied, filter);
                    prop_assert_eq!(found(&live, filter), expected, "{} after {}", filter, n);
                }
            }
        }
        // A server that starts now, and one whose masks are all made anew.
        let late = LiveItems::new(live.table().clone(), "available");
        late.sync(&store, &index).unwrap();
        for filter in &filters {
            let expected = expected(&rows, &denied, filter);
            prop_assert_eq!(&found(&live, filter), &expected, "{}", filter);
            prop_assert_eq!(&found(&late, filter), &expected, "{}", filter);
        }
    }
}

/// A column of more texts than have bitmaps, and a wide and a narrow range of a large table.
#[test]
fn mask_of_many_distinct_values_is_that_of_a_pass() {
    const MANY: u32 = 20_000;
    let mut builder = TableBuilder::new(["title", "price"]).unwrap();
    for item in 0..MANY {
        let title = format!("title {}", item % 7_000);
        let price = RawValue::Number(f64::from(item * 7_919 % MANY));
        builder
            .push(&id(item as usize), [RawValue::Text(&title), price])
            .unwrap();
    }
    let (table, _) = builder.finish((0..MANY as usize).map(id)).unwrap();
    let live = LiveItems::new(table, "available");
    let of = |filter: Json| {
        let mask = live.mask(&Where::from_json(&filter).unwrap()).unwrap();
        mask.unwrap().to_items()
    };
    let price = |item: u32| item * 7_919 % MANY;
    let pass =
        |test: &dyn Fn(u32) -> bool| -> Vec<u32> { (0..MANY).filter(|&i| test(i)).collect() };
    assert_eq!(
        of(json!({"title": ["title 5", "title 6999", "x"]})),
        pass(&|i| i % 7_000 == 5 || i % 7_000 == 6_999)
    );
    assert_eq!(
        of(json!({"price": {"min": 10, "max": 11.5}})),
        pass(&|i| (10..=11).contains(&price(i)))
    );
    assert_eq!(
        of(json!({"price": {"min": 10}, "title": "title 5"})),
        pass(&|i| price(i) >= 10 && i % 7_000 == 5)
    );
    assert_eq!(
        of(json!({"price": {"max": 15_000}})),
        pass(&|i| price(i) <= 15_000)
    );
}
