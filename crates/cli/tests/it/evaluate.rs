//! `prl evaluate`: conventions in text and JSON, files of cases, other logs and refusals.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prl_dataset::{Arrays, ItemMap, Kind, ManifestInput, Split, write};
use prl_runs::{Device, Method};
use serde_json::{Value, json};

use crate::common;

/// Clicks on items named by letters.
fn dataset(dir: &Path, ids: &str, sessions: &[(&str, Split)]) {
    let items = ItemMap::new(ids.chars().map(String::from)).unwrap();
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for (session, split) in sessions {
        for item in session.chars() {
            arrays.items.push(items.index(&item.to_string()).unwrap());
            arrays.kinds.push(Kind::Click);
            arrays.times.push(arrays.times.len() as i64);
            arrays.splits.push(*split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    write(dir, &arrays, &items, ManifestInput::default()).unwrap();
}

/// A run of the popularity baseline: it ranks a, b, c, d. The test session is a, b, b, d.
fn run(dir: &Path) -> PathBuf {
    let (data, out) = (dir.join("data"), dir.join("run"));
    dataset(
        &data,
        "abcd",
        &[
            ("aaaabbbccd", Split::Train),
            ("ab", Split::Val),
            ("abbd", Split::Test),
        ],
    );
    let mut config = common::quick(data);
    config.method = Method::Popularity;
    prl_train::Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .run(&mut common::Quiet)
        .unwrap();
    out
}

fn evaluate(dir: &Path, flags: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(["evaluate", "--run", "run"])
        .args(flags.split_whitespace())
        .output()
        .unwrap()
}

fn ok(dir: &Path, flags: &str) -> String {
    let output = evaluate(dir, flags);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{flags}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

fn report(dir: &Path, flags: &str) -> Value {
    serde_json::from_str(&ok(dir, &format!("--json {flags}"))).unwrap()
}

fn refused(dir: &Path, flags: &str, code: i32) -> String {
    let output = evaluate(dir, flags);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{flags}: {message}");
    message
}

#[test]
fn conventions_are_flags_named_in_the_report() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let plain = report(dir.path(), "");
    assert_eq!(plain["all"]["HR@5"], 1.0);
    assert_eq!(plain["all"]["MRR"], (1.0 + 0.5 + 0.5 + 0.25) / 4.0);
    assert!(plain.get("at_k").is_none());
    let default = json!({"skip_first": false, "exclude_last": false, "exclude_seen": false});
    assert_eq!(plain["conventions"], default);

    let serenade = report(dir.path(), "--skip-first --exclude-last");
    assert_eq!(serenade["events"], json!({"click": 3, "purchase": 0}));
    assert_eq!(serenade["at_k"]["k"], json!([5, 10, 20]));
    assert_eq!(serenade["at_k"]["all"]["HR@20"], 2.0 / 3.0);
    assert_eq!(serenade["at_k"]["all"]["MRR@20"], (1.0 + 1.0 / 3.0) / 3.0);
    assert_eq!(serenade["all"]["HR@20"], 2.0 / 3.0);

    let seen = report(dir.path(), "--skip-first --exclude-seen -k 1,3 --k 2");
    let at_k = &seen["at_k"];
    assert_eq!(at_k["k"], json!([1, 2, 3]));
    assert_eq!(at_k["all"]["MRR@3"], 0.5);
    assert_eq!(at_k["all"]["precision@2"], 2.0 / 3.0 / 2.0);
    assert_eq!(at_k["click"], at_k["all"]);
    assert_eq!(
        (&at_k["coverage@1"], &at_k["coverage@3"]),
        (&json!(0.5), &json!(0.75))
    );

    let text = ok(dir.path(), "--skip-first --exclude-last -k 3");
    for part in [
        "cases: all events but the first of a session",
        "ranked: all items but the state's latest",
        "ties count against the target",
        "mean popularity",
        "0.4444",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(ok(dir.path(), "").contains("first events of sessions included; ranked: all items"));
}

#[test]
fn other_log_counts_unknown_items() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let sessions = [("azbz", Split::Train), ("zy", Split::Test)];
    dataset(&dir.path().join("later"), "yzab", &sessions);
    let found = report(dir.path(), "--other-log later --split all -k 1");
    assert_eq!(found["split"], "all");
    assert_eq!(found["events"]["click"], 6);
    let other = &found["other_log"];
    assert_eq!(
        (
            &other["unknown_items"],
            &other["unknown_in_states"],
            &other["unknown_targets"]
        ),
        (&json!(2), &json!(2), &json!(4))
    );
    assert_ne!(found["dataset"], other["trained_on"]);
    assert_eq!(found["at_k"]["all"]["HR@1"], 1.0 / 6.0);
    assert_eq!(found["mean_popularity@20"], Value::Null);
    let train = report(dir.path(), "--other-log later --split train");
    assert_eq!(train["events"]["click"], 4);
    let text = ok(dir.path(), "--other-log later");
    assert!(text.contains("2 items unknown to the run"), "{text}");
    let message = refused(dir.path(), "--data later", 3);
    assert!(
        message.contains("--data") && message.contains("--other-log"),
        "{message}"
    );
    let message = refused(dir.path(), "--split all", 2);
    assert!(message.contains("--other-log"), "{message}");
}

#[test]
fn case_files_hold_what_recomputes_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let flags = "--skip-first --exclude-last";
    ok(dir.path(), "--cases plain.csv");
    let csv = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        csv("plain.csv"),
        "session,kind,rank\n0,click,1\n0,click,2\n0,click,2\n0,click,4\n"
    );
    ok(dir.path(), &format!("{flags} --cases cases.csv"));
    assert_eq!(
        csv("cases.csv"),
        "session,kind,rank\n0,click,1\n0,click,\n0,click,3\n"
    );
    ok(dir.path(), &format!("{flags} -k 2 --cases cases.jsonl"));
    let mut lines = Vec::new();
    for line in csv("cases.jsonl").lines() {
        lines.push(serde_json::from_str::<Value>(line).unwrap());
    }
    let line = |rank: Value, item: &str, top: Value, step: u32| {
        json!({"session": 0, "kind": "click", "rank": rank, "item": item, "top": top,
               "step": step, "target_return": null})
    };
    assert_eq!(
        lines,
        [
            line(json!(1), "b", json!(["b", "c", "d"]), 1),
            line(Value::Null, "b", json!(["a", "c", "d"]), 2),
            line(json!(3), "d", json!(["a", "c", "d"]), 3),
        ]
    );
}

#[cfg(all(feature = "data", feature = "tables"))]
#[test]
fn case_table_is_read_by_prepare() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    ok(dir.path(), "--cases cases.parquet");
    let columns = "session=session,item=item,time=step";
    let prepared = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir.path())
        .args(["prepare", "--source", "parquet", "--input", "cases.parquet"])
        .args(["--columns", columns, "--out", "again"])
        .output()
        .unwrap();
    let message = String::from_utf8(prepared.stderr).unwrap();
    assert!(prepared.status.success(), "{message}");
    let again = prl_dataset::Dataset::open(&dir.path().join("again")).unwrap();
    let mut ids = Vec::new();
    for &item in again.item_indices() {
        ids.push(again.items().raw(item).unwrap());
    }
    assert_eq!(ids, ["a", "b", "b", "d"]);
}

#[test]
fn refused_evaluation_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    for flags in ["-k 0", "-k 1001", "-k x", "--other-log later --data data"] {
        refused(dir.path(), &format!("{flags} --cases cases.csv"), 2);
    }
    let message = refused(dir.path(), "--other-log later --cases cases.parquet", 3);
    assert!(message.contains("later"), "{message}");
    refused(dir.path(), "--cases no/cases.csv", 1);
    std::fs::rename(dir.path().join("data"), dir.path().join("moved")).unwrap();
    let message = refused(dir.path(), "--cases cases.csv", 3);
    assert!(message.contains("--data"), "{message}");
    ok(dir.path(), "--data moved");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        names.push(entry.unwrap().file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["moved", "run"]);
}
