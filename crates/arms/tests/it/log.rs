//! Records written, read back and joined to sessions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prl_arms::{
    Answer, Error, Event, EventKind, Log, LogWriter, Record, Reward, SessionOptions, SessionRecord,
    WriterOptions,
};

fn answer(time: u64, session: &str, arm: &str, p: f64) -> Record {
    Record::Answer(Answer {
        time,
        experiment: Some("e".into()),
        session: session.into(),
        step: 3,
        arm: Some(arm.into()),
        p: Some(p),
        model: "m".into(),
        items: vec!["7".into()],
        scores: vec![0.5],
    })
}

fn event(time: u64, session: &str, kind: EventKind, value: Option<f64>) -> Record {
    Record::Event(Event {
        time,
        session: session.into(),
        item: "7".into(),
        kind,
        value,
    })
}

fn write(dir: &Path, records: Vec<Record>) {
    let writer = LogWriter::open(dir, WriterOptions::default()).unwrap();
    for record in records {
        writer.append(record).unwrap();
    }
}

fn read(dir: &Path) -> Vec<Record> {
    let log = Log::open(dir).unwrap();
    log.records().map(|read| read.unwrap().1).collect()
}

use EventKind::{Click, Purchase};

#[test]
fn session_counts_what_follows_its_first_answer_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    // The first file holds events that are later than the answers of the second.
    write(
        dir.path(),
        vec![
            event(10, "s", Click, None),
            event(30, "s", Purchase, Some(12.5)),
            event(31, "s", Click, Some(0.25)),
            event(40, "s", Purchase, None),
            answer(50, "s", "b", 0.5),
            event(60, "other", Click, None),
        ],
    );
    write(
        dir.path(),
        vec![
            event(20, "s", Purchase, Some(100.0)),
            answer(20, "s", "a", 0.25),
            event(20, "s", Click, None),
            answer(5, "t", "b", 0.75),
        ],
    );
    let sessions = Log::open(dir.path())
        .unwrap()
        .sessions(&SessionOptions::default())
        .unwrap();
    assert_eq!(sessions.arms, ["a", "b"]);
    assert_eq!((sessions.answers, sessions.events), (3, 7));
    assert_eq!(sessions.other_events, 1);
    assert_eq!(sessions.purchases_without_value, 1);
    assert_eq!(sessions.sessions_of_several_arms, 1);
    let s = SessionRecord {
        session: "s".into(),
        arm: 0,
        p: 0.25,
        time: 20,
        step: 3,
        clicks_before: 1,
        purchases_before: 1,
        answers: 2,
        clicks: 2,
        purchases: 2,
        value: 12.75,
    };
    let t = SessionRecord {
        session: "t".into(),
        arm: 1,
        p: 0.75,
        time: 5,
        clicks_before: 0,
        purchases_before: 0,
        answers: 1,
        clicks: 0,
        purchases: 0,
        value: 0.0,
        ..s.clone()
    };
    assert_eq!(Reward::default().of(&s), 2.4);
    assert_eq!(sessions.records, [t, s]);
}

#[test]
fn torn_last_line_is_left_out_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let records = vec![answer(1, "s", "a", 0.5), event(2, "s", Click, None)];
    write(dir.path(), records.clone());
    let log = Log::open(dir.path()).unwrap();
    assert!(log.torn().is_empty());
    let path = std::fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for cut in [
        0,
        1,
        first - 1,
        first,
        first + 1,
        whole.len() - 1,
        whole.len(),
    ] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let lines = usize::from(cut >= first) + usize::from(cut == whole.len());
        assert_eq!(read(dir.path()), records[..lines], "{cut}");
        let torn = cut - [0, first, whole.len()][lines];
        let log = Log::open(dir.path()).unwrap();
        let found: u64 = log.torn().iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(found, torn as u64);
    }
}

#[test]
fn damaged_line_is_an_error_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    let line = event(1, "s", Click, None).into_line().unwrap();
    let mut bytes = [line.as_slice(), b"{\"v\":1,\n", &line].concat();
    std::fs::write(&path, &bytes).unwrap();
    let log = Log::open(dir.path()).unwrap();
    let read: Vec<_> = log.records().collect();
    assert_eq!(read.len(), 2);
    let Err(error @ Error::Line { line: 2, .. }) = &read[1] else {
        panic!("{read:?}");
    };
    assert!(
        error.to_string().contains("a.jsonl:2: not a record"),
        "{error}"
    );
    bytes.truncate(line.len());
    bytes.extend(vec![b'x'; 5 << 20]);
    bytes.push(b'\n');
    std::fs::write(&path, bytes).unwrap();
    let error = Log::open(&path)
        .unwrap()
        .records()
        .last()
        .unwrap()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a.jsonl:2: not a record: longer than"),
        "{error}"
    );
}

#[test]
fn log_without_propensities_or_with_other_experiments_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |experiment: Option<&str>| {
        let experiment = experiment.map(str::to_owned);
        let log = Log::open(dir.path())?;
        log.sessions(&SessionOptions { experiment })
            .map(|sessions| sessions.experiment)
    };
    assert!(matches!(refused(None), Err(Error::NoLog { .. })));
    let csv = dir.path().join("events.csv");
    std::fs::write(&csv, "timestamp,visitorid\n").unwrap();
    let error = Log::open(&csv).unwrap_err().to_string();
    assert!(error.contains("does not say what was shown"), "{error}");
    let no_arm = Record::Answer(Answer {
        session: "s".into(),
        ..Answer::default()
    });
    let mut no_p = answer(1, "s", "a", 0.5);
    if let Record::Answer(answer) = &mut no_p {
        answer.p = None;
    }
    write(dir.path(), vec![no_arm, no_p, event(2, "s", Click, None)]);
    assert!(matches!(
        refused(None),
        Err(Error::NoPropensities { answers: 2, .. })
    ));
    write(dir.path(), vec![answer(3, "s", "a", 0.5)]);
    assert_eq!(refused(None).unwrap(), "e");
    let mut other = answer(2, "s", "c", 0.5);
    if let Record::Answer(answer) = &mut other {
        answer.experiment = Some("f".into());
    }
    write(dir.path(), vec![other]);
    let error = refused(None).unwrap_err().to_string();
    assert!(
        error.contains("2 experiments; name one of its experiments: e, f"),
        "{error}"
    );
    assert_eq!(refused(Some("f")).unwrap(), "f");
    let error = refused(Some("g")).unwrap_err().to_string();
    assert!(error.contains("experiment \"g\" has no answer"), "{error}");
}

#[test]
fn writers_of_one_directory_rotate_without_losing_or_mixing_records() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions {
        max_bytes: 2_000,
        sync_interval: Duration::from_millis(1),
    };
    let mut threads = Vec::new();
    for writer in 0..2 {
        let log = Arc::new(LogWriter::open(dir.path(), options.clone()).unwrap());
        for thread in 0..2 {
            let log = Arc::clone(&log);
            threads.push(std::thread::spawn(move || {
                for time in 0..100 {
                    let session = format!("{writer}-{thread}");
                    let pair = [0, 1].map(|n| event(2 * time + n, &session, Click, None));
                    log.append_all(pair).unwrap();
                }
            }));
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let mut next = std::collections::BTreeMap::new();
    for record in read(dir.path()) {
        let Record::Event(event) = record else {
            panic!("{record:?}");
        };
        let expected = next.entry(event.session).or_insert(0);
        assert_eq!(event.time, *expected);
        *expected += 1;
    }
    assert_eq!(next.into_values().collect::<Vec<_>>(), [200; 4]);
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        assert!(entry.unwrap().metadata().unwrap().len() <= 2_000);
        files += 1;
    }
    assert!(files > 20, "{files}");
}

#[test]
fn log_that_grows_while_it_is_read_is_read_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let writer = LogWriter::open(dir.path(), WriterOptions::default()).unwrap();
    writer.append(answer(1, "s", "a", 0.5)).unwrap();
    let log = Log::open(dir.path()).unwrap();
    writer.append(event(2, "s", Click, None)).unwrap();
    let before = log.sessions(&SessionOptions::default()).unwrap();
    let after = Log::open(dir.path())
        .unwrap()
        .sessions(&SessionOptions::default())
        .unwrap();
    assert_eq!((before.records[0].clicks, after.records[0].clicks), (0, 1));
}
