//! Irregularities that the readers report, with counts and examples.

use crate::delimited;
use crate::findings::{FindingReason, Sentence};
use crate::input::Input;
use crate::log::Log;
use crate::options::{Delimiter, Table, TimeUnit};

fn read(text: &str, table: &Table, delimiter: Delimiter) -> Log {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.csv");
    std::fs::write(&path, text).unwrap();
    let input = Input {
        path,
        name: "log.csv".into(),
        ..Input::default()
    };
    let read = match delimiter {
        Delimiter::TAB => delimited::read_inter(&[input], delimiter, table),
        _ => delimited::read_csv(&[input], delimiter, table),
    };
    read.unwrap().0
}

fn table() -> Table {
    Table {
        columns: Some("session=s,time=t,item=i".parse().unwrap()),
        ..Table::default()
    }
}

/// Reason, number of rows, and the line, column and text of the example.
fn found(log: &Log) -> Vec<(FindingReason, u64, String)> {
    let mut found = Vec::new();
    for (reason, finding) in log.findings.iter() {
        let sentence = Sentence(reason, finding).to_string();
        let (_, example) = sentence.split_once("log.csv").unwrap_or(("", &sentence));
        found.push((reason, finding.count, example.to_owned()));
    }
    found
}

#[test]
fn cells_that_look_like_lists_are_counted_over_all_chunks() {
    let mut text = String::from("s,t,i\n1,1511883669,5\n");
    for i in 0..100 {
        text += &format!("1,{},\"[{i}, 2, 3]\"\n", 1_511_883_670 + i);
        text += &format!("1,{},iPhone {i}\n", 1_511_883_670 + i);
        text += &format!("1,{},{i}|2\n", 1_511_883_670 + i);
    }
    let log = read(&text, &table(), Delimiter::COMMA);
    let expected = ":3: column \"i\": \"[0, 2, 3]\"".to_owned();
    assert_eq!(found(&log), [(FindingReason::ListLikeId, 200, expected)]);
    assert_eq!(log.events.height(), 301);
}

#[test]
fn numbers_in_another_unit_than_the_given_are_counted() {
    let text = "s,t,i\n1,1511883669000,5\n1,1511883670,5\n1,1511883671,5\n";
    let table = Table {
        time_unit: TimeUnit::Milliseconds,
        ..table()
    };
    let log = read(text, &table, Delimiter::COMMA);
    let expected = ":3: column \"t\": \"1511883670\"".to_owned();
    assert_eq!(found(&log), [(FindingReason::OtherTimeUnit, 2, expected)]);
}

#[test]
fn local_times_that_occur_twice_are_counted() {
    let mut table = table();
    table.rules.time_zone = Some("Europe/Amsterdam".into());
    let text = "s,t,i\n1,2019-10-27 01:30,5\n1,2019-10-27 02:30,5\n1,2019-10-27 02:45,5\n";
    let log = read(text, &table, Delimiter::COMMA);
    let expected = ":3: column \"t\": \"2019-10-27 02:30\"".to_owned();
    assert_eq!(
        found(&log),
        [(FindingReason::AmbiguousLocalTime, 2, expected)]
    );
}

#[test]
fn header_of_numbers_is_found() {
    let table = Table {
        columns: Some("session=1,time=2,item=3".parse().unwrap()),
        ..Table::default()
    };
    let log = read("1,2,3\n7,1511883669,5\n", &table, Delimiter::COMMA);
    let expected = ":1: column \"header\": \"1, 2, 3\"".to_owned();
    assert_eq!(found(&log), [(FindingReason::NumberedHeader, 1, expected)]);
}

#[test]
fn times_against_the_order_of_a_list_are_counted() {
    let text = "user_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float\n\
                7\ta\tb\t1511883669\n7\ta b\tc\t1511883660\n7\ta b c\td\t1511883670\n";
    let log = read(text, &Table::default(), Delimiter::TAB);
    let found = found(&log);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].0, found[0].1),
        (FindingReason::TimeAgainstList, 1)
    );
    assert!(
        found[0].2.contains("session \"7\" has times that go back"),
        "{found:?}"
    );
}

#[test]
fn plain_log_has_no_findings() {
    let log = read(
        "s,t,i\n1,1511883669,a b\n1.0,5,iPhone 12\n",
        &table(),
        Delimiter::COMMA,
    );
    assert_eq!(found(&log), []);
}
