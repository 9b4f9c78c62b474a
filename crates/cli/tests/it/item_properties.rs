//! Properties of items from their file through a dataset and a run to recommendations.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Exit code, standard output and standard error of `prl FLAGS` in a directory.
fn prl(dir: &Path, flags: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prl"));
    let output = command.current_dir(dir).args(flags).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Standard output of a command that succeeds.
fn done(dir: &Path, flags: &[&str]) -> String {
    let (code, stdout, stderr) = prl(dir, flags);
    assert_eq!(code, 0, "{flags:?}: {stderr}");
    stdout
}

/// Item ids of the answer in JSON.
fn ids(answer: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let mut ids = Vec::new();
    for item in answer["items"].as_array().unwrap() {
        ids.push(item["item"].as_str().unwrap().to_owned());
    }
    ids
}

#[test]
fn properties_go_from_their_file_to_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // Item n has 20 - n events, so the most popular one is item 0.
    let mut log = String::from("s,t,i\n");
    for session in 0..20 {
        for item in 0..20 - session {
            log += &format!("{session},{},i{item}\n", 1_600_000_000 + 60 * item);
        }
    }
    let mut items = String::from("item_id,category,price,available\n");
    for item in 0..20 {
        let category = ["shoes", "hats"][item % 2];
        items += &format!("i{item},{category},{}.5,{}\n", item, item != 3);
    }
    items += "i99,shoes,1,true\ni0,shoes,0.5,true\n";
    std::fs::write(dir.join("log.csv"), log).unwrap();
    std::fs::write(dir.join("items.csv"), items).unwrap();
    let prepare = [
        "prepare",
        "--source",
        "csv",
        "--input",
        "log.csv",
        "--columns",
        "session=s,time=t,item=i",
        "--val",
        "0",
        "--test",
        "0",
        "--items",
        "items.csv",
        "--out",
        "data",
    ];
    let report = done(dir, &prepare);
    assert!(report.contains("20 of the items, 1 others"), "{report}");
    assert!(
        report.contains("category (text), price (number), available (bool)"),
        "{report}"
    );
    assert!(report.contains("1 rows"), "{report}");
    let inspected: Value =
        serde_json::from_str(&done(dir, &["inspect", "data", "--json"])).unwrap();
    let price = json!({"name": "price", "type": "number", "items": 20, "coverage": 1.0, "range": [0.5, 19.5]});
    assert_eq!(inspected["properties"][1], price);
    let train = [
        "train",
        "--data",
        "data",
        "--method",
        "popularity",
        "--out",
        "run",
    ];
    done(dir, &train);
    // The run needs neither the dataset nor the file.
    std::fs::remove_dir_all(dir.join("data")).unwrap();
    let ask = |flags: &[&str]| {
        let mut all = vec![
            "recommend",
            "--run",
            "run",
            "--items",
            "",
            "--json",
            "-k",
            "3",
        ];
        all.extend_from_slice(flags);
        done(dir, &all)
    };
    assert_eq!(ids(&ask(&[])), ["i0", "i1", "i2"]);
    // i3 is not available.
    assert_eq!(ids(&ask(&["--where", "category=hats"])), ["i1", "i5", "i7"]);
    let both = [
        "--where",
        "category=shoes",
        "--where",
        "price>=7",
        "--where",
        "price<=10.5",
    ];
    assert_eq!(ids(&ask(&both)), ["i8", "i10"]);
    assert_eq!(ids(&ask(&["--where", r#"{"available": false}"#])), ["i3"]);
    let limited = ["--max-per", "category=1", "--pinned", "i9,i3"];
    assert_eq!(ids(&ask(&limited)), ["i9", "i0"]);
    let answer: Value = serde_json::from_str(&ask(&["--properties", "price,category"])).unwrap();
    assert_eq!(
        answer["items"][1]["properties"],
        json!({"category": "hats", "price": 1.5})
    );
    let fallback: Value =
        serde_json::from_str(&ask(&["--fallback", "--where", "category=hats"])).unwrap();
    assert_eq!(fallback["source"], "popular in where");
    std::fs::write(
        dir.join("lines.jsonl"),
        "{\"items\": [], \"where\": {\"price\": {\"max\": 1.5}}}\n",
    )
    .unwrap();
    let lines = [
        "recommend",
        "--run",
        "run",
        "--input",
        "lines.jsonl",
        "--where",
        "category=hats",
    ];
    assert_eq!(ids(&done(dir, &lines)), ["i0", "i1"]);
    for (flags, says) in [
        (
            ["--where", "colour=red"],
            "where: the items have no column \"colour\"; they have category, price, available",
        ),
        (["--where", "price=cheap"], "where.price: expected a number"),
        (
            ["--properties", "colour"],
            "properties: the items have no column \"colour\"",
        ),
        (
            ["--diversity", "0.5"],
            "diversity needs the vectors of items",
        ),
        (["--max-per", "category=0"], "expected COLUMN=N"),
    ] {
        let mut all = vec!["recommend", "--run", "run", "--items", ""];
        all.extend_from_slice(&flags);
        let (code, _, stderr) = prl(dir, &all);
        assert!(
            code == 2 && stderr.contains(says),
            "{flags:?}: {code} {stderr}"
        );
    }
}
