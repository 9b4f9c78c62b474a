//! Small logs in the shapes of public reports, if present: `cases` in `../shared` beside the
//! repository.

use std::path::PathBuf;

use crate::common::*;
use prl_data::{InputPart, Inputs, Options, Source, Split, SplitRule, Table};
use prl_dataset::Dataset;

fn case(name: &str) -> Option<PathBuf> {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/cases");
    let path = PathBuf::from(shared).join(name);
    if !path.exists() {
        eprintln!("skipped: {name} is not at hand");
        return None;
    }
    Some(path)
}

fn table_of(columns: &str) -> Table {
    Table {
        columns: Some(columns.parse().unwrap()),
        ..Table::default()
    }
}

/// Clicks and purchases of a log.
fn counts(options: &Options) -> (u64, u64) {
    let folder = Folder::new();
    let counts = folder.prepare(options).0.input.counts.before_length_filter;
    (counts.clicks, counts.purchases)
}

#[test]
fn taobao_without_header_has_140_events() {
    let Some(input) = case("01-taobao/UserBehavior.csv") else {
        return;
    };
    let mut table = Table {
        click: vec!["pv".into()],
        purchase: vec!["buy".into()],
        ..table_of("session=1,item=2,event=4,time=5")
    };
    table.format.no_header = true;
    assert_eq!(counts(&csv(input, table)), (126, 14));
}

#[test]
fn otto_sessions_and_events_agree() {
    let (Some(sessions), Some(events)) =
        (case("03-otto/train.jsonl"), case("03-otto/events.jsonl"))
    else {
        return;
    };
    let jsonl = |input: PathBuf, table: Table| {
        let input = input.into();
        Options::new(Source::Jsonl { input, table })
    };
    let nested = Table {
        click: vec!["clicks".into(), "carts".into()],
        purchase: vec!["orders".into()],
        ..table_of("session=session,item=aid,time=ts,event=type")
    };
    let flat = Table {
        click: vec!["click".into()],
        purchase: vec!["purchase".into()],
        ..table_of("session=session,item=item,time=timestamp,event=type")
    };
    let all = Folder::new().prepare(&jsonl(sessions, nested)).1;
    let some = Folder::new().prepare(&jsonl(events, flat)).1;
    assert_eq!(all.iter().map(Vec::len).sum::<usize>(), 140);
    // The file of events holds the first ten sessions.
    assert_eq!(some.len(), 10);
    assert_eq!(some, all[..10]);
}

#[test]
fn recbole_benchmark_files_keep_their_split() {
    let Some(train) = case("05-recbole/click.train.inter") else {
        return;
    };
    let mut parts = Vec::new();
    for (name, split) in [
        ("train", Split::Train),
        ("valid", Split::Val),
        ("test", Split::Test),
    ] {
        let path = train.with_file_name(format!("click.{name}.inter"));
        parts.push(InputPart {
            split: Some(split),
            ..path.as_path().into()
        });
    }
    let options = Options {
        split: SplitRule::Given,
        ..Options::new(Source::Inter {
            input: Inputs(parts),
            delimiter: "tab".parse().unwrap(),
            table: Table::default(),
        })
    };
    let folder = Folder::new();
    let (_, sessions) = folder.prepare(&options);
    assert_eq!(sessions.len(), 30);
    assert_eq!(sessions.iter().map(Vec::len).sum::<usize>(), 140);
    // Every row is a target of its file's split: 60, 20 and 30. The first event of a session has no
    // row and belongs to the split of the second one.
    let data = Dataset::open(&folder.path("out")).unwrap();
    let mut targets = [0; 3];
    for session in data.sessions() {
        let splits = &data.splits()[session];
        for split in &splits[1..] {
            targets[*split as usize] += 1;
        }
        assert_eq!(splits[0], splits[1]);
    }
    assert_eq!(targets, [60, 20, 30]);
}

#[test]
fn inter_files_of_every_form_agree() {
    let Some(comma) = case("06-inter/comma.inter") else {
        return;
    };
    let read = |name: &str, delimiter: &str, columns: Option<&str>| {
        let folder = Folder::new();
        let options = Options::new(Source::Inter {
            input: comma.with_file_name(name).into(),
            delimiter: delimiter.parse().unwrap(),
            table: columns.map(table_of).unwrap_or_default(),
        });
        folder.prepare(&options).1
    };
    let expected = read("comma.inter", ",", None);
    assert_eq!(expected.iter().map(Vec::len).sum::<usize>(), 140);
    assert_eq!(read("space.inter", "space", None), expected);
    let named = Some("session=uid,item=iid,time=time");
    assert_eq!(read("named.inter", "tab", named), expected);
    let plain = Some("session=user_id,item=item_id,time=timestamp");
    assert_eq!(read("plain.inter", "tab", plain), expected);
}

#[test]
fn rows_without_an_id_are_refused_or_dropped_and_counted() {
    let (Some(rees), Some(nan)) = (case("08-rees46/2019-Oct.csv"), case("10-missing/nan.csv"))
    else {
        return;
    };
    let dropping = |mut table: Table| {
        table.rules.drop_missing = true;
        table
    };
    let rees_table = Table {
        click: vec!["view".into(), "cart".into(), "remove_from_cart".into()],
        purchase: vec!["purchase".into()],
        ..table_of("session=user_session,item=product_id,time=event_time,event=event_type")
    };
    let nan_table = table_of("session=session,item=item,time=time");
    for (input, table, missing, kept) in [(rees, rees_table, 1, 39), (nan, nan_table, 5, 141)] {
        let error = Folder::new()
            .refused(&csv(input.clone(), table.clone()))
            .to_string();
        assert!(error.contains("--drop-missing"), "{error}");
        let (manifest, sessions) = Folder::new().prepare(&csv(input, dropping(table)));
        assert_eq!(manifest.input.counts.dropped["missing_value"], missing);
        assert_eq!(sessions.iter().map(Vec::len).sum::<usize>(), kept);
        for (item, _, _) in sessions.iter().flatten() {
            assert!(item.parse::<u64>().is_ok(), "{item}");
        }
    }
}
