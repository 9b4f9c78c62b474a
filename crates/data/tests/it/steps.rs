//! Steps beside the protocol's: period, duplicates, sessions by a gap, repeats, repeated filters,
//! long sessions that are cut, a split by dates, named kinds and rewards, replacing.

use std::collections::BTreeMap;

use polars::prelude::*;
use prl_data::{Error, KindOptions, LongSessions, Options, SplitRule, Steps, Table, prepare};
use prl_dataset::{Dataset, Kind, Rewards, Split};

use crate::common::{Folder, Sessions, csv, parquet, rc15, retailrocket, table, table_with_events};

/// Events of a user `s` at the times `t`, in seconds, of the items `i`.
fn log(rows: &[(&str, i64, &str)]) -> String {
    let mut text = String::from("s,t,i\n");
    for (session, time, item) in rows {
        text += &format!("{session},{time},{item}\n");
    }
    text
}

/// Prepares the rows with `steps` and without a maximum length.
fn prepared(rows: &[(&str, i64, &str)], steps: Steps) -> (BTreeMap<String, u64>, Sessions) {
    let folder = Folder::new();
    let options = Options {
        steps,
        max_length: None,
        ..csv(folder.write("log.csv", log(rows)), table())
    };
    let (manifest, sessions) = folder.prepare(&options);
    let counts = manifest.input.counts;
    let after = counts.after_length_filter;
    let dropped: u64 = counts.dropped.values().sum();
    assert_eq!(rows.len() as u64, after.clicks + after.purchases + dropped);
    (counts.dropped, sessions)
}

/// Items of each session.
fn items(sessions: &Sessions) -> Vec<String> {
    let mut all = Vec::new();
    for session in sessions {
        let mut items = Vec::new();
        for (item, ..) in session {
            items.push(item.as_str());
        }
        all.push(items.join(" "));
    }
    all
}

fn counted(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let mut map = BTreeMap::new();
    for (reason, rows) in counts {
        map.insert((*reason).to_owned(), *rows);
    }
    map
}

#[test]
fn period_includes_its_start_and_excludes_its_end() {
    let rows = [
        ("a", 1_600_000_000, "x"),
        ("a", 1_600_000_010, "y"),
        ("a", 1_600_000_020, "z"),
        ("b", 1_600_000_030, "x"),
    ];
    let steps = Steps {
        from: Some("1600000010".parse().unwrap()),
        until: Some("2020-09-13T12:27:10Z".parse().unwrap()),
        ..Steps::default()
    };
    let (dropped, sessions) = prepared(&rows, steps);
    assert_eq!(items(&sessions), ["y z"]);
    assert_eq!(dropped, counted(&[("outside_period", 2)]));
}

#[test]
fn duplicates_agree_in_everything_and_the_first_is_kept() {
    let rows = [
        ("a", 1_600_000_000, "x"),
        ("a", 1_600_000_000, "y"),
        ("a", 1_600_000_000, "x"),
        ("b", 1_600_000_000, "x"),
        ("a", 1_600_000_001, "x"),
        ("a", 1_600_000_000, "x"),
    ];
    let steps = Steps {
        drop_duplicates: true,
        ..Steps::default()
    };
    let (dropped, sessions) = prepared(&rows, steps);
    assert_eq!(items(&sessions), ["x y x", "x"]);
    assert_eq!(dropped, counted(&[("duplicate", 2)]));
}

#[test]
fn repeat_has_the_item_and_kind_of_the_event_before_in_time() {
    let folder = Folder::new();
    let text = "s,t,i,e\na,5,x,view\na,1,x,view\na,2,x,view\na,3,x,buy\na,4,x,buy\na,6,y,view\nb,7,y,view\n";
    let mut options = csv(folder.write("log.csv", text), table_with_events());
    options.steps.drop_repeats = true;
    let (manifest, sessions) = folder.prepare(&options);
    let event = |item: &str, seconds: i64, kind| (item.to_owned(), seconds * 1000, kind);
    let expected = vec![
        vec![
            event("x", 1, Kind::Click),
            event("x", 3, Kind::Purchase),
            event("x", 5, Kind::Click),
            event("y", 6, Kind::Click),
        ],
        vec![event("y", 7, Kind::Click)],
    ];
    assert_eq!(sessions, expected);
    assert_eq!(manifest.input.counts.dropped, counted(&[("repeat", 2)]));
}

#[test]
fn sessions_of_a_user_begin_where_more_than_the_gap_passes() {
    let start = 1_600_000_000;
    let rows = [
        ("10", start + 1800, "b"),
        ("9", start, "a"),
        ("10", start, "a"),
        ("10", start + 3601, "c"),
        ("10", start + 9000, "d"),
        ("9", start + 60, "b"),
    ];
    let steps = Steps {
        session_gap: Some("30m".parse().unwrap()),
        ..Steps::default()
    };
    let folder = Folder::new();
    let file = folder.path("events.parquet");
    let options = Options {
        steps: steps.clone(),
        parquet: Some(file.clone()),
        ..csv(folder.write("log.csv", log(&rows)), table())
    };
    let (_, sessions) = folder.prepare(&options);
    // 30 minutes are no gap, one second more is; users sort as numbers.
    assert_eq!(items(&sessions), ["a b", "a b", "c", "d"]);
    let events = std::fs::File::open(file).unwrap();
    let events = ParquetReader::new(events).finish().unwrap();
    let ids: Vec<String> = events
        .column("session")
        .unwrap()
        .str()
        .unwrap()
        .iter()
        .map(|id| id.unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        [
            "9_1600000000000",
            "9_1600000000000",
            "10_1600000000000",
            "10_1600000000000",
            "10_1600003601000",
            "10_1600009000000"
        ]
    );
}

#[test]
fn filters_run_once_or_until_stable() {
    // Once: "b" has two events, then "y" and "z" have one each and are dropped. "a" is left with
    // one event, which only another pass drops, and then the item "x" with it.
    let rows = [
        ("a", 1, "x"),
        ("a", 2, "y"),
        ("b", 3, "x"),
        ("b", 4, "z"),
        ("c", 5, "w"),
        ("c", 6, "w"),
        ("d", 7, "x"),
    ];
    let filtered = |filter_until_stable| {
        let folder = Folder::new();
        let table = Table {
            min_session_events: 2,
            min_item_events: 2,
            ..table()
        };
        let mut options = csv(folder.write("log.csv", log(&rows)), table);
        options.steps.filter_until_stable = filter_until_stable;
        let (manifest, sessions) = folder.prepare(&options);
        (manifest.input.counts.dropped, items(&sessions))
    };
    let (dropped, sessions) = filtered(false);
    assert_eq!(sessions, ["x", "x", "w w"]);
    assert_eq!(dropped, counted(&[("short_session", 1), ("rare_item", 2)]));
    let (dropped, sessions) = filtered(true);
    assert_eq!(sessions, ["w w"]);
    assert_eq!(dropped, counted(&[("short_session", 3), ("rare_item", 2)]));
}

#[test]
fn long_session_is_dropped_or_cut_or_keeps_its_last_events() {
    let mut rows = Vec::new();
    for (n, item) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate() {
        rows.push(("7", n as i64, item));
    }
    rows.push(("8", 1, "a"));
    rows.push(("8", 2, "b"));
    rows.push(("8", 3, "c"));
    let cut = |long_sessions| {
        let folder = Folder::new();
        let file = folder.path("events.parquet");
        let options = Options {
            steps: Steps {
                long_sessions,
                ..Steps::default()
            },
            max_length: Some(3),
            parquet: Some(file.clone()),
            ..csv(folder.write("log.csv", log(&rows)), table())
        };
        let (manifest, sessions) = folder.prepare(&options);
        let events = std::fs::File::open(file).unwrap();
        let events = ParquetReader::new(events).finish().unwrap();
        let ids = events.column("session").unwrap().n_unique().unwrap();
        assert_eq!(ids, sessions.len());
        (manifest.input.counts.dropped, items(&sessions))
    };
    assert_eq!(
        cut(LongSessions::Drop),
        (counted(&[("long_session", 7)]), vec!["a b c".to_owned()])
    );
    assert_eq!(
        cut(LongSessions::Last),
        (
            counted(&[("long_session_start", 4)]),
            vec!["e f g".to_owned(), "a b c".to_owned()]
        )
    );
    let (dropped, sessions) = cut(LongSessions::Split);
    assert_eq!(sessions, ["a b c", "d e f", "g", "a b c"]);
    assert!(dropped.is_empty());
}

#[test]
fn piece_of_a_session_with_the_id_of_another_is_refused() {
    let rows = [("7", 1, "a"), ("7", 2, "b"), ("7/2", 1, "a")];
    let folder = Folder::new();
    let options = Options {
        steps: Steps {
            long_sessions: LongSessions::Split,
            ..Steps::default()
        },
        max_length: Some(1),
        ..csv(folder.write("log.csv", log(&rows)), table())
    };
    let error = folder.refused(&options).to_string();
    assert!(error.contains("the id \"7/2\""), "{error}");
}

#[test]
fn split_by_dates_goes_by_the_last_event_of_a_session() {
    let day = 86_400;
    let rows = [
        ("a", 0, "x"),
        ("b", day - 1, "x"),
        ("c", 0, "x"),
        ("c", day, "x"),
        ("d", 2 * day, "x"),
        ("e", 3 * day, "x"),
    ];
    let split_at = |dates: &str| {
        let folder = Folder::new();
        let mut options = csv(folder.write("log.csv", log(&rows)), table());
        options.split = SplitRule::Date;
        for date in dates.split(',') {
            options.steps.split_at.push(date.parse().unwrap());
        }
        if let Err(error) = prepare(&options, &folder.path("out")) {
            return Err(error.to_string());
        }
        let data = Dataset::open(&folder.path("out")).unwrap();
        let mut splits = Vec::new();
        for session in data.sessions() {
            splits.push(data.splits()[session.start]);
            assert!(
                data.splits()[session.clone()]
                    .iter()
                    .all(|s| *s == splits[splits.len() - 1])
            );
        }
        Ok(splits)
    };
    use Split::{Test, Train, Val};
    assert_eq!(
        split_at("1970-01-02").unwrap(),
        [Train, Train, Test, Test, Test]
    );
    assert_eq!(
        split_at("1970-01-02,1970-01-03").unwrap(),
        [Train, Train, Val, Test, Test]
    );
    let error = split_at("1971-01-02").unwrap_err();
    assert!(
        error.contains("no session for test: sessions end from 1970-01-01T00:00:00Z to 1970-01-04"),
        "{error}"
    );
    assert!(split_at("1970-01-01").unwrap_err().contains("for train"));
    assert!(
        split_at("1970-01-03,1970-01-02")
            .unwrap_err()
            .contains("ascending")
    );
}

#[test]
fn named_kinds_are_kept_with_their_rewards() {
    let folder = Folder::new();
    let text = "s,t,i,e\na,1,x,view\na,2,x,cart\na,3,x,buy\nb,1,x,view\nb,2,y,like\n";
    let mut table = table_with_events();
    table.click.push("like".into());
    let plain = csv(folder.write("log.csv", text), table.clone());
    table.kinds = KindOptions {
        keep_kinds: false,
        rewards: BTreeMap::from([("cart".into(), 0.5), ("buy".into(), 2.0)]),
    };
    let named = csv(folder.path("log.csv"), table);
    // Without a reward the kind "cart" is unknown.
    assert!(matches!(folder.refused(&plain), Error::Kinds { .. }));
    let (manifest, sessions) = folder.prepare(&named);
    assert_eq!(manifest.format_version, 2);
    let mut kinds = Vec::new();
    for kind in &manifest.kinds {
        kinds.push((kind.name.as_str(), kind.role, kind.reward));
    }
    assert_eq!(
        kinds,
        [
            ("view", Kind::Click, None),
            ("like", Kind::Click, None),
            ("buy", Kind::Purchase, Some(2.0)),
            ("cart", Kind::Click, Some(0.5)),
        ]
    );
    assert_eq!(sessions[0][1], ("x".into(), 2000, Kind::Click));
    let data = Dataset::open(&folder.path("out")).unwrap();
    assert_eq!(data.labels(), [0, 3, 2, 0, 1]);
    let mut rewards = Vec::new();
    for event in 0..5 {
        rewards.push(data.rewards().of(event, Rewards::default()));
    }
    assert_eq!(rewards, [0.2, 0.5, 2.0, 0.2, 0.2]);
}

#[test]
fn kinds_without_names_leave_the_dataset_as_it_was() {
    let folder = Folder::new();
    let text = "s,t,i,e\na,1,x,view\na,2,x,buy\n";
    let mut options = csv(folder.write("log.csv", text), table_with_events());
    let (plain, _) = folder.prepare(&options);
    assert_eq!(plain.format_version, 1);
    assert!(plain.kinds.is_empty());
    if let prl_data::Source::Csv { table, .. } = &mut options.source {
        table.kinds.keep_kinds = true;
    }
    let (named, _) = folder.prepare(&options);
    assert_eq!((named.format_version, named.kinds.len()), (2, 2));
    assert_ne!(named.dataset, plain.dataset);
}

#[test]
fn steps_that_a_source_or_another_step_excludes_are_refused() {
    let folder = Folder::new();
    let file = folder.write("log.csv", "s,t,i\na,1,x\n");
    let refused = |options: &Options, says: &str| {
        let error = folder.refused(options);
        assert!(matches!(error, Error::Options(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let mut options = rc15(file.clone(), file.clone());
    options.steps.drop_repeats = true;
    refused(&options, "rc15 samples");
    let mut options = csv(file.clone(), table());
    options.steps.from = Some("2020-01-02".parse().unwrap());
    options.steps.until = Some("2020-01-02".parse().unwrap());
    refused(&options, "no time is from 2020-01-02T00:00:00Z");
    let mut options = csv(file.clone(), table());
    options.steps.long_sessions = LongSessions::Last;
    options.max_length = None;
    refused(&options, "maximum length");
    let mut options = csv(file.clone(), table());
    options.split = SplitRule::Date;
    refused(&options, "split by date needs");
    let mut with_events = table_with_events();
    with_events.kinds.rewards = BTreeMap::from([("cart".into(), -1.0)]);
    refused(&csv(file, with_events), "at least 0");
}

#[test]
fn retailrocket_takes_the_steps_before_its_filters() {
    let folder = Folder::new();
    let mut text = String::from("timestamp,visitorid,event,itemid,transactionid\n");
    for n in 0..6 {
        text += &format!("{},1,view,{},\n", 1_433_221_332_000_i64 + n * 1000, n % 2);
    }
    text += "1433221332000,1,transaction,9,5\n1533221332000,1,view,0,\n";
    let mut options = retailrocket(folder.write("events.csv", text));
    options.steps.session_gap = Some("1d".parse().unwrap());
    let (manifest, sessions) = folder.prepare(&options);
    // The last view is a session of its own, which is short.
    assert_eq!(items(&sessions), ["0 1 0 1 0 1"]);
    assert_eq!(
        manifest.input.counts.dropped,
        counted(&[("short_session", 1), ("transaction", 1)])
    );
}

#[test]
fn another_dataset_is_replaced_only_on_request() {
    let folder = Folder::new();
    let one = csv(folder.write("one.csv", "s,t,i\na,1,x\na,2,y\n"), table());
    let other = csv(folder.write("other.csv", "s,t,i\na,1,x\na,2,z\n"), table());
    let out = folder.path("out");
    let first = prepare(&one, &out).unwrap();
    let error = folder.refused(&other).to_string();
    assert!(
        error.contains(&first.dataset) && error.contains("--replace"),
        "{error}"
    );
    assert_eq!(
        Dataset::open(&out).unwrap().manifest().dataset,
        first.dataset
    );
    // The same dataset may be prepared again.
    assert_eq!(prepare(&one, &out).unwrap(), first);
    let mut replacing = other;
    replacing.output.replace = true;
    let second = prepare(&replacing, &out).unwrap();
    assert_ne!(second.dataset, first.dataset);
    assert_eq!(Dataset::open(&out).unwrap().manifest(), &second);
}

#[test]
fn parquet_takes_the_steps_too() {
    let folder = Folder::new();
    let mut frame =
        df!("s" => ["a", "a", "a"], "t" => [0_i64, 10, 5000], "i" => [1_i64, 1, 2]).unwrap();
    let file = folder.path("log.parquet");
    ParquetWriter::new(std::fs::File::create(&file).unwrap())
        .finish(&mut frame)
        .unwrap();
    let mut options = parquet(file, table());
    options.steps.session_gap = Some("1h".parse().unwrap());
    options.steps.drop_repeats = true;
    let (manifest, sessions) = folder.prepare(&options);
    assert_eq!(items(&sessions), ["1", "2"]);
    assert_eq!(manifest.input.counts.dropped, counted(&[("repeat", 1)]));
}

#[test]
fn value_is_the_reward_of_an_event_whose_kind_has_none() {
    let folder = Folder::new();
    let text = "s,t,i,e,price\na,1,x,view,3\na,2,x,buy,9.5\na,3,y,buy,\na,4,z,buy,NULL\n";
    let mut table = table_with_events();
    table.columns = Some(
        "session=s,time=t,item=i,event=e,value=price"
            .parse()
            .unwrap(),
    );
    table.kinds.rewards = BTreeMap::from([("view".into(), 0.125)]);
    let options = csv(folder.write("log.csv", text), table.clone());
    let (manifest, _) = folder.prepare(&options);
    assert_eq!(manifest.format_version, 2);
    let data = Dataset::open(&folder.path("out")).unwrap();
    let rewards = Rewards {
        click: 1.0,
        purchase: 4.0,
    };
    let mut found = Vec::new();
    for event in 0..4 {
        found.push(data.rewards().of(event, rewards));
    }
    assert_eq!(found, [0.125, 9.5, 4.0, 4.0]);
    // Without rewards of kinds the values are those of all events, and no names are kept.
    table.kinds.rewards.clear();
    let (manifest, _) = folder.prepare(&csv(folder.path("log.csv"), table.clone()));
    assert!(manifest.kinds.is_empty());
    let data = Dataset::open(&folder.path("out")).unwrap();
    assert!(data.labels().is_empty());
    assert_eq!(data.rewards().of(0, rewards), 3.0);
    for wrong in ["-1", "much", "inf"] {
        let text = format!("s,t,i,e,price\na,1,x,view,{wrong}\n");
        let error = folder.refused(&csv(folder.write("wrong.csv", text), table.clone()));
        let expected = "wrong.csv:2: column \"price\"";
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            error.to_string().contains("a number of at least 0"),
            "{error}"
        );
    }
}
