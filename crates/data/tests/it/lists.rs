//! Logs with a session in a row: items, times and kinds as lists.

use crate::common::*;
use polars::prelude::*;
use prl_data::{Columns, Options, Source, prepare_frame};
use prl_dataset::{Dataset, Kind};

fn read(columns: &str) -> Sessions {
    let options = parquet(golden("parquet_lists.parquet"), mapped(columns));
    Folder::new().prepare(&options).1
}

/// The events of one session as (item, seconds since 10:51:00, kind).
fn session(events: &[(&str, i64, Kind)]) -> Vec<(String, i64, Kind)> {
    let mut session = Vec::new();
    for &(item, second, kind) in events {
        session.push((item.into(), (1_396_867_860 + second) * 1000, kind));
    }
    session
}

#[test]
fn lists_are_exploded_in_their_order() {
    use Kind::{Click, Purchase};
    let expected = [
        session(&[
            ("4", 0, Purchase),
            ("30", 0, Click),
            ("4", 0, Click),
            ("30", 9, Click),
        ]),
        session(&[("4", 1, Click), ("5", 1, Click)]),
    ];
    let columns = "session=session,time=times,item=items,event=kinds";
    assert_eq!(read(columns), expected);
    // Sessions whose lists are empty or missing have no event.
    assert_eq!(read(&columns.replace("items", "large_items")), expected);
    assert_eq!(read(&columns.replace("items", "decimal_items")), expected);
}

#[test]
fn value_of_the_row_belongs_to_all_its_elements() {
    use Kind::Click;
    let expected = [
        session(&[
            ("4", 0, Click),
            ("30", 0, Click),
            ("4", 0, Click),
            ("30", 0, Click),
        ]),
        session(&[("4", 1, Click), ("5", 1, Click)]),
    ];
    assert_eq!(read("session=session,time=time,item=items"), expected);
}

#[test]
fn lists_without_times_are_in_the_order_of_the_log() {
    let mut seconds = Vec::new();
    for (_, time, _) in read("session=session,item=items").concat() {
        seconds.push(time / 1000);
    }
    assert_eq!(seconds, [0, 1, 2, 3, 4, 5]);
    let folder = Folder::new();
    let one_a_row = parquet(
        golden("parquet_types.parquet"),
        mapped("session=session,item=item"),
    );
    let error = folder.refused(&one_a_row);
    assert!(error.to_string().contains("time is missing"), "{error}");
    let input = folder.write("log.csv", "s,i\n1,1\n");
    let error = folder.refused(&csv(input, mapped("session=s,item=i")));
    assert!(error.to_string().contains("time is missing"), "{error}");
}

#[test]
fn lists_of_different_lengths_and_missing_elements_are_refused_with_their_row() {
    let folder = Folder::new();
    let says = |columns: &str, says: &str| {
        let options = parquet(golden("parquet_lists.parquet"), mapped(columns));
        let error = folder.refused(&options);
        assert!(
            error.is_bad_input() && error.to_string().contains(says),
            "{error}"
        );
    };
    says(
        "session=session,time=times,item=items,event=uneven",
        "row 2: column \"uneven\": found \"a list of 1\", expected a list of 2, as in column \"times\"",
    );
    says(
        "session=session,time=times,item=text_items",
        "row 2: column \"text_items\": found \"null\", expected an id",
    );
}

#[test]
fn frame_of_lists_gives_the_dataset_of_its_events() {
    let one_a_row = df!(
        "s" => [2, 1, 2, 3],
        "i" => ["a", "b", "c", "x"],
        "t" => [5, 6, 7, 8],
    )
    .unwrap();
    let strings = |items: &[&str]| Series::new("".into(), items);
    let numbers = |times: &[i64]| Series::new("".into(), times);
    let none = strings(&[]);
    let lists = df!(
        "s" => [2, 4, 1, 3],
        "i" => [strings(&["a", "c"]), none, strings(&["b"]), strings(&["x"])],
        "t" => [numbers(&[5, 7]), numbers(&[]), numbers(&[6]), numbers(&[8])],
    )
    .unwrap();
    let folder = Folder::new();
    let columns: Columns = "session=s,time=t,item=i".parse().unwrap();
    let prepared = |frame: DataFrame, name: &str| {
        let mut table = table();
        table.columns = Some(columns.clone());
        let options = Options::new(Source::Frame { table });
        let out = folder.path(name);
        prepare_frame(frame.lazy(), &options, &out).unwrap();
        let events = std::fs::read(out.join("events.safetensors")).unwrap();
        (events, Dataset::open(&out).unwrap().items().len())
    };
    let expected = prepared(one_a_row, "rows");
    assert_eq!(prepared(lists.clone(), "lists"), expected);
    // A part of a frame, and one with elements under a missing list.
    let doubled = lists.vstack(&lists).unwrap();
    assert_eq!(prepared(doubled.slice(4, 4), "part"), expected);
    let is_there = BooleanChunked::new("".into(), [true, true, true, false]);
    let hidden = |name: &str| {
        let column = lists.column(name).unwrap().as_materialized_series();
        let none = Series::full_null(name.into(), 4, column.dtype());
        column.zip_with(&is_there, &none).unwrap().into_column()
    };
    let mut hiding = lists.clone();
    hiding.with_column(hidden("i")).unwrap();
    hiding.with_column(hidden("t")).unwrap();
    assert_eq!(prepared(hiding, "hidden").1, 3);
}

#[test]
fn shared_case_of_lists_is_read_in_order() {
    let Some(case) = shared("cases/04-lists/sessions.parquet") else {
        return;
    };
    let columns = "session=session_id,time=ts-list,item=item_id-list,event=event-list";
    let sessions = Folder::new().prepare(&parquet(case, mapped(columns))).1;
    assert_eq!((sessions.len(), sessions.concat().len()), (30, 140));
    let first: Vec<&str> = sessions[0].iter().map(|event| event.0.as_str()).collect();
    assert_eq!(first, ["1011", "1002", "1009", "1007"]);
    assert_eq!(sessions[1][1].2, Kind::Purchase);
}
