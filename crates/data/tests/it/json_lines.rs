//! Logs in JSON lines: an event a line, a session a line, lists in parallel.

use crate::common::*;
use prl_data::{Options, Source, Table};
use prl_dataset::Kind;

fn jsonl(folder: &Folder, text: &str, table: Table) -> Options {
    let input = folder.write("log.jsonl", text).into();
    Options::new(Source::Jsonl { input, table })
}

fn kinds(columns: &str, click: &str, purchase: &str) -> Table {
    Table {
        columns: Some(columns.parse().unwrap()),
        click: click.split(',').map(str::to_owned).collect(),
        purchase: vec![purchase.to_owned()],
        ..Table::default()
    }
}

const NESTED: &str = r#"{"session": 1, "events": [{"aid": 1011, "ts": 1511883669000, "type": "clicks"}, {"aid": 1002, "ts": 1511883811000, "type": "orders"}]}

{"session": 2, "events": []}
{"session": 3, "events": [{"type": "carts", "aid": 1011, "ts": 1511883700000, "extra": {"a": [1]}}]}
"#;

fn expected() -> Sessions {
    let event = |item: &str, seconds: i64, kind| (item.to_owned(), seconds * 1000, kind);
    vec![
        vec![
            event("1011", 1_511_883_669, Kind::Click),
            event("1002", 1_511_883_811, Kind::Purchase),
        ],
        vec![event("1011", 1_511_883_700, Kind::Click)],
    ]
}

#[test]
fn session_a_line_and_event_a_line_are_the_same_log() {
    let folder = Folder::new();
    let otto = || {
        kinds(
            "session=session,item=aid,time=ts,event=type",
            "clicks,carts",
            "orders",
        )
    };
    let (manifest, sessions) = folder.prepare(&jsonl(&folder, NESTED, otto()));
    assert_eq!(sessions, expected());
    assert_eq!(manifest.input.source.kind, "jsonl");
    assert_eq!(manifest.input.source.files[0].rows, 3);
    let paths = "session=session,item=events.aid,time=events.ts,event=events.type";
    let paths = kinds(paths, "clicks,carts", "orders");
    assert_eq!(folder.prepare(&jsonl(&folder, NESTED, paths)).1, expected());

    let events = concat!(
        r#"{"session": "1", "aid": "1011", "ts": "1511883669000", "type": "clicks"}"#,
        "\r\n",
        r#"{"type": "orders", "ts": 1511883811000, "aid": 1002.0, "session": 1}"#,
        "\n",
        r#"{"session": 3, "aid": 1011, "ts": 1.5118837e12, "type": "carts", "x": null}"#,
    );
    assert_eq!(
        folder.prepare(&jsonl(&folder, events, otto())).1,
        expected()
    );
}

#[test]
fn lists_in_parallel_are_the_events_of_a_session() {
    let folder = Folder::new();
    let text = r#"{"user": {"id": 1}, "items": [1011, 1002], "times": [1511883669, 1511883811], "kinds": ["v", "b"]}
{"user": {"id": 3}, "items": [1011], "times": 1511883700, "kinds": "v"}
"#;
    let table = || {
        kinds(
            "session=user.id,item=items,time=times,event=kinds",
            "v",
            "b",
        )
    };
    assert_eq!(folder.prepare(&jsonl(&folder, text, table())).1, expected());
    let uneven = text.replace(", 1511883811]", "]");
    let error = folder
        .refused(&jsonl(&folder, &uneven, table()))
        .to_string();
    for part in ["log.jsonl:1:", "\"times\"", "a list of 1", "a list of 2"] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn fault_has_its_line_and_field_or_column() {
    let flat = || Table {
        columns: Some("session=s,time=t,item=i".parse().unwrap()),
        ..Table::default()
    };
    let good = r#"{"s": 1, "t": 1511883669, "i": "a"}"#;
    for (line, says) in [
        (
            r#"{"s": 1, "t": 1, "i": "a""#,
            &["log.jsonl:2:", "column 25", "one line"][..],
        ),
        (
            r#"{"s": NaN}"#,
            &["log.jsonl:2:", "not valid JSON", "column 7"],
        ),
        (
            r#"[{"s": 1}]"#,
            &["log.jsonl:2:", "a list of 1 where an object is due"],
        ),
        ("7", &["log.jsonl:2:", "an object a line"]),
        (
            r#"{"s": 1, "t": "soon", "i": "a"}"#,
            &["log.jsonl:2:", "\"t\"", "\"soon\""],
        ),
        (
            r#"{"s": 1, "t": 1511883669, "i": {"a": 1}}"#,
            &["log.jsonl:2:", "\"i\"", "an object"],
        ),
        (
            r#"{"s": 1, "t": 1511883669, "i": 1.5}"#,
            &["log.jsonl:2:", "\"i\"", "\"1.5\""],
        ),
        (
            r#"{"s": 1, "t": 1511883669, "i": 1e20}"#,
            &["log.jsonl:2:", "\"i\"", "or text"],
        ),
        (
            r#"{"s": 1, "s": 2, "t": 1511883669, "i": 1}"#,
            &["log.jsonl:2:", "\"s\"", "twice"],
        ),
        (
            r#"{"s": 1, "t": 1511883669, "i": null}"#,
            &["log.jsonl:2:", "\"i\"", "--drop-missing"],
        ),
        (
            r#"{"s": 1, "t": 1511883669}"#,
            &["log.jsonl:2:", "\"i\"", "1 row;"],
        ),
    ] {
        let folder = Folder::new();
        let text = format!("{good}\n{line}\n{good}\n");
        let error = folder.refused(&jsonl(&folder, &text, flat()));
        assert!(error.is_bad_input(), "{error}");
        let message = error.to_string();
        for part in says {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}

#[test]
fn field_that_no_line_has_is_named() {
    let folder = Folder::new();
    let table = Table {
        columns: Some("session=s,time=t,item=sku".parse().unwrap()),
        ..Table::default()
    };
    let text = r#"{"s": 1, "t": 1511883669, "i": "a"}"#;
    let error = folder
        .refused(&jsonl(&folder, text, table.clone()))
        .to_string();
    assert!(
        error.contains("no column \"sku\"; the columns are s, t, i"),
        "{error}"
    );
    for (text, says) in [
        ("", "the file holds no event"),
        ("{\"s\": 1, \"events\": []}\n", "no event"),
    ] {
        let error = folder
            .refused(&jsonl(&folder, text, table.clone()))
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn list_without_times_is_in_order_and_event_without_one_is_refused() {
    let folder = Folder::new();
    let table = || Table {
        columns: Some("session=s,item=i".parse().unwrap()),
        ..Table::default()
    };
    let text = r#"{"s": 1, "events": [{"i": "b"}, {"i": "a"}]}"#;
    let sessions = folder.prepare(&jsonl(&folder, text, table())).1;
    assert_eq!(
        (sessions[0][0].0.as_str(), sessions[0][1].0.as_str()),
        ("b", "a")
    );
    let lists = r#"{"s": 1, "i": ["b", "a"]}"#;
    assert_eq!(folder.prepare(&jsonl(&folder, lists, table())).1, sessions);
    let error = folder.refused(&jsonl(&folder, r#"{"s": 1, "i": "b"}"#, table()));
    assert!(error.to_string().contains("time is missing"), "{error}");
}

#[test]
fn json_given_as_csv_names_the_source() {
    let folder = Folder::new();
    let error = folder
        .refused(&csv(folder.write("log.csv", NESTED), table()))
        .to_string();
    assert!(
        error.contains("log.csv:1:") && error.contains("--source jsonl"),
        "{error}"
    );
}

#[test]
fn large_file_of_long_lines_is_read_in_chunks() {
    let folder = Folder::new();
    let mut text = String::new();
    for session in 0..2000 {
        let mut events = Vec::new();
        for step in 0..50 {
            let ts = 1_511_883_669_000_i64 + step * 1000;
            events.push(format!(
                r#"{{"aid": "item {step}", "ts": {ts}, "padding": "{}"}}"#,
                "x".repeat(50)
            ));
        }
        text += &format!(
            "{{\"session\": {session}, \"events\": [{}]}}\n",
            events.join(", ")
        );
    }
    let table = Table {
        columns: Some("session=session,item=aid,time=ts".parse().unwrap()),
        ..Table::default()
    };
    let (manifest, sessions) = folder.prepare(&jsonl(&folder, &text, table));
    assert_eq!(manifest.input.counts.before_length_filter.clicks, 100_000);
    assert_eq!(sessions.len(), 2000);
    assert_eq!(sessions[1999][49].0, "item 49");
}

const ARMS_LOG: &str = r#"{"v":1,"kind":"event","time":1511883669000,"session":"1","item":"1011","event":"click"}
{"v":1,"kind":"answer","time":1511883669500,"experiment":"e","session":"1","step":1,"arm":"a","p":0.5,"model":"m","items":["7","8"],"scores":[1.5,0.5]}
{"v":1,"kind":"event","time":1511883811000,"session":"1","item":"1002","event":"purchase","value":19.5}
{"v":1,"kind":"event","time":1511883700000,"session":"3","item":"1011","event":"click"}
"#;

#[test]
fn events_of_an_experiments_log_are_read_without_answers_and_torn_lines() {
    let folder = Folder::new();
    let answers = ARMS_LOG.lines().nth(1).unwrap();
    folder.write("log/a.jsonl", &format!("{ARMS_LOG}{}", &ARMS_LOG[..50]));
    folder.write("log/b.jsonl", &format!("{answers}\n"));
    let prepared = |has_value: bool| {
        let input = folder.path("log").into();
        let table = Table::of_arms_log(has_value);
        folder.prepare(&Options::new(Source::ArmsLog { input, table }))
    };
    let (manifest, sessions) = prepared(false);
    assert_eq!(sessions, expected());
    assert_eq!(manifest.input.source.kind, "arms-log");
    let rows: Vec<_> = manifest
        .input
        .source
        .files
        .iter()
        .map(|file| file.rows)
        .collect();
    assert_eq!(rows, [3, 0]);
    assert_eq!(prepared(true).1, expected());

    for (line, says) in [
        (
            r#"{"s": 1, "t": 1, "i": "a"}"#,
            &["log.jsonl:1:", "kind", "--source jsonl"][..],
        ),
        (
            r#"{"kind": "reward"}"#,
            &["log.jsonl:1:", "\"reward\"", "--source jsonl"],
        ),
        (answers, &["no session is left of 0 rows"]),
    ] {
        let input = folder.write("log.jsonl", &format!("{line}\n")).into();
        let table = Table::of_arms_log(false);
        let error = folder
            .refused(&Options::new(Source::ArmsLog { input, table }))
            .to_string();
        for part in says {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
}
