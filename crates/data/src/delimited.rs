//! Tables in delimited text: CSV by column mapping, and RecBole's `.inter`.

use std::path::Path;

use prl_dataset::SourceFile;

use crate::columns::Columns;
use crate::delimited_reader::{self, Batch, Header, find};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::log::Log;
use crate::options::Table;
use crate::records::Dialect;
use crate::table_reader::{Events, Role, Value};
use crate::values::{Cell, Wanted};

/// Reads CSV with a header line. Options without a column mapping are rejected earlier.
pub(crate) fn read_csv(
    inputs: &[Input],
    delimiter: char,
    table: &Table,
) -> Result<(Log, Vec<SourceFile>)> {
    let delimiter = u8::try_from(delimiter)
        .ok()
        .filter(|d| d.is_ascii() && !b"\"\n\r\0".contains(d));
    let delimiter = delimiter.ok_or_else(|| {
        Error::Options("the delimiter must be one ASCII character, and no quote".into())
    })?;
    read(
        inputs,
        Dialect {
            delimiter,
            quote: Some(b'"'),
        },
        table,
        |_, names| Ok(names.to_vec()),
    )
}

/// Reads RecBole's `.inter`: tabs, no quotes, `name:type` headers.
pub(crate) fn read_inter(inputs: &[Input], table: &Table) -> Result<(Log, Vec<SourceFile>)> {
    read(
        inputs,
        Dialect {
            delimiter: b'\t',
            quote: None,
        },
        table,
        |input, names| {
            let name = |header: &String| match header.split_once(':') {
                Some((name, _)) => Ok(name.to_owned()),
                None => {
                    let what = format!(
                        "header {header:?} is not name:type, such as item_id:token; for plain headers use --source csv"
                    );
                    Err(Error::line(&input.path, 1, what))
                }
            };
            names.iter().map(name).collect()
        },
    )
}

fn read(
    inputs: &[Input],
    dialect: Dialect,
    table: &Table,
    names: impl Fn(&Input, &[String]) -> Result<Vec<String>>,
) -> Result<(Log, Vec<SourceFile>)> {
    let mut events = Events::default();
    let mut mapping = table.columns.clone();
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let choose = |header: &[String]| {
            let names = names(input, header)?;
            let columns = mapping.get_or_insert_with(|| recbole(&names));
            wanted(input, &names, columns)
        };
        files.push(delimited_reader::read(
            input,
            dialect,
            Header::FirstLine,
            choose,
            Ok,
            |batch: Batch| {
                let values = |role: Role| {
                    Ok(batch
                        .texts(role as usize)?
                        .map(|text| text.map_or(Value::Missing, Value::Text)))
                };
                events.take(table, batch.rows(), values, |(row, role, expected)| {
                    batch.fault(row, role as usize, expected)
                })
            },
        )?);
    }
    let columns = mapping.unwrap_or_else(|| recbole(&[]));
    let source = inputs.first().map(|input| input.path.as_path());
    let log = events.finish(source.unwrap_or(Path::new("")), table, &columns)?;
    Ok((log, files))
}

/// Default mapping for RecBole's names: the session column if it exists, else the user column.
fn recbole(names: &[String]) -> Columns {
    let session = if names.iter().any(|n| n == "session_id") {
        "session_id"
    } else {
        "user_id"
    };
    Columns {
        session: session.into(),
        time: "timestamp".into(),
        item: "item_id".into(),
        event: None,
    }
}

/// Mapped columns, in the order of their roles. Values may be missing, since rows of unnamed event
/// kinds often lack an item.
fn wanted(input: &Input, names: &[String], columns: &Columns) -> Result<Vec<Wanted>> {
    let mend = "name the right one: session=..,time=..,item=..[,event=..]";
    let column = |role: &Role| {
        let name = role.column(columns);
        Ok(Wanted {
            field: find(&input.path, names, name, mend)?,
            name: name.to_owned(),
            cell: Cell::Optional,
        })
    };
    Role::all(columns).iter().map(column).collect()
}
