//! Tables that the writer wrote, read back in slices.

use polars_core::prelude::*;
use polars_io::parquet::write::ParquetWriter;
use prl_tables::{Cell, Error, SLICE, TableReader, TableWriter, Type, Values};

#[test]
fn rows_of_several_slices_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let columns = [("n", Type::U32), ("name", Type::Text)];
    let mut table = TableWriter::create(&path, &columns).unwrap();
    let n: Vec<Option<u32>> = (0..SLICE as u32 + 10).map(Some).collect();
    let names = vec![Some("é"); n.len()];
    let values = [Values::U32(&n), Values::Text(&names)];
    table.write(&values).unwrap();
    table.finish().unwrap();
    let mut reader = TableReader::open(&path).unwrap();
    assert_eq!(reader.columns(), ["n", "name"]);
    reader.select(vec!["name".into(), "n".into()]);
    let mut read = 0;
    while let Some(rows) = reader.next_rows().unwrap() {
        assert_eq!(rows.first(), read);
        for row in 0..rows.len() {
            assert_eq!(rows.cell(1, row).unwrap(), Cell::UInt(read as u64));
            read += 1;
        }
        assert_eq!(rows.cell(0, 0).unwrap(), Cell::Text("é".into()));
    }
    assert_eq!(read, SLICE + 10);
}

/// Cells of a table of one row.
fn cells(columns: Vec<Column>) -> Vec<Result<Cell, Error>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let width = columns.len();
    let mut frame = DataFrame::new(1, columns).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    ParquetWriter::new(file).finish(&mut frame).unwrap();
    let rows = TableReader::open(&path).unwrap().next_rows();
    let rows = rows.unwrap().unwrap();
    (0..width).map(|column| rows.cell(column, 0)).collect()
}

#[test]
fn values_of_every_type_are_cells() {
    let list = Series::new("".into(), &[1_001.0_f64, 2.5]);
    let columns = vec![
        Column::new("text".into(), ["a"]),
        Column::new("bytes".into(), [b"\xc3\xa9".as_slice()]),
        Column::new("small".into(), [-3_i8]),
        Column::new("large".into(), [u64::MAX]),
        Column::new("whole".into(), [1_001.0_f32]),
        Column::new("nan".into(), [f64::NAN]),
        Column::new("flag".into(), [true]),
        Column::new("none".into(), [None::<i64>]),
        Column::new("list".into(), [list]),
    ];
    let found: Result<Vec<Cell>, Error> = cells(columns).into_iter().collect();
    let mut found = found.unwrap();
    let nan = found.remove(5);
    assert!(matches!(nan, Cell::Float(value) if value.is_nan()));
    let expected = [
        Cell::Text("a".into()),
        Cell::Text("é".into()),
        Cell::Int(-3),
        Cell::UInt(u64::MAX),
        Cell::Int(1_001),
        Cell::Bool(true),
        Cell::Null,
        Cell::List(vec![Cell::Int(1_001), Cell::Float(2.5)]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn column_of_another_type_fails_only_if_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let text = Column::new("text".into(), ["a"]);
    let day = Column::new("day".into(), [1_i32]).cast(&DataType::Date);
    let mut frame = DataFrame::new(1, vec![text, day.unwrap()]).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    ParquetWriter::new(file).finish(&mut frame).unwrap();
    let mut reader = TableReader::open(&path).unwrap();
    assert!(matches!(reader.next_rows(), Err(Error::Type { column, .. }) if column == "day"));
    reader.select(vec!["text".into()]);
    let rows = reader.next_rows().unwrap().unwrap();
    assert_eq!(rows.cell(0, 0).unwrap(), Cell::Text("a".into()));
}

#[test]
fn unreadable_tables_fail_with_typed_errors() {
    let invalid = cells(vec![Column::new("bytes".into(), [b"\xff".as_slice()])]);
    assert!(matches!(&invalid[0], Err(Error::Type { column, .. }) if column == "bytes"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    assert!(matches!(TableReader::open(&path), Err(Error::Fs(_))));
    for content in ["", "PAR1", "PAR1\0\0\0\0\0\0\0\0PAR1", "session,items\n"] {
        std::fs::write(&path, content).unwrap();
        assert!(
            matches!(TableReader::open(&path), Err(Error::Damaged { .. })),
            "{content:?}"
        );
    }
}
