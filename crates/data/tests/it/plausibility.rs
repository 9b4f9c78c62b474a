//! Figures and warnings of a log, and strict preparation.

use prl_data::{Error, Options, prepare};
use prl_dataset::{Plausibility, Repeats};

use crate::common::{Folder, csv, retailrocket, table};

/// Figures of a log of the rows `s,t,i`, without a maximum length.
fn figures(rows: &str) -> Plausibility {
    let folder = Folder::new();
    let options = Options {
        max_length: None,
        ..csv(folder.write("log.csv", format!("s,t,i\n{rows}")), table())
    };
    let (manifest, _) = folder.prepare(&options);
    manifest.plausibility.unwrap()
}

/// Names and counts of the warnings.
fn warned(figures: &Plausibility) -> Vec<(&str, u64)> {
    let mut warned = Vec::new();
    for warning in &figures.warnings {
        warned.push((warning.name.as_str(), warning.count));
    }
    warned
}

#[test]
fn repeats_are_counted_by_the_steps_since_the_item_last_occurred() {
    let found = figures(
        "a,1600000001,x\na,1600000002,x\na,1600000003,y\na,1600000004,x\na,1600000005,z\n\
         a,1600000006,w\na,1600000007,y\na,1600000008,z\nb,1600000009,x\n",
    );
    let expected = Repeats {
        lag_1: 1,
        lag_2: 1,
        lag_3: 1,
        lag_4_or_more: 1,
        any: 4,
    };
    assert_eq!((found.events, found.repeats), (9, expected));
    assert_eq!(found.first_time.as_deref(), Some("2020-09-13T12:26:41Z"));
    assert_eq!(found.last_time.as_deref(), Some("2020-09-13T12:26:49Z"));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn ties_are_counted_in_the_session_and_in_the_log() {
    let found = figures(
        "a,1600000001,x\na,1600000001,y\na,1600000002,z\na,1600000003,w\nb,1600000002,x\n\
         b,1600000004,y\nb,1600000005,z\n",
    );
    assert_eq!((found.tied_in_session, found.tied_in_log), (1, 4));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let days = figures("a,2020-01-01,x\na,2020-01-01,y\na,2020-01-02,z\nb,2020-01-02,x\n");
    assert_eq!(warned(&days), [("tied_times", 1)]);
    let one = figures("a,2020-01-01,x\na,2020-01-01,y\nb,2020-01-01,z\n");
    assert_eq!((one.tied_in_session, one.tied_in_log), (1, 3));
    assert_eq!(warned(&one), [("one_time", 3)]);
}

#[test]
fn times_before_1990_decades_apart_and_in_the_future_are_warned_of() {
    let early = figures("a,1990-01-01,x\na,1989-12-31,y\n");
    assert_eq!(warned(&early), [("early_time", 1)]);
    assert!(early.warnings[0].message.contains("1989-12-31T00:00:00Z"));
    let apart = figures("a,2000-01-01,x\na,2020-01-01,y\na,2020-01-02,z\na,2020-01-03,x\n");
    assert_eq!(warned(&apart), [("distant_time", 1)]);
    let folder = Folder::new();
    let mut future = csv(
        folder.write("log.csv", "s,t,i\na,2200-01-01,x\na,2200-01-02,y\n"),
        table(),
    );
    let (manifest, _) = folder.prepare(&future);
    // The manifest does not depend on the present time.
    assert!(manifest.plausibility.unwrap().warnings.is_empty());
    future.output.strict = true;
    let error = folder.refused(&future).to_string();
    assert!(error.contains("2 rows in the future"), "{error}");
}

#[test]
fn ids_with_a_numeric_twin_or_a_missing_look_are_warned_of() {
    let found = figures(
        "a,1600000001,7\na,1600000002,007\na,1600000003,x\na,1600000004,+7\na,1600000005,undefined\n\
         nil,1600000006,undefined\n",
    );
    assert_eq!(
        warned(&found),
        [
            ("missing_like_id", 1),
            ("missing_like_id", 2),
            ("numeric_twin", 2)
        ]
    );
    assert!(found.warnings[0].message.contains("session id \"nil\""));
    assert!(
        found.warnings[2]
            .message
            .starts_with("2 item ids are the same number as another, such as"),
        "{}",
        found.warnings[2].message
    );
}

#[test]
fn findings_of_the_reader_are_warnings() {
    let found = figures("a,1600000001,1 2 3\na,1600000002,4\n");
    assert_eq!(warned(&found), [("list_like_id", 1)]);
    assert!(found.warnings[0].message.contains("log.csv:2"));
}

#[test]
fn largest_loss_names_its_flags() {
    let folder = Folder::new();
    let mut text = String::from("s,t,i\n");
    for n in 0..60 {
        text += &format!("a,{},x{}\n", 1_600_000_000 + n, n % 7);
    }
    for n in 0..20 {
        text += &format!("b,{},x{}\n", 1_600_000_000 + n, n % 7);
    }
    let mut options = csv(folder.write("log.csv", &text), table());
    let (manifest, _) = folder.prepare(&options);
    let figures = manifest.plausibility.unwrap();
    assert_eq!(warned(&figures), [("large_loss", 60)]);
    let message = &figures.warnings[0].message;
    assert!(
        message.starts_with("long_session: 60 of 80 rows; see --max-length"),
        "{message}"
    );
    assert!(message.contains("--session-gap"), "{message}");
    options.output.strict = true;
    let error = folder.refused(&options);
    assert!(matches!(error, Error::Implausible { .. }) && error.is_bad_input());
    assert!(error.to_string().contains(message.as_str()), "{error}");
    // With nothing left the flags are named too.
    options.max_length = Some(5);
    let error = folder.refused(&options).to_string();
    assert!(
        error.contains("\"long_session\" (80); see --max-length")
            && error.contains("--session-gap"),
        "{error}"
    );
}

#[test]
fn protocol_of_a_public_log_is_no_loss_to_warn_of() {
    let folder = Folder::new();
    let mut text = String::from("timestamp,visitorid,event,itemid,transactionid\n");
    for visitor in 0..9 {
        let events = if visitor == 0 { 4 } else { 1 };
        for n in 0..events {
            text += &format!("{},{visitor},view,1,\n", 1_433_221_332_000_i64 + n);
        }
    }
    let mut options = retailrocket(folder.write("events.csv", text));
    options.output.strict = true;
    let manifest = prepare(&options, &folder.path("out")).unwrap();
    assert_eq!(manifest.input.counts.dropped["short_session"], 8);
}
