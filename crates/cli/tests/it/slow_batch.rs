//! Batch scoring: files of sessions in, files of answers out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use prl_runs::{Device, Method, RequestFields, Responder, Run};
use serde_json::{Value, json};

use crate::common;

/// A small run of a method without training steps to speak of, one for all tests.
fn trained() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        let mut config = common::quick(common::ring(dir.path(), 100));
        (config.method, config.max_steps) = (Method::Prl, Some(50));
        prl_train::Trainer::new(&config, &out)
            .device(&Device::Cpu)
            .stop_flag(&AtomicBool::new(false))
            .run(&mut common::Quiet)
            .unwrap();
        (dir, out)
    });
    run
}

fn recommend(dir: &Path, flags: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(["recommend", "--run"])
        .arg(trained())
        .args(flags.split(' '))
        .output()
        .unwrap()
}

fn ok(dir: &Path, flags: &str) {
    let output = recommend(dir, flags);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags}: {error}");
}

fn failed(dir: &Path, flags: &str, code: i32, expected: &str) {
    let output = recommend(dir, flags);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(expected), "{flags}: {error}");
    assert_eq!(output.status.code(), Some(code), "{flags}");
}

/// Requests with all kinds of options, more than one batch.
fn requests() -> Vec<Value> {
    let mut requests = Vec::new();
    for n in 0..700_u32 {
        let mut items = Vec::new();
        for t in 0..n % 9 {
            items.push(format!("item-{}", (n * 7 + t * t) % 63));
        }
        let mut request = json!({"session": format!("s{n}"), "items": items});
        match n % 7 {
            0 => request["k"] = (1 + n % 50).into(),
            1 => request["mu"] = (f64::from(n) * 0.01).into(),
            2 => {
                (request["eps"], request["case"]) = (0.5.into(), n.into());
            }
            3 => {
                request["exclude_seen"] = true.into();
                request["exclude"] = json!(["item-1", n]);
            }
            4 => request["allow"] = json!(["item-2", "item-3", "gone"]),
            5 => {
                request["sequence_wise"] = true.into();
                request["purchased"] = json!(["item-7"]);
                request["quantile"] = 0.75.into();
            }
            _ => {}
        }
        requests.push(request);
    }
    requests
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn batch_has_the_bits_and_order_of_single_requests() {
    let dir = tempfile::tempdir().unwrap();
    let requests = requests();
    let mut text = String::from("\u{feff}");
    for request in &requests {
        text += &format!("{request}\r\n");
    }
    std::fs::write(dir.path().join("in.jsonl"), text).unwrap();
    ok(dir.path(), "--input in.jsonl --out out.jsonl --threads 1");
    ok(dir.path(), "--input in.jsonl --out again.jsonl --threads 3");
    let bytes = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert!(bytes("out.jsonl") == bytes("again.jsonl"));
    let run = Run::open(trained()).unwrap();
    let model = run.load(&Device::Cpu).unwrap();
    let responder = Responder::new(run, model).unwrap();
    let (run, model) = (responder.run(), responder.run().load(&Device::Cpu).unwrap());
    let answers = lines(&dir.path().join("out.jsonl"));
    assert_eq!(answers.len(), requests.len());
    for (request, answer) in requests.iter().zip(&answers) {
        let fields = RequestFields::parse(request.to_string().as_bytes()).unwrap();
        let one = fields.resolve(run.ask()).unwrap();
        let single = responder.respond(std::slice::from_ref(&one)).unwrap();
        // Through text, as the answers were.
        let mut expected: Value =
            serde_json::from_str(&serde_json::to_string(&single[0]).unwrap()).unwrap();
        expected["session"] = request["session"].clone();
        assert_eq!(answer, &expected, "{request}");
        if one.case == 0 && one.filter == Default::default() {
            let plain = run.recommend(&model, &one.session, one.prompt, one.k);
            assert_eq!(plain.unwrap(), single[0].answer, "{request}");
        }
    }
}

#[test]
fn failed_batch_leaves_the_output_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let good = "{\"items\": [\"item-4\"]}\n";
    let text = format!("{}{}", good.repeat(5_000), "{\"items\": [], \"k\": 0}\n");
    std::fs::write(dir.join("in.jsonl"), text).unwrap();
    std::fs::write(dir.join("out.jsonl"), "old").unwrap();
    failed(
        dir,
        "--input in.jsonl --out out.jsonl",
        2,
        "in.jsonl, line 5001: k: expected a whole number from 1 to 1000, found 0",
    );
    assert_eq!(std::fs::read(dir.join("out.jsonl")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 2, "no other file");
    failed(dir, "--input none.jsonl", 1, "none.jsonl");
    failed(dir, "--input in.jsonl --out no/out.jsonl", 1, "out.jsonl");
    failed(dir, "--input in.jsonl --items a", 2, "cannot be used with");
    failed(
        dir,
        "--input in.jsonl --purchased a",
        2,
        "cannot be used with",
    );
    std::fs::write(dir.join("cut.jsonl"), "{\"items\": [\n").unwrap();
    failed(
        dir,
        "--input cut.jsonl",
        2,
        "cut.jsonl, line 1: not valid JSON",
    );
    std::fs::write(dir.join("long.jsonl"), " ".repeat(2 << 20)).unwrap();
    failed(dir, "--input long.jsonl", 2, "line 1: longer than 1 MiB");
}

#[cfg(feature = "tables")]
mod tables {
    use super::*;
    use prl_tables::{Cell, TableReader, TableWriter, Type, Values};

    fn rows(path: &Path) -> Vec<Vec<Cell>> {
        let mut reader = TableReader::open(path).unwrap();
        let width = reader.columns().len();
        let mut found = Vec::new();
        while let Some(rows) = reader.next_rows().unwrap() {
            for row in 0..rows.len() {
                let cells = (0..width).map(|column| rows.cell(column, row).unwrap());
                found.push(cells.collect());
            }
        }
        found
    }

    fn text(cell: &Cell) -> Value {
        match cell {
            Cell::Text(text) => json!(text),
            Cell::Float(value) => json!(*value as f32),
            Cell::Int(value) => json!(*value as f32),
            Cell::List(cells) => cells.iter().map(text).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Item ids or scores of an answer in JSON.
    fn listed(answer: &Value, what: &str) -> Value {
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|item| item[what].clone()).collect()
    }

    #[test]
    fn parquet_has_the_answers_of_json_lines() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let columns = [
            ("visit", Type::Text),
            ("items", Type::TextList),
            ("k", Type::U32),
            ("mu", Type::F64),
            ("exclude", Type::TextList),
            ("country", Type::Text),
        ];
        let mut table = TableWriter::create(&dir.join("in.parquet"), &columns).unwrap();
        let mut lines_in = String::new();
        for n in 0..600_u32 {
            let items: Vec<String> = (0..n % 5)
                .map(|t| format!("item-{}", (n + t) % 61))
                .collect();
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            let (name, mu) = (format!("v{n}"), f64::from(n) / 64.0);
            let k = (!n.is_multiple_of(3)).then_some(1 + n % 30);
            table
                .write(&[
                    Values::Text(&[Some(&name)]),
                    Values::TextList(std::slice::from_ref(&items)),
                    Values::U32(&[k]),
                    Values::F64(&[Some(mu)]),
                    Values::TextList(&[vec!["item-9"]]),
                    Values::Text(&[None]),
                ])
                .unwrap();
            let line = json!({"session": name, "items": items, "k": k, "mu": mu,
                "exclude": ["item-9"]});
            lines_in += &format!("{line}\n");
        }
        table.finish().unwrap();
        std::fs::write(dir.join("in.jsonl"), lines_in).unwrap();
        ok(dir, "--input in.jsonl --out a.jsonl");
        ok(
            dir,
            "--input in.parquet --columns session=visit --out b.jsonl",
        );
        ok(
            dir,
            "--input in.parquet --columns session=visit --out c.parquet",
        );
        let bytes = |name: &str| std::fs::read(dir.join(name)).unwrap();
        assert!(bytes("a.jsonl") == bytes("b.jsonl"));
        let (answers, rows) = (lines(&dir.join("a.jsonl")), rows(&dir.join("c.parquet")));
        assert_eq!((answers.len(), rows.len()), (600, 600));
        for (answer, row) in answers.iter().zip(&rows) {
            assert_eq!(text(&row[0]), answer["session"]);
            assert_eq!(text(&row[1]), listed(answer, "item"));
            let scores = listed(answer, "score");
            let found = text(&row[2]);
            for (a, b) in scores
                .as_array()
                .unwrap()
                .iter()
                .zip(found.as_array().unwrap())
            {
                let bits = [a, b].map(|score| (score.as_f64().unwrap() as f32).to_bits());
                assert_eq!(bits[0], bits[1]);
            }
            assert_eq!(text(&row[3]), answer["unknown_items"]);
        }
        failed(
            dir,
            "--input in.parquet --columns session=x",
            2,
            "no column x",
        );
    }

    #[test]
    fn events_in_rows_are_grouped_by_session() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let write = |name: &str, events: &[(u32, &str, &str)]| {
            let columns = [
                ("session", Type::U32),
                ("item", Type::Text),
                ("kind", Type::Text),
            ];
            let mut table = TableWriter::create(&dir.join(name), &columns).unwrap();
            for &(session, item, kind) in events {
                let (session, item, kind) = ([Some(session)], [Some(item)], [Some(kind)]);
                let row = [
                    Values::U32(&session),
                    Values::Text(&item),
                    Values::Text(&kind),
                ];
                table.write(&row).unwrap();
            }
            table.finish().unwrap();
        };
        let events = [
            (9, "item-4", "click"),
            (9, "item-5", "purchase"),
            (10, "item-6", "click"),
            (11, "gone", "click"),
        ];
        write("in.parquet", &events);
        ok(dir, "--input in.parquet --sequence-wise --out out.jsonl");
        let lines_in = [
            json!({"session": 9, "items": ["item-4", "item-5"], "purchased": ["item-5"]}),
            json!({"session": 10, "items": ["item-6"]}),
            json!({"session": 11, "items": ["gone"]}),
        ];
        let lines_in: String = lines_in.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.join("in.jsonl"), lines_in).unwrap();
        ok(dir, "--input in.jsonl --sequence-wise --out expected.jsonl");
        assert_eq!(
            lines(&dir.join("out.jsonl")),
            lines(&dir.join("expected.jsonl"))
        );
        let expected = "--columns k=item: a table of events has the fields session, item, kind;";
        failed(dir, "--input in.parquet --columns k=item", 2, expected);
        write("mixed.parquet", &[events[0], events[2], events[1]]);
        failed(
            dir,
            "--input mixed.parquet",
            2,
            "mixed.parquet, row 3: session 9 comes after session 10; sort the rows by session",
        );
        write("views.parquet", &[(1, "item-4", "view")]);
        let expected = "views.parquet, row 1: kinds[0]: expected click or purchase";
        failed(dir, "--input views.parquet", 2, expected);
        std::fs::write(dir.join("bad.parquet"), "PAR1 and no more").unwrap();
        failed(dir, "--input bad.parquet", 3, "bad.parquet");
    }
}
