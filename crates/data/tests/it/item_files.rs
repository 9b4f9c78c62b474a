//! Properties of items from files of every form, kept in the dataset.

use std::path::PathBuf;

use crate::common::*;
use polars::prelude::*;
use prl_data::{ItemsFile, Options, append};
use prl_dataset::{Dataset, Manifest};
use prl_items::{ItemTable, Value};

const LOG: &str = "s,t,i\n1,1,30\n1,2,7\n2,1,7\n2,2,9\n3,1,30\n3,5,9\n";
const CSV: &str = "\
name,item_id,price,tags,sold\n\
\"a, b\",7,1.50,x,true\n\
c,30,,x,FALSE\n\
old,9,NULL,y,\n\
d,1000,2,y,true\n\
\"two\nlines\",9,7,y,\n";
const LINES: &str = r#"{"name": "a, b", "item_id": 7, "price": 1.50, "tags": "x", "sold": true}

{"item_id": "30", "name": "c", "price": null, "sold": false, "tags": "x"}
{"item_id": 9, "name": "old", "tags": "y"}
{"name": "d", "item_id": 1000, "price": 2, "tags": "y", "sold": true}
{"name": "two\nlines", "item_id": 9, "price": 7, "tags": "y"}
"#;

fn options(folder: &Folder, items: PathBuf) -> Options {
    let mut options = csv(folder.write("log.csv", LOG), table());
    options.output.items = Some(ItemsFile {
        path: items,
        id: None,
    });
    options
}

/// The table of a dataset, and the row of each item.
fn table_of(folder: &Folder, out: &str) -> (ItemTable, Dataset) {
    let data = Dataset::open(&folder.path(out)).unwrap();
    let bytes = data.properties().unwrap().unwrap();
    (ItemTable::from_bytes(&bytes).unwrap(), data)
}

fn values(folder: &Folder, id: &str) -> Vec<String> {
    let (table, data) = table_of(folder, "out");
    let row = table.row(id, data.items().index(id)).unwrap();
    let mut shown = Vec::new();
    for column in ["name", "price", "tags", "sold"] {
        let value = table.value(row, column);
        shown.push(value.map_or("-".into(), |value| value.to_string()));
    }
    shown
}

fn assert_is_expected(folder: &Folder, manifest: &Manifest) {
    assert_eq!(values(folder, "7"), ["a, b", "1.5", "x", "true"]);
    assert_eq!(values(folder, "30"), ["c", "-", "x", "false"]);
    assert_eq!(values(folder, "9"), ["two\nlines", "7", "y", "-"]);
    assert_eq!(values(folder, "1000"), ["d", "2", "y", "true"]);
    let origin = &manifest.properties.as_ref().unwrap().origin;
    assert_eq!((origin.items, origin.others, origin.replaced), (3, 1, 1));
    assert_eq!(origin.files[0].rows, 5);
}

#[test]
fn items_of_text_lines_and_parquet_are_the_same() {
    let folder = Folder::new();
    let plain = csv(folder.write("log.csv", LOG), table());
    let without = folder.prepare(&plain).0;
    for (name, bytes) in [
        ("items.csv", CSV.as_bytes().to_vec()),
        (
            "items.tsv",
            CSV.replace("a, b", "a; b")
                .replace(',', "\t")
                .replace(';', ",")
                .into_bytes(),
        ),
        ("items.csv.gz", gzip(CSV.as_bytes())),
        ("items.jsonl", LINES.as_bytes().to_vec()),
    ] {
        let items = folder.write(name, bytes);
        let (manifest, _) = folder.prepare(&options(&folder, items));
        assert_is_expected(&folder, &manifest);
        // Properties do not make another dataset.
        assert_eq!(manifest.dataset, without.dataset, "{name}");
    }
    let mut frame = df!(
        "item_id" => [7_i64, 30, 9, 1000, 9],
        "name" => ["a, b", "c", "old", "d", "two\nlines"],
        "price" => [Some(1.5), None, None, Some(2.0), Some(7.0)],
        "tags" => ["x", "x", "y", "y", "y"],
        "sold" => [Some(true), Some(false), None, Some(true), None],
    )
    .unwrap();
    let path = folder.path("items.parquet");
    let file = std::fs::File::create(&path).unwrap();
    ParquetWriter::new(file).finish(&mut frame).unwrap();
    let (manifest, _) = folder.prepare(&options(&folder, path));
    assert_is_expected(&folder, &manifest);
}

#[test]
fn lists_of_lines_and_parquet_are_lists() {
    let folder = Folder::new();
    let lines =
        "{\"id\": 7, \"tags\": [\"b\", 1, \"b\"]}\n{\"id\": 9, \"tags\": []}\n{\"id\": 30}\n";
    let mut frame = df!(
        "id" => ["7", "9", "30"],
        "tags" => [
            Some(Series::new("".into(), ["b", "1", "b"])),
            Some(Series::new_empty("".into(), &DataType::String)),
            None,
        ],
    )
    .unwrap();
    let path = folder.path("items.parquet");
    let file = std::fs::File::create(&path).unwrap();
    ParquetWriter::new(file).finish(&mut frame).unwrap();
    for items in [folder.write("items.jsonl", lines), path] {
        folder.prepare(&options(&folder, items));
        let (table, data) = table_of(&folder, "out");
        let of = |id: &str| table.value(data.items().index(id).unwrap(), "tags");
        assert_eq!(of("7"), Some(Value::List(vec!["1".into(), "b".into()])));
        assert_eq!((of("9"), of("30")), (None, None));
    }
}

#[test]
fn damaged_file_of_items_is_refused_by_its_place() {
    let folder = Folder::new();
    let cases = [
        (
            "a.csv",
            "name,item_id\nx,7\ny,\n",
            "a.csv: row 2: column \"item_id\"",
        ),
        (
            "b.csv",
            "name,price\nx,7\n",
            "name the column of the item ids with --items-id",
        ),
        (
            "c.csv",
            "item_id,price\nx,7\n",
            "no row is of an item of the log",
        ),
        (
            "d.csv",
            "item_id,a,a\n7,1,1\n",
            "column \"a\" is there twice",
        ),
        (
            "e.csv",
            "item_id,a\n7,1,1\n",
            "e.csv:2: 3 fields where 2 are due",
        ),
        (
            "f.jsonl",
            "{\"item_id\": 7}\n[1]\n",
            "f.jsonl:2: a list of 1 where an object is due",
        ),
        (
            "g.jsonl",
            "{\"item_id\": 7, \"a\": {\"b\": 1}}\n",
            "g.jsonl:1",
        ),
        (
            "h.jsonl",
            "{\"item_id\": 7, \"a\": 1, \"a\": 2}\n",
            "h.jsonl:1",
        ),
        ("i.jsonl", "{\"item_id\": 7}\n{\"a\": 1}\n", "i.jsonl:2"),
        ("j.jsonl", "{\"item_id\": 7, \"a\": [[1]]}\n", "j.jsonl:1"),
        ("k.parquet", "PAR1 and no more", "k.parquet"),
        ("l.xlsx", "item_id,a\n7,1\n", "not known as a file of items"),
    ];
    for (name, text, expected) in cases {
        let items = folder.write(name, text);
        let options = options(&folder, items);
        let refused = folder.refused(&options).to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    let mut named = options(&folder, folder.write("m.csv", "name,who\nx,7\n"));
    named.output.items.as_mut().unwrap().id = Some("who".into());
    assert_eq!(folder.prepare(&named).0.properties.unwrap().origin.items, 1);
}

#[test]
fn appended_log_keeps_the_properties_for_its_new_items() {
    let folder = Folder::new();
    let mut first = options(&folder, folder.write("items.csv", CSV));
    first.output.keep_log = true;
    folder.prepare(&first);
    let more = folder.write("more.csv", "s,t,i\n4,9,1000\n4,10,8\n");
    let mut second = csv(more, table());
    second.output.keep_log = true;
    let out = folder.path("out");
    let manifest = append(&second, &out, &out).unwrap();
    let origin = &manifest.properties.as_ref().unwrap().origin;
    assert_eq!((origin.items, origin.others, origin.replaced), (4, 0, 1));
    assert_eq!(values(&folder, "1000"), ["d", "2", "y", "true"]);
    assert_eq!(values(&folder, "8"), ["-", "-", "-", "-"]);
    assert_eq!(values(&folder, "9"), ["two\nlines", "7", "y", "-"]);
}
