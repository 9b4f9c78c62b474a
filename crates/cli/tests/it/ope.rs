//! `prl ope` on a log whose arms differ by a known amount.

use std::path::Path;
use std::process::Command;

use prl_arms::{Answer, Event, EventKind, Experiment, LogWriter, Record};
use prl_tables::{Cell, TableReader};
use serde_json::Value;

const SESSIONS: u64 = 3_000;

/// Exit code, stdout and stderr.
fn prl(dir: &Path, line: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    (output.status.code().unwrap(), out, err)
}

/// Writes a log in which sessions of the arm `high` buy for 30 and those of `low` click once.
/// Returns the number of sessions of `high`.
fn write(dir: &Path, p_factor: f64) -> u64 {
    let text = "name = 'dial'\narm = [{ name = 'low' }, { name = 'high' }]";
    let experiment = Experiment::from_toml("e.toml", text).unwrap();
    let log = LogWriter::open(&dir.join("log"), Default::default()).unwrap();
    let mut high = 0;
    for i in 0..SESSIONS {
        let session = format!("s{i}");
        let assigned = experiment.assign(&session);
        let is_high = assigned.arm.name == "high";
        high += u64::from(is_high);
        let answer = Answer {
            time: i,
            experiment: Some("dial".into()),
            session: session.clone(),
            step: 2,
            arm: Some(assigned.arm.name.clone()),
            p: Some(assigned.p * p_factor),
            ..Answer::default()
        };
        let event = Event {
            time: i + 1,
            session,
            item: "7".into(),
            kind: if is_high {
                EventKind::Purchase
            } else {
                EventKind::Click
            },
            value: is_high.then_some(30.0),
        };
        log.append_all([Record::Answer(answer), Record::Event(event)])
            .unwrap();
    }
    high
}

#[test]
fn ope_tells_the_arms_apart_and_exports_the_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let high = write(dir.path(), 1.0);
    let line = "ope --log log --baseline low --json --export s.parquet";
    let (code, out, err) = prl(dir.path(), line);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["sessions"], SESSIONS);
    let [first, second, logged] = report["policies"].as_array().unwrap().as_slice() else {
        panic!("{out}");
    };
    assert_eq!(
        (&first["policy"], &first["sessions"]),
        (&"arm:high".into(), &high.into())
    );
    let near = |found: &Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-9;
    assert!(near(&first["snips"]["value"], 1.0) && near(&second["snips"]["value"], 0.2));
    let share = high as f64 / SESSIONS as f64;
    assert!(near(&first["ips"]["value"], 2.0 * share));
    assert!(near(&logged["dr"]["value"], 0.2 + 0.8 * share));
    let difference = &report["differences"][0];
    assert!(near(&difference["difference"]["value"], 0.8) && near(&difference["relative"], 4.0));
    assert_eq!(difference["is_significant"], true);

    let mut table = TableReader::open(&dir.path().join("s.parquet")).unwrap();
    table.select(vec!["return".into()]);
    let (mut rows, mut returns) = (0, 0.0);
    while let Some(slice) = table.next_rows().unwrap() {
        for row in 0..slice.len() {
            returns += match slice.cell(0, row).unwrap() {
                Cell::Int(value) => value as f64,
                Cell::Float(value) => value,
                other => panic!("row {row}: {other:?}"),
            };
        }
        rows += slice.len();
    }
    assert_eq!(rows as u64, SESSIONS);
    assert!((returns - (high as f64 + 0.2 * (SESSIONS - high) as f64)).abs() < 1e-6);

    let (code, out, err) = prl(dir.path(), "ope --log log --value --baseline low");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("arm:high  +30.0000"), "{out}");
    std::fs::write(
        dir.path().join("r.toml"),
        "[[rule]]\narm = 'high'\nstep = [2, 2]\n",
    )
    .unwrap();
    let (code, _, err) = prl(dir.path(), "ope --log log --policy rules:r.toml");
    assert_eq!(
        (code, err.contains("r.toml:4: the last rule has conditions")),
        (2, true),
        "{err}"
    );
}

#[test]
fn ope_refuses_logs_that_identify_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0.5);
    std::fs::write(
        dir.path().join("events.csv"),
        "timestamp,visitorid,event,itemid\n",
    )
    .unwrap();
    let own = "{\"v\":1,\"kind\":\"answer\",\"time\":1,\"session\":\"s\",\"step\":0,\"model\":\"m\",\
               \"items\":[],\"scores\":[]}\n";
    std::fs::write(dir.path().join("own.jsonl"), own).unwrap();
    for (line, code, expected) in [
        ("ope --log log", 3, "mean weight 2.0"),
        ("ope --log log --min-ess 5000", 3, "effective sample size 1"),
        ("ope --log log --policy logged", 0, ""),
        ("ope --log events.csv", 3, "does not say what was shown"),
        ("ope --log own.jsonl", 3, "the log has no propensities"),
        (
            "ope --log log --experiment other",
            2,
            "name one of its experiments: dial",
        ),
        (
            "ope --log log --policy arm:mid",
            2,
            "its arms are high, low",
        ),
        ("ope --log log --baseline mid", 2, "its arms are high, low"),
        ("ope --log log --reward purchase=1", 2, "name both kinds"),
        (
            "ope --log log --reward click=x,purchase=1",
            2,
            "not a finite number",
        ),
        ("ope --log absent", 1, "absent: "),
    ] {
        let (found, out, err) = prl(dir.path(), line);
        assert_eq!(found, code, "{line}: {out}{err}");
        assert!(err.contains(expected), "{line}: {err}");
    }
}
