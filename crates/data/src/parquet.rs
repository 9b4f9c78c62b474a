//! Tables in Parquet, read a slice of rows at a time, so that memory does not grow with the file.

use std::fs::File;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use polars::prelude::*;
use prl_dataset::SourceFile;

use crate::columns::Columns;
use crate::dropped::Dropped;
use crate::error::{Error, Place, Result};
use crate::footer;
use crate::input::Input;
use crate::log::Log;
use crate::options::Table;
use crate::table::{Events, Role, Value};
use crate::text::find;

/// Rows in a slice.
const SLICE: usize = 1 << 20;
const MAGIC: &[u8] = b"PAR1";
const READ: usize = 1 << 20;

/// The log of Parquet files with one mapping.
pub(crate) fn read(
    inputs: &[Input],
    table: &Table,
    dropped: &mut Dropped,
) -> Result<(Log, Vec<SourceFile>)> {
    let columns = table.mapping()?;
    let mut events = Events::default();
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let file = read_file(input, table, columns, &mut events)?;
        // Engines that write partitions by a hash leave some empty; a log that is one file is none then.
        if file.rows == 0 && inputs.len() == 1 {
            return Err(Error::file(&input.path, "the file holds no row"));
        }
        files.push(file);
    }
    Ok((events.finish(inputs, table, columns, dropped)?, files))
}

fn read_file(
    input: &Input,
    table: &Table,
    columns: &Columns,
    events: &mut Events,
) -> Result<SourceFile> {
    let (mut file, mut described) = unpack(input)?;
    if let Err(what) = footer::check(&mut file).map_err(Error::io(&input.path))? {
        return Err(Error::file(
            &input.path,
            format!("damaged Parquet ({what}); fetch the file again"),
        ));
    }
    let mut reader = ParquetReader::new(file.try_clone().map_err(Error::io(&input.path))?);
    let (schema, rows) = guarded(input, || Ok((reader.schema()?, reader.num_rows()?)))?;
    let names: Vec<String> = schema.iter_names().map(ToString::to_string).collect();
    let mend = "name the right one: session=..,time=..,item=..[,event=..]";
    for role in Role::all(columns) {
        find(input, &names, role.column(columns), mend)?;
    }
    for start in (0..rows).step_by(SLICE) {
        let frame = guarded(input, || slice(&file, columns, start))?;
        let height = frame.height();
        if height != SLICE.min(rows - start) {
            return Err(Error::file(
                &input.path,
                "holds fewer rows than it says; fetch the file again",
            ));
        }
        let text = |role: Role| text_of(input, &frame, role.column(columns));
        let typed: Vec<Column> = Role::all(columns)
            .iter()
            .map(|&r| text(r))
            .collect::<Result<_>>()?;
        let cells = |role: Role| values(input, role, &typed[role as usize]);
        events.take(
            table,
            height,
            |role| Ok(cells(role)?.into_iter()),
            |(row, role, expected)| Error::Cell {
                path: input.path.clone(),
                place: Place::Row((start + row + 1) as u64),
                column: role.column(columns).to_owned(),
                found: shown(&typed[role as usize], row),
                expected: expected.to_owned(),
            },
        )?;
    }
    described.rows = rows as u64;
    Ok(described)
}

fn slice(file: &File, columns: &Columns, start: usize) -> PolarsResult<DataFrame> {
    let sources = ScanSources::Files(Arc::new([file.try_clone()?]));
    let hive_options = HiveOptions::new_disabled();
    let arguments = ScanArgsParquet {
        glob: false,
        hive_options,
        ..ScanArgsParquet::default()
    };
    let wanted: Vec<Expr> = Role::all(columns)
        .iter()
        .map(|r| col(r.column(columns)))
        .collect();
    LazyFrame::scan_parquet_sources(sources, arguments)?
        .select(wanted)
        .slice(start as i64, SLICE as IdxSize)
        .collect()
}

/// The file as plain Parquet, and what the manifest says of it as stored. Parquet is read by seeking, so one that is
/// compressed as a whole goes to a temporary file, which the system removes when it is closed.
fn unpack(input: &Input) -> Result<(File, SourceFile)> {
    let mut stream = input.open()?;
    let mut unpacked = match stream.is_packed() {
        true => Some(tempfile::tempfile().map_err(Error::io(&input.path))?),
        false => None,
    };
    let (mut buffer, mut head, mut size) = (Vec::new(), Vec::new(), 0);
    while stream.read_into(&mut buffer, READ)? > 0 {
        if size == 0 {
            head = buffer[..buffer.len().min(MAGIC.len())].to_vec();
        }
        size += buffer.len();
        if let Some(file) = &mut unpacked {
            file.write_all(&buffer).map_err(Error::io(&input.path))?;
        }
        buffer.clear();
    }
    match size {
        0 => return Err(Error::file(&input.path, "the file is empty")),
        _ if head != MAGIC => {
            return Err(Error::file(
                &input.path,
                "this is no Parquet file; for delimited text use --source csv",
            ));
        }
        _ => {}
    }
    let file = match unpacked {
        Some(mut file) => file.rewind().map(|()| file),
        None => File::open(&input.path),
    };
    Ok((file.map_err(Error::io(&input.path))?, stream.finish(0)))
}

/// Runs a reader that panics on some damaged files, so that those too end in an error.
fn guarded<T>(input: &Input, read: impl FnOnce() -> PolarsResult<T>) -> Result<T> {
    let damaged = |why: &dyn std::fmt::Display| {
        Error::file(
            &input.path,
            format!("damaged Parquet ({why}); fetch the file again"),
        )
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|e| damaged(&e)),
        Err(_) => Err(damaged(&"its pages contradict its metadata")),
    }
}

/// A value for a message. A time is shown as its number: one that is out of range has no other form.
fn shown(column: &Column, row: usize) -> String {
    column
        .to_physical_repr()
        .get(row)
        .map_or_else(|e| e.to_string(), |value| value.str_value().into_owned())
}

/// The column, with text in one representation.
fn text_of(input: &Input, frame: &DataFrame, name: &str) -> Result<Column> {
    let column = frame
        .column(name)
        .map_err(|e| Error::file(&input.path, e.to_string()))?;
    let cast = match column.dtype() {
        DataType::Categorical(..) | DataType::Enum(..) | DataType::Boolean => DataType::String,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::UInt64,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::Float32 => DataType::Float64,
        _ => return Ok(column.rechunk()),
    };
    let cast = column
        .cast(&cast)
        .map_err(|e| Error::file(&input.path, format!("column {name:?}: {e}")))?;
    Ok(cast.rechunk())
}

/// The column's values, if its type can play the role.
fn values<'a>(input: &Input, role: Role, column: &'a Column) -> Result<Vec<Value<'a>>> {
    let refused = || {
        let due = if role == Role::Time {
            "numbers, times, dates or text"
        } else {
            "whole numbers or text"
        };
        let (name, dtype) = (column.name(), column.dtype());
        Error::file(
            &input.path,
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
    read.map_err(|e| Error::file(&input.path, format!("column {:?}: {e}", column.name())))
}

fn unsigned<'a>(n: u64) -> Value<'a> {
    i64::try_from(n).map_or(Value::Large(n), Value::Whole)
}

/// Dates and times with their unit in their type. A zone only says how they are shown: they count from 1970, UTC.
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
