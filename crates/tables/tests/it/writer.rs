//! Files of the table writer, read back with polars' reader.

use std::path::Path;

use polars_core::prelude::*;
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;
use prl_tables::{Error, ROW_GROUP, TableWriter, Type, Values};

const COLUMNS: [(&str, Type); 5] = [
    ("session", Type::U32),
    ("weight", Type::F64),
    ("item", Type::Text),
    ("top", Type::TextList),
    ("scores", Type::F32List),
];

fn read(path: &Path) -> DataFrame {
    let file = std::fs::File::open(path).unwrap();
    ParquetReader::new(file).finish().unwrap()
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn values_of_every_type_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let mut table = TableWriter::create(&path, &COLUMNS).unwrap();
    table
        .write(&[
            Values::U32(&[Some(7), None]),
            Values::F64(&[None, Some(0.5)]),
            Values::Text(&[Some("a,\"b\""), None]),
            Values::TextList(&[vec!["ü", ""], vec![]]),
            Values::F32List(&[vec![1.5], vec![]]),
        ])
        .unwrap();
    table
        .write(&[
            Values::U32(&[Some(u32::MAX)]),
            Values::F64(&[Some(-1.0)]),
            Values::Text(&[Some("c")]),
            Values::TextList(&[vec!["x"]]),
            Values::F32List(&[vec![0.25, -2.0]]),
        ])
        .unwrap();
    assert!(!path.exists());
    assert_eq!(table.rows(), 3);
    table.finish().unwrap();
    let frame = read(&path);
    let sessions: Vec<_> = frame["session"].u32().unwrap().iter().collect();
    assert_eq!(sessions, [Some(7), None, Some(u32::MAX)]);
    let weights: Vec<_> = frame["weight"].f64().unwrap().iter().collect();
    assert_eq!(weights, [None, Some(0.5), Some(-1.0)]);
    let items: Vec<_> = frame["item"].str().unwrap().iter().collect();
    assert_eq!(items, [Some("a,\"b\""), None, Some("c")]);
    let tops = frame["top"].list().unwrap();
    let expected: [&[&str]; 3] = [&["ü", ""], &[], &["x"]];
    for (row, expected) in expected.iter().enumerate() {
        let list = tops.get_as_series(row).unwrap();
        let found: Vec<_> = list.str().unwrap().iter().flatten().collect();
        assert_eq!(&found, expected);
    }
    let scores = frame["scores"].list().unwrap().get_as_series(2).unwrap();
    let found: Vec<_> = scores.f32().unwrap().iter().collect();
    assert_eq!(found, [Some(0.25), Some(-2.0)]);
    assert_eq!(files(dir.path()), 1);
}

#[test]
fn rows_are_written_in_row_groups() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let mut table = TableWriter::create(&path, &[("n", Type::U32)]).unwrap();
    let rows = 2 * ROW_GROUP + 1_000;
    for start in (0..rows).step_by(1_000) {
        let mut values = Vec::new();
        for n in start..(start + 1_000).min(rows) {
            values.push(Some(n as u32));
        }
        table.write(&[Values::U32(&values)]).unwrap();
    }
    table.finish().unwrap();
    let mut reader = ParquetReader::new(std::fs::File::open(&path).unwrap());
    let metadata = reader.get_metadata().unwrap().clone();
    assert_eq!(metadata.row_groups.len(), 3);
    let frame = read(&path);
    assert_eq!(frame.height(), rows);
    let is_in_order = |(i, n): (usize, Option<u32>)| n == Some(i as u32);
    assert!(
        frame["n"]
            .u32()
            .unwrap()
            .iter()
            .enumerate()
            .all(is_in_order)
    );
}

#[test]
fn table_without_rows_keeps_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    TableWriter::create(&path, &COLUMNS)
        .unwrap()
        .finish()
        .unwrap();
    let frame = read(&path);
    assert_eq!((frame.height(), frame.width()), (0, 5));
}

#[test]
fn unfinished_file_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    std::fs::write(&path, "old").unwrap();
    let mut table = TableWriter::create(&path, &[("n", Type::U32)]).unwrap();
    table.write(&[Values::U32(&[Some(1)])]).unwrap();
    drop(table);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(files(dir.path()), 1);
}

#[test]
fn values_of_another_schema_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let mut table = TableWriter::create(&path, &[("n", Type::U32), ("x", Type::F64)]).unwrap();
    let refused = [
        (vec![Values::U32(&[])], "1 columns instead of 2"),
        (
            vec![Values::U32(&[Some(1)]), Values::U32(&[Some(1)])],
            "column x is U32 instead of F64",
        ),
        (
            vec![Values::U32(&[Some(1)]), Values::F64(&[])],
            "column x has 0 rows instead of 1",
        ),
    ];
    for (values, expected) in refused {
        match table.write(&values).unwrap_err() {
            Error::Schema { what, .. } => assert_eq!(what, expected),
            other => panic!("{other}"),
        }
    }
    let missing = TableWriter::create(&dir.path().join("no/t.parquet"), &COLUMNS);
    assert!(matches!(missing, Err(Error::Fs(_))));
}
