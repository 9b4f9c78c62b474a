//! Single values: missing ones, ids in several forms, and times.

use crate::common::*;
use prl_data::{Options, Table, TimeUnit};

/// First item and time of each session.
fn firsts(folder: &Folder, options: &Options) -> Vec<(String, i64)> {
    let mut firsts = Vec::new();
    for session in folder.prepare(options).1 {
        firsts.push((session[0].0.clone(), session[0].1));
    }
    firsts
}

fn log(folder: &Folder, rows: &str, table: Table) -> Options {
    csv(folder.write("log.csv", format!("s,t,i\n{rows}")), table)
}

#[track_caller]
fn refused(rows: &str, table: Table, says: &[&str]) {
    let folder = Folder::new();
    let message = folder.refused(&log(&folder, rows, table)).to_string();
    for part in says {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// Milliseconds of the one event of a log.
#[track_caller]
fn time(text: &str, table: Table) -> i64 {
    let folder = Folder::new();
    let options = log(&folder, &format!("1,{text},a\n"), table);
    firsts(&folder, &options)[0].1
}

const MISSING: &str = "1,1511883669,a\nNULL,1511883670,a\n1,1511883671,NaN\n2,1511883672,b\n\\N,,\n nan ,1511883673,None\n";

#[test]
fn missing_ids_are_one_message_with_their_number() {
    let says = [
        "log.csv:3:",
        "\"s\"",
        "\"NULL\"",
        "4 rows",
        "--drop-missing",
        "--missing",
    ];
    refused(MISSING, table(), &says);
    refused(
        "1,1511883669,a\n,1511883670,a\n",
        table(),
        &["log.csv:3:", "1 row;"],
    );
    refused(
        "1,1511883669,a\n1,NaN,a\n",
        table(),
        &["log.csv:3:", "\"t\"", "a time; "],
    );
}

#[test]
fn missing_ids_are_dropped_and_counted_on_request() {
    let folder = Folder::new();
    let mut dropping = table();
    dropping.rules.drop_missing = true;
    let (manifest, sessions) = folder.prepare(&log(&folder, MISSING, dropping));
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        (sessions[0][0].0.as_str(), sessions[1][0].0.as_str()),
        ("a", "b")
    );
    assert_eq!(manifest.input.counts.dropped["missing_value"], 4);
    assert_eq!(manifest.input.options["drop_missing"], true);
}

#[test]
fn given_words_are_missing_in_place_of_the_usual() {
    let folder = Folder::new();
    let with_words = |words: &[&str]| {
        let mut table = table();
        table.rules.missing = Some(words.iter().map(|&word| word.to_owned()).collect());
        table.rules.drop_missing = true;
        table
    };
    let rows = "NULL,1511883669,a\n-1,1511883670,b\n2,1511883671,c\n";
    let all = firsts(&folder, &log(&folder, rows, with_words(&[])));
    assert_eq!(all.len(), 3);
    let no_minus = firsts(&folder, &log(&folder, rows, with_words(&["-1"])));
    assert_eq!(no_minus.len(), 2);
}

#[test]
fn whole_number_is_one_id_with_a_fraction_of_zeros_or_without() {
    let folder = Folder::new();
    let rows = "1,1511883669,1001\n1.0,1511883670,1001.0\n2,1511883671,9\n";
    let (_, sessions) = folder.prepare(&log(&folder, rows, table()));
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        (sessions[0][0].0.as_str(), sessions[0][1].0.as_str()),
        ("1001", "1001")
    );
}

#[test]
fn unusual_ids_are_text() {
    let folder = Folder::new();
    let rows = "-7,1511883669,\"a, b\"\n18446744073709551616,1511883670,x y\n5,1511883671,-1\n";
    let items: Vec<String> = firsts(&folder, &log(&folder, rows, table()))
        .into_iter()
        .map(|(item, _)| item)
        .collect();
    // Sessions in the order of bytes: "-7", "18446744073709551616", "5".
    assert_eq!(items, ["a, b", "x y", "-1"]);
}

#[test]
fn times_in_two_units_are_refused_with_a_line() {
    let rows = "1,1511883669000,a\n1,1511883670,a\n1,1511883671000,a\n1,1511883672,a\n";
    let says = [
        "log.csv:3:",
        "\"1511883670\"",
        "2 rows",
        "milliseconds",
        "--time-unit",
    ];
    refused(rows, table(), &says);
    let mut millis = table();
    millis.time_unit = TimeUnit::Milliseconds;
    let folder = Folder::new();
    assert_eq!(folder.prepare(&log(&folder, rows, millis)).1[0].len(), 4);
}

#[test]
fn times_of_databases_and_spreadsheets_are_read_or_name_the_flag() {
    // Python: datetime(2019, 10, 1, tzinfo=timezone.utc).timestamp() == 1569888000
    let day = 1_569_888_000_000;
    assert_eq!(time("2019-10-01 00:00:00 UTC", table()), day);
    assert_eq!(time("2019-10-01T02:00:00.123456+02", table()), day + 123);
    assert_eq!(time("2019/10/01 0:00", table()), day);
    assert_eq!(time("1569888000.25", table()), day + 250);
    refused(
        "1,10/1/2019 0:00,a\n",
        table(),
        &["log.csv:2:", "--time-format"],
    );
    let mut excel = table();
    excel.time_unit = TimeUnit::Excel;
    assert_eq!(time("43739.5", excel), day + 43_200_000);
    let formatted = |format: &str, zone: Option<&str>| {
        let mut table = table();
        table.rules.time_format = Some(format.into());
        table.rules.time_zone = zone.map(str::to_owned);
        table
    };
    assert_eq!(
        time("10/1/2019 0:00", formatted("%m/%d/%Y %H:%M", None)),
        day
    );
    assert_eq!(
        time("1/10/2019 0:00", formatted("%d/%m/%Y %H:%M", None)),
        day
    );
    assert_eq!(time("20191001", formatted("%Y%m%d", None)), day);
    let amsterdam = formatted("%Y-%m-%d %H:%M", Some("Europe/Amsterdam"));
    assert_eq!(time("2019-10-01 02:00", amsterdam), day);
    refused(
        "1,x,a\n",
        formatted("%H:%M", None),
        &["%H:%M", "year, month and day"],
    );
    refused(
        "1,x,a\n",
        formatted("%Y-%m-%d", Some("Mars")),
        &["\"Mars\"", "Europe/Amsterdam"],
    );
}

#[test]
fn time_of_two_columns_is_their_sum() {
    let folder = Folder::new();
    let text = "s,date,clock,millis,i\n1,2016-05-09,13:45:10,49510277,a\n";
    let read = |time: &str, unit| {
        let table = Table {
            columns: Some(format!("session=s,time={time},item=i").parse().unwrap()),
            time_unit: unit,
            ..Table::default()
        };
        csv(folder.write("log.csv", text), table)
    };
    // Python: datetime(2016, 5, 9, 13, 45, 10, tzinfo=timezone.utc).timestamp() == 1462801510
    let clock = read("date+clock", TimeUnit::Auto);
    assert_eq!(firsts(&folder, &clock)[0].1, 1_462_801_510_000);
    let millis = read("date+millis", TimeUnit::Milliseconds);
    assert_eq!(firsts(&folder, &millis)[0].1, 1_462_801_510_277);
    let error = folder
        .refused(&read("date+millis", TimeUnit::Auto))
        .to_string();
    assert!(
        error.contains("log.csv:2:") && error.contains("--time-unit"),
        "{error}"
    );
}
