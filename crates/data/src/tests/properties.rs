//! Random small logs through the whole pipeline.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use prl_dataset::{Dataset, Kind, Split};
use proptest::collection::vec;
use proptest::prelude::*;

use super::plain::{self, Plain, Row, TableSteps};
use crate::{
    Error, LongSessions, Moment, Options, Source, SplitRule, Steps, Table, append, prepare,
};

/// Row of few sessions, items and times, so that filters apply and times tie.
fn row() -> impl Strategy<Value = Row> {
    let kind = prop_oneof![3 => Just(Kind::Click), 1 => Just(Kind::Purchase)];
    (0..12_u64, 0..9_u64, 0..6_i64, kind).prop_map(|(session, item, time, kind)| {
        (
            session * 97 % 12 + 8,
            item * 1_000_003,
            1_396_867_869_277 + time * 500,
            kind,
        )
    })
}

fn split_rule() -> impl Strategy<Value = SplitRule> {
    prop_oneof![
        Just(SplitRule::Random),
        Just(SplitRule::Time),
        Just(SplitRule::LeaveLastOut)
    ]
}

fn table_steps() -> impl Strategy<Value = TableSteps> {
    let start = 1_396_867_869_277;
    let long = prop_oneof![
        Just(LongSessions::Drop),
        Just(LongSessions::Split),
        Just(LongSessions::Last)
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let gap = prop_oneof![Just(None), Just(Some(1000)), Just(Some(2000))];
    (0..3_i64, 3..7_i64, flags, gap, 1..3_usize, 1..8_usize, long).prop_map(
        move |(from, until, flags, gap, least, max_length, long)| TableSteps {
            period: (start + from * 500, start + until * 500),
            drop_duplicates: flags.0,
            gap,
            drop_repeats: flags.1,
            least,
            until_stable: flags.2,
            max_length,
            long,
        },
    )
}

/// Options of a table of the rows `s,t,i,e` with these steps.
fn table_options(input: &Path, steps: &TableSteps) -> Options {
    let moment = |millis: i64| Some(Moment(millis * 1_000_000));
    let table = Table {
        columns: Some("session=s,time=t,item=i,event=e".parse().unwrap()),
        click: vec!["click".into()],
        purchase: vec!["purchase".into()],
        min_session_events: steps.least,
        min_item_events: steps.least,
        ..Table::default()
    };
    let source = Source::Csv {
        input: input.to_owned().into(),
        delimiter: ','.into(),
        table,
    };
    Options {
        max_length: Some(steps.max_length),
        steps: Steps {
            from: moment(steps.period.0),
            until: moment(steps.period.1),
            drop_duplicates: steps.drop_duplicates,
            session_gap: steps
                .gap
                .map(|gap| format!("{}s", gap / 1000).parse().unwrap()),
            drop_repeats: steps.drop_repeats,
            filter_until_stable: steps.until_stable,
            long_sessions: steps.long,
            split_at: Vec::new(),
        },
        ..Options::new(source)
    }
}

fn table_text(rows: &[Row]) -> String {
    let mut text = String::from("s,t,i,e\n");
    for (session, item, time, kind) in rows {
        writeln!(text, "{session},{time},{item},{}", kind.name()).unwrap();
    }
    text
}

fn read(dir: &Path) -> Plain {
    let data = Dataset::open(dir).unwrap();
    let event = |e: usize| (data.item_indices()[e], data.times()[e], data.kinds()[e]);
    let sessions = data.sessions().map(|s| s.map(event).collect()).collect();
    let items = (0..data.items().len() as u32)
        .map(|i| data.items().raw(i).unwrap().to_owned())
        .collect();
    Plain { sessions, items }
}

/// Checks that the arrays are as expected and every row is counted, or that no events were left.
fn check(options: &Options, dir: &Path, expected: &Plain) -> Result<(), TestCaseError> {
    let out = dir.join("out");
    match prepare(options, &out) {
        Ok(manifest) => {
            prop_assert_eq!(&read(&out), expected);
            let draft = manifest.input;
            let rows: u64 = draft.source.files.iter().map(|f| f.rows).sum();
            let after = draft.counts.after_length_filter;
            let dropped: u64 = draft.counts.dropped.values().sum();
            prop_assert_eq!(rows, after.clicks + after.purchases + dropped);
            let again = dir.join("again");
            prepare(options, &again).unwrap();
            for file in ["events.safetensors", "items.safetensors", "manifest.json"] {
                prop_assert_eq!(
                    fs::read(out.join(file)).unwrap(),
                    fs::read(again.join(file)).unwrap()
                );
            }
        }
        Err(Error::NothingLeft { .. }) => prop_assert!(expected.sessions.is_empty()),
        Err(other) => prop_assert!(false, "{}", other),
    }
    Ok(())
}

fn iso(millis: i64) -> String {
    let millis = millis - 1_396_867_869_277 + 9_277;
    format!(
        "2014-04-07T10:51:{:02}.{:03}Z",
        millis / 1000,
        millis % 1000
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn retailrocket_is_the_plain_steps(
        rows in vec((row(), any::<bool>()), 1..80), transactions in vec(row(), 0..5), max in 3..8_usize, rule in split_rule(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::from("timestamp,visitorid,event,itemid,transactionid\n");
        for (session, item, time, _) in &transactions {
            writeln!(text, "{time},{session},transaction,{item},7").unwrap();
        }
        for ((session, item, time, kind), is_quoted) in &rows {
            let kind = if *kind == Kind::Click { "view" } else { "addtocart" };
            match is_quoted {
                true => writeln!(text, "{time},\"{session}\",\"{kind}\",{item},").unwrap(),
                false => writeln!(text, "{time},{session},{kind},{item},").unwrap(),
            }
        }
        let input = dir.path().join("log.csv");
        fs::write(&input, text).unwrap();
        let options = Options { max_length: Some(max), split: rule, ..Options::new(Source::RetailRocket { input }) };
        let rows: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
        check(&options, dir.path(), &plain::retailrocket(&rows, max))?;
    }

    #[test]
    fn table_is_the_plain_steps(rows in vec(row(), 1..80), steps in table_steps()) {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("log.csv");
        fs::write(&input, table_text(&rows)).unwrap();
        check(&table_options(&input, &steps), dir.path(), &plain::table(&rows, &steps))?;
    }

    #[test]
    fn appending_is_preparing_all_at_once(
        first in vec(row(), 1..40), second in vec(row(), 1..40), steps in table_steps(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let both = dir.path().join("both");
        fs::create_dir(&both).unwrap();
        fs::write(both.join("1.csv"), table_text(&first)).unwrap();
        fs::write(both.join("2.csv"), table_text(&second)).unwrap();
        prop_assume!(first != second);
        let options = |input: &Path| {
            let mut options = table_options(input, &steps);
            options.output.keep_log = true;
            options
        };
        let (out, all) = (dir.path().join("out"), dir.path().join("all"));
        let one = prepare(&options(&both.join("1.csv")), &out);
        prop_assume!(one.is_ok());
        let appended = append(&options(&both.join("2.csv")), &out, &out);
        match prepare(&options(&both), &all) {
            Ok(_) => for file in ["events.safetensors", "items.safetensors", "log.parquet", "manifest.json"] {
                prop_assert!(fs::read(out.join(file)).unwrap() == fs::read(all.join(file)).unwrap(), "{}", file);
            },
            Err(_) => prop_assert!(appended.is_err()),
        }
    }

    #[test]
    fn rc15_is_the_plain_steps(
        clicks in vec(row(), 1..80), buys in vec(row(), 1..20), sample in 1..12_usize, seed in 0..4_u64, max in 3..12_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let clicks: Vec<Row> = clicks.into_iter().map(|(s, i, t, _)| (s, i, t, Kind::Click)).collect();
        let buys: Vec<Row> = buys.into_iter().map(|(s, i, t, _)| (s, i, t, Kind::Purchase)).collect();
        let lines = |rows: &[Row], rest: &str| {
            rows.iter().map(|(session, item, time, _)| format!("{session},{},{item},{rest}\n", iso(*time))).collect::<String>()
        };
        let (clicks_file, buys_file) = (dir.path().join("c.dat"), dir.path().join("b.dat"));
        fs::write(&clicks_file, lines(&clicks, "S")).unwrap();
        fs::write(&buys_file, lines(&buys, "12,1")).unwrap();
        let source = Source::Rc15 { clicks: clicks_file, buys: buys_file, sample };
        let options = Options { max_length: None, seed, ..Options::new(source) };
        // The seed decides the sampled sessions; their number, eligibility and completeness are
        // checked.
        let eligible = plain::rc15_sessions(&clicks);
        let manifest = prepare(&options, &dir.path().join("all"));
        let sampled = match &manifest {
            Ok(manifest) => manifest.input.counts.before_length_filter.sessions as usize,
            Err(Error::NothingLeft { .. }) => 0,
            Err(other) => { prop_assert!(false, "{}", other); 0 }
        };
        prop_assert_eq!(sampled, sample.min(eligible.len()));
        if sampled == eligible.len() {
            let options = Options { max_length: Some(max), ..options };
            check(&options, dir.path(), &plain::rc15(&clicks, &buys, &eligible, max))?;
        } else {
            let all = read(&dir.path().join("all"));
            let is_sample = |chosen: &BTreeSet<u64>| plain::rc15(&clicks, &buys, chosen, usize::MAX) == all;
            prop_assert!(subsets(&eligible, sampled).iter().any(is_sample));
        }
    }

    #[test]
    fn splits_are_disjoint_and_of_the_asked_size(
        rows in vec(row(), 40..160), rule in split_rule(), val in 0..4_u64, test in 0..4_u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::from("session_id:token\titem_id:token\ttimestamp:float\n");
        rows.iter().for_each(|(session, item, time, _)| writeln!(text, "{session}\t{item}\t{time}.5").unwrap());
        let input = dir.path().join("log.inter");
        fs::write(&input, text).unwrap();
        let source = Source::Inter { input: input.into(), delimiter: '\t'.into(), table: crate::Table::default() };
        let (val_fraction, test_fraction) = (val as f64 / 10.0, test as f64 / 10.0);
        let options = Options { split: rule, val_fraction, test_fraction, ..Options::new(source) };
        let out = dir.path().join("out");
        prepare(&options, &out).unwrap();
        let data = Dataset::open(&out).unwrap();
        let (splits, times) = (data.splits(), data.times());
        if rule == SplitRule::LeaveLastOut {
            for session in data.sessions() {
                let n = session.len();
                let expected = (0..n).map(|i| match n - i {
                    1 if n >= 3 => Split::Test,
                    2 if n >= 3 => Split::Val,
                    _ => Split::Train,
                });
                prop_assert!(splits[session].iter().copied().eq(expected));
            }
            return Ok(());
        }
        let n = data.sessions().len() as u64;
        let of = |split| data.sessions().filter(move |s| splits[s.clone()].iter().all(|&x| x == split));
        prop_assert_eq!(of(Split::Val).count() as u64, n * val / 10);
        prop_assert_eq!(of(Split::Test).count() as u64, n * test / 10);
        prop_assert_eq!(of(Split::Train).count() as u64, n - n * val / 10 - n * test / 10);
        if rule == SplitRule::Time {
            let ends = |split| of(split).map(|s| times[s.end - 1]);
            let latest = |split| ends(split).max().unwrap_or(i64::MIN);
            let earliest = |split| ends(split).min().unwrap_or(i64::MAX);
            prop_assert!(latest(Split::Train) <= earliest(Split::Val).min(earliest(Split::Test)));
            prop_assert!(latest(Split::Val) <= earliest(Split::Test));
        }
    }
}

fn subsets(of: &BTreeSet<u64>, size: usize) -> Vec<BTreeSet<u64>> {
    let all: Vec<u64> = of.iter().copied().collect();
    let chosen = |bits: u32| {
        (0..all.len())
            .filter(|i| bits >> i & 1 == 1)
            .map(|i| all[i])
            .collect::<BTreeSet<u64>>()
    };
    (0..1_u32 << all.len())
        .filter(|bits| bits.count_ones() as usize == size)
        .map(chosen)
        .collect()
}
