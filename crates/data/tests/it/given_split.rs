//! Splits that the log gives: by a column, and by files.

use std::path::Path;

use crate::common::*;
use prl_data::{Delimiter, Error, InputPart, Inputs, Options, Source, SplitRule, Table, prepare};
use prl_dataset::{Dataset, Split};

fn by_column(input: impl Into<Inputs>) -> Options {
    Options {
        split: SplitRule::Given,
        ..csv(input, mapped("session=s,time=t,item=i,split=p"))
    }
}

fn by_files(files: &[(&Path, Split)], table: Table) -> Options {
    let mut parts = Vec::new();
    for &(path, split) in files {
        parts.push(InputPart {
            split: Some(split),
            ..path.into()
        });
    }
    Options {
        split: SplitRule::Given,
        ..csv(Inputs(parts), table)
    }
}

/// Splits of the events in dataset order.
fn splits(folder: &Folder, options: &Options) -> Vec<Split> {
    folder.prepare(options);
    Dataset::open(&folder.path("out"))
        .unwrap()
        .splits()
        .to_vec()
}

#[test]
fn column_of_splits_is_kept_in_every_spelling() {
    use Split::{Test, Train, Val};
    let folder = Folder::new();
    for [train, val, test] in [
        ["train", "val", "test"],
        ["train", "valid", "test"],
        ["train", "validation", "test"],
        ["0", "1", "2"],
    ] {
        let text = format!(
            "s,t,i,p\n2,1,a,{test}\n1,1,a,{train}\n1,2,b,{train}\n3,1,c,{val}\n4,2,a,{train}\n4,3,b,{val}\n4,4,c,{test}\n"
        );
        let input = folder.write("log.csv", text);
        let expected = [Train, Train, Test, Val, Train, Val, Test];
        assert_eq!(splits(&folder, &by_column(input)), expected);
    }
    // Without a validation split.
    let input = folder.write("log.csv", "s,t,i,p\n1,1,a,train\n2,1,a,test\n");
    assert_eq!(splits(&folder, &by_column(input)), [Train, Test]);
}

#[test]
fn bad_split_is_refused_with_its_row_or_session() {
    let folder = Folder::new();
    let refused = |text: &str, says: &str| {
        let input = folder.write("log.csv", text);
        let error = folder.refused(&by_column(input));
        assert!(
            error.is_bad_input() && error.to_string().contains(says),
            "{error}"
        );
    };
    refused(
        "s,t,i,p\n1,1,a,train\n2,1,a,dev\n",
        "log.csv:3: column \"p\": found \"dev\", expected train, val",
    );
    refused("s,t,i,p\n1,1,a,\n", "log.csv:2: column \"p\": found \"\"");
    refused(
        "s,t,i,p\n1,1,a,train\nx,1,a,test\nx,2,b,train\n",
        "session \"x\" goes back from test to validation or training",
    );
}

#[test]
fn files_of_splits_are_kept() {
    use Split::{Test, Train, Val};
    let folder = Folder::new();
    let train = folder.write("train.csv", "s,t,i\n3,1,a\n3,2,b\n");
    let valid = folder.write("parts/valid.csv", "i,t,s\na,1,2\n");
    let test = folder.write("test.csv", "s,t,i\n1,9,a\n");
    let all = [(train.as_path(), Train), (&valid, Val), (&test, Test)];
    let options = by_files(&all, table());
    assert_eq!(splits(&folder, &options), [Test, Val, Train, Train]);
    let two = by_files(&[all[0], all[2]], table());
    assert_eq!(splits(&folder, &two), [Test, Train, Train]);
    let (manifest, _) = folder.prepare(&two);
    let described = &manifest.input.options;
    assert_eq!(described["split"], "given");
    assert_eq!(
        described["input"].to_string(),
        r#"[{"split":"train"},{"split":"test"}]"#
    );

    let no_test = folder.refused(&by_files(&all[..2], table())).to_string();
    assert!(
        no_test.contains("none is for test; add --test FILE"),
        "{no_test}"
    );
    // A session id in two files is as often two sessions as one.
    let again = folder.write("again.csv", "s,t,i\n3,9,a\n");
    let error = folder.refused(&by_files(&[all[0], (&again, Test)], table()));
    assert!(
        matches!(&error, Error::Session { session, .. } if session == "3"),
        "{error}"
    );
    assert!(error.to_string().contains("split=NAME"), "{error}");
    // The files of RecBole divide the sessions of one log.
    let inter = |name: &str, rows: &str| {
        folder.write(
            name,
            format!("user_id:token\titem_id:token\ttimestamp:float\n{rows}"),
        )
    };
    let train = inter("x.train.inter", "3\ta\t1\n3\tb\t2\n");
    let test = inter("x.test.inter", "3\tc\t3\n");
    let csv = by_files(&[(&train, Train), (&test, Test)], Table::default());
    let Source::Csv { input, table, .. } = csv.source.clone() else {
        unreachable!();
    };
    let source = Source::Inter {
        input,
        delimiter: Delimiter::TAB,
        table,
    };
    assert_eq!(
        splits(&folder, &Options { source, ..csv }),
        [Train, Train, Test]
    );
}

#[test]
fn given_split_and_its_rule_go_together() {
    let folder = Folder::new();
    let input = folder.write("log.csv", "s,t,i,p\n1,1,a,train\n2,1,a,test\n");
    let refused = |options: Options, says: &str| {
        let error = folder.refused(&options);
        assert!(matches!(error, Error::Options(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let other = |split, options| Options { split, ..options };
    refused(
        other(SplitRule::Random, by_column(input.clone())),
        "another rule is asked for",
    );
    refused(
        other(SplitRule::Given, csv(input.clone(), table())),
        "nothing gives it",
    );
    let both = by_files(
        &[(&input, Split::Train), (&input, Split::Test)],
        mapped("session=s,time=t,item=i,split=p"),
    );
    refused(both, "by a column and by files");
}

#[test]
fn shared_case_of_two_files_keeps_its_split() {
    let Some(case) = shared("cases/20-gru4rec") else {
        return;
    };
    let (train, test) = (case.join("train.tsv"), case.join("test.tsv"));
    let table = mapped("session=SessionId,time=Time,item=ItemId");
    let mut options = by_files(&[(&train, Split::Train), (&test, Split::Test)], table);
    if let Source::Csv { delimiter, .. } = &mut options.source {
        *delimiter = '\t'.into();
    }
    let manifest = Folder::new().prepare(&options).0;
    let counts = |split: &str| {
        (
            manifest.splits[split].sessions,
            manifest.splits[split].clicks,
        )
    };
    assert_eq!(
        [counts("train"), counts("val"), counts("test")],
        [(24, 112), (0, 0), (6, 28)]
    );
}

#[test]
fn public_benchmarks_have_the_published_targets() {
    let Some(benchmarks) = shared("datasets/benchmarks") else {
        return;
    };
    for (name, sessions, train, test) in [
        ("diginetica", 202_633, 719_470, 60_858),
        ("yoochoose", 131_400, 369_859, 55_400),
        ("retailrocket-views", 130_943, 559_816, 19_907),
    ] {
        let input = benchmarks.join(format!("{name}.csv.gz"));
        let options = Options {
            split: SplitRule::Given,
            max_length: None,
            ..csv(
                input,
                mapped("session=session,time=time,item=item,split=split"),
            )
        };
        let folder = Folder::new();
        let out = folder.path("out");
        prepare(&options, &out).unwrap();
        let data = Dataset::open(&out).unwrap();
        let splits = data.splits();
        let mut targets = [0; 3];
        for session in data.sessions() {
            // The first event of a session is predicted from nothing, and is no target there.
            for &split in &splits[session.start + 1..session.end] {
                targets[split as usize] += 1;
            }
        }
        assert_eq!(
            (data.sessions().len(), targets),
            (sessions, [train, 0, test]),
            "{name}"
        );
    }
}
