//! Appending further events to a dataset that keeps its raw ones.

use std::collections::BTreeMap;
use std::fs;

use prl_data::{Error, Options, Source, Table, append, prepare};
use prl_dataset::{Dataset, Manifest};

use crate::common::{Folder, csv, rc15, retailrocket, table_with_events};

const FILES: [&str; 4] = [
    "events.safetensors",
    "items.safetensors",
    "log.parquet",
    "manifest.json",
];

/// Rows of days of a log: users, items and kinds that occur in one day or in several.
fn days() -> [String; 2] {
    let mut days = [String::new(), String::new()];
    for n in 0..60_i64 {
        let day = (n / 30) as usize;
        let user = n * 7 % 11;
        let item = (n * 5 + day as i64 * 3) % 13;
        let kind = ["view", "buy", "other", "cart"][(n % 4) as usize];
        days[day] += &format!("{user},{},{item},{kind}\n", 1_600_000_000 + n * 60);
    }
    // Text among the numbers, in the second day alone.
    days[1] += "7,1600090000,x9,view\n7,1600090000,007,view\n7,1600090000,12,view\n";
    days
}

fn options(input: impl Into<prl_data::Inputs>) -> Options {
    let mut table = Table {
        drop_other_events: true,
        min_session_events: 2,
        min_item_events: 2,
        ..table_with_events()
    };
    table.kinds.rewards = BTreeMap::from([("cart".into(), 0.5)]);
    let mut options = Options::new(Source::Csv {
        input: input.into(),
        delimiter: ','.into(),
        table,
    });
    options.steps.session_gap = Some("1h".parse().unwrap());
    options.output.keep_log = true;
    options
}

#[test]
fn appended_dataset_has_the_bytes_of_preparing_all_at_once() {
    let folder = Folder::new();
    let [first, second] = days();
    let header = "s,t,i,e\n";
    folder.write("days/1.csv", format!("{header}{first}"));
    let both = folder.path("days");
    let day1 = folder.write("1.csv", format!("{header}{first}"));
    let day2 = folder.write("2.csv", format!("{header}{second}"));
    let out = folder.path("appended");
    prepare(&options(day1.clone()), &out).unwrap();
    let before = Manifest::read(&out).unwrap();
    folder.write("days/2.csv", format!("{header}{second}"));
    prepare(&options(both), &folder.path("all")).unwrap();
    let all = |name: &str| fs::read(folder.path("all").join(name)).unwrap();
    // To another directory, which leaves the first as it was, and in place.
    let elsewhere = folder.path("elsewhere");
    append(&options(day2.clone()), &out, &elsewhere).unwrap();
    assert_eq!(Manifest::read(&out).unwrap(), before);
    append(&options(day2.clone()), &out, &out).unwrap();
    for name in FILES {
        assert!(fs::read(out.join(name)).unwrap() == all(name), "{name}");
        assert!(
            fs::read(elsewhere.join(name)).unwrap() == all(name),
            "{name}"
        );
    }
    assert_ne!(Manifest::read(&out).unwrap().dataset, before.dataset);
    Dataset::open(&out).unwrap();
    // A day that is there already is refused, and leaves the dataset as it is.
    let error = append(&options(day2), &out, &out).unwrap_err().to_string();
    assert!(
        error.contains("2.csv") && error.contains("already"),
        "{error}"
    );
    for name in FILES {
        assert!(fs::read(out.join(name)).unwrap() == all(name), "{name}");
    }
}

#[test]
fn kept_log_does_not_change_the_dataset() {
    let folder = Folder::new();
    let day = folder.write("1.csv", format!("s,t,i,e\n{}", days()[0]));
    let kept = prepare(&options(day.clone()), &folder.path("kept")).unwrap();
    let mut plain = options(day);
    plain.output.keep_log = false;
    let plain = prepare(&plain, &folder.path("plain")).unwrap();
    assert_eq!((kept.dataset, kept.files), (plain.dataset, plain.files));
    assert!(!folder.path("plain").join("log.parquet").exists());
}

#[test]
fn append_that_could_not_be_equal_is_refused() {
    let folder = Folder::new();
    let [first, second] = days();
    let day1 = folder.write("1.csv", format!("s,t,i,e\n{first}"));
    let day2 = folder.write("2.csv", format!("s,t,i,e\n{second}"));
    let (kept, plain) = (folder.path("kept"), folder.path("plain"));
    prepare(&options(day1.clone()), &kept).unwrap();
    let mut without = options(day1.clone());
    without.output.keep_log = false;
    prepare(&without, &plain).unwrap();
    let refused = |options: &Options, dir, says: &str| {
        let error = append(options, dir, dir).unwrap_err();
        assert!(matches!(error, Error::Options(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(&options(day2.clone()), &plain, "--keep-log");
    let mut other = options(day2.clone());
    other.max_length = Some(7);
    other.seed = 3;
    refused(&other, &kept, "other options: max_length, seed;");
    let rc15 = rc15(day1.clone(), day2.clone());
    refused(&rc15, &kept, "rc15 samples its sessions");
    fs::write(kept.join("log.parquet"), "damaged").unwrap();
    let error = append(&options(day2), &kept, &kept).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not the file that the manifest names"),
        "{error}"
    );
    let missing = append(&csv(day1, table_with_events()), &folder.path("none"), &kept);
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("no prepared dataset")
    );
}

#[test]
fn retailrocket_takes_a_further_day() {
    let folder = Folder::new();
    let header = "timestamp,visitorid,event,itemid,transactionid\n";
    let mut days = [String::new(), String::new()];
    for n in 0..40_i64 {
        let (time, visitor, item) = (1_433_221_332_000 + n * 1000, n % 5, n % 4);
        let event = if n % 9 == 0 { "addtocart" } else { "view" };
        days[(n / 20) as usize] += &format!("{time},{visitor},{event},{item},\n");
        if n % 10 == 3 {
            days[(n / 20) as usize] += &format!("{time},{visitor},transaction,{item},{n}\n");
        }
    }
    let one = folder.write("1.csv", format!("{header}{}", days[0]));
    let two = folder.write("2.csv", format!("{header}{}", days[1]));
    folder.write("days/1.csv", format!("{header}{}", days[0]));
    folder.write("days/2.csv", format!("{header}{}", days[1]));
    let keeping = |input| {
        let mut options = retailrocket(input);
        options.output.keep_log = true;
        options
    };
    let (out, all) = (folder.path("out"), folder.path("all"));
    prepare(&keeping(one), &out).unwrap();
    append(&keeping(two), &out, &out).unwrap();
    let manifest = prepare(&keeping(folder.path("days")), &all).unwrap();
    assert_eq!(manifest.input.counts.dropped["transaction"], 4);
    for name in FILES {
        assert!(
            fs::read(out.join(name)).unwrap() == fs::read(all.join(name)).unwrap(),
            "{name}"
        );
    }
}
