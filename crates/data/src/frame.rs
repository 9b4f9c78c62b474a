//! Events of a table from a polars frame: a slice of a Parquet file, or a frame in memory.

use std::path::Path;

use polars::prelude::*;

use crate::columns::Columns;
use crate::delimited_reader::find;
use crate::error::{Error, Place, Result};
use crate::log::Log;
use crate::options::Table;
use crate::table_reader::{Events, Role, Value};

/// Hint for a mapping that names a column that does not exist.
const HINT: &str = "name the right one: session=..,time=..,item=..[,event=..]";
/// Path shown in errors in place of a file's.
const FRAME: &str = "frame";

/// Reads the log of a frame in memory, in the order of its rows.
pub(crate) fn read(mut frame: LazyFrame, table: &Table) -> Result<(Log, u64)> {
    let source = Path::new(FRAME);
    let columns = table.mapping()?;
    let schema = frame.collect_schema()?;
    let names: Vec<String> = schema.iter_names().map(ToString::to_string).collect();
    check_columns(source, &names, columns)?;
    let frame = frame.select(wanted(columns)).collect()?;
    let mut events = Events::default();
    take(source, &frame, 0, table, columns, &mut events)?;
    let log = events.finish(source, table, columns)?;
    Ok((log, frame.height() as u64))
}

/// Mapped columns, as a selection.
fn wanted(columns: &Columns) -> Vec<Expr> {
    let mut wanted = Vec::new();
    for role in Role::all(columns) {
        wanted.push(col(role.column(columns)));
    }
    wanted
}

/// Fails if a mapped column is missing or duplicated.
pub(crate) fn check_columns(source: &Path, names: &[String], columns: &Columns) -> Result<()> {
    for role in Role::all(columns) {
        find(source, names, role.column(columns), HINT)?;
    }
    Ok(())
}

/// Appends the rows of `frame`; `start` is the number of rows before it in the source.
pub(crate) fn take(
    source: &Path,
    frame: &DataFrame,
    start: usize,
    table: &Table,
    columns: &Columns,
    events: &mut Events,
) -> Result<()> {
    let mut typed = Vec::new();
    for role in Role::all(columns) {
        typed.push(text_of(source, frame, role.column(columns))?);
    }
    events.take(
        table,
        frame.height(),
        |role| Ok(values(source, role, &typed[role as usize])?.into_iter()),
        |(row, role, expected)| Error::Cell {
            path: source.to_owned(),
            place: Place::Row((start + row + 1) as u64),
            column: role.column(columns).to_owned(),
            found: shown(&typed[role as usize], row),
            expected: expected.to_owned(),
        },
    )
}

/// Formats a value for a message. A time is shown as its number, since one out of range has no
/// other form.
fn shown(column: &Column, row: usize) -> String {
    column
        .to_physical_repr()
        .get(row)
        .map_or_else(|e| e.to_string(), |value| value.str_value().into_owned())
}

/// Returns the column, with text in one representation.
fn text_of(source: &Path, frame: &DataFrame, name: &str) -> Result<Column> {
    let column = frame
        .column(name)
        .map_err(|e| Error::file(source, e.to_string()))?;
    let cast = match column.dtype() {
        DataType::Categorical(..) | DataType::Enum(..) | DataType::Boolean => DataType::String,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::UInt64,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::Float32 => DataType::Float64,
        _ => return Ok(column.rechunk()),
    };
    let cast = column
        .cast(&cast)
        .map_err(|e| Error::file(source, format!("column {name:?}: {e}")))?;
    Ok(cast.rechunk())
}

/// Values of the column, if its type fits the role.
fn values<'a>(source: &Path, role: Role, column: &'a Column) -> Result<Vec<Value<'a>>> {
    let refused = || {
        let due = if role == Role::Time {
            "numbers, times, dates or text"
        } else {
            "whole numbers or text"
        };
        let (name, dtype) = (column.name(), column.dtype());
        Error::file(
            source,
            format!("column {name:?} is of type {dtype}; expected {due}"),
        )
    };
    let read = match column.dtype() {
        DataType::String => column.str().map(|c| {
            c.iter()
                .map(|v| v.map_or(Value::Missing, Value::Text))
                .collect()
        }),
        DataType::UInt64 => column.u64().map(|c| {
            c.iter()
                .map(|v| v.map_or(Value::Missing, unsigned))
                .collect()
        }),
        DataType::Int64 => column.i64().map(|c| {
            c.iter()
                .map(|v| v.map_or(Value::Missing, Value::Whole))
                .collect()
        }),
        DataType::Float64 if role == Role::Time => column.f64().map(|c| {
            c.iter()
                .map(|v| v.map_or(Value::Missing, Value::Real))
                .collect()
        }),
        DataType::Date | DataType::Datetime(..) if role == Role::Time => moments(column),
        _ => return Err(refused()),
    };
    read.map_err(|e| Error::file(source, format!("column {:?}: {e}", column.name())))
}

fn unsigned<'a>(n: u64) -> Value<'a> {
    i64::try_from(n).map_or(Value::Large(n), Value::Whole)
}

/// Values of a date or time column, by the unit of its type. A time zone affects display only:
/// values count from 1970, UTC.
fn moments<'a>(column: &Column) -> PolarsResult<Vec<Value<'a>>> {
    let nanos = match column.dtype() {
        DataType::Datetime(TimeUnit::Nanoseconds, _) => 1,
        DataType::Datetime(TimeUnit::Microseconds, _) => 1000,
        DataType::Datetime(TimeUnit::Milliseconds, _) => 1_000_000,
        _ => 86_400_000_000_000,
    };
    let physical = column.to_physical_repr().cast(&DataType::Int64)?;
    let time = |v: Option<i64>| {
        v.and_then(|v| v.checked_mul(nanos))
            .map_or(Value::Missing, Value::Nanos)
    };
    Ok(physical.i64()?.iter().map(time).collect())
}
