//! Tables in delimited text: CSV by column mapping, and RecBole's `.inter`.

use std::cell::OnceCell;
use std::path::Path;

use prl_dataset::SourceFile;

use crate::columns::Columns;
use crate::delimited_reader::{self, Batch, Header};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::log::Log;
use crate::options::Table;
use crate::records::Dialect;
use crate::roles::Roles;
use crate::table;
use crate::table_reader::{Events, Value};
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
        let roles = OnceCell::new();
        let choose = |header: &[String]| {
            let names = names(input, header)?;
            let columns = mapping.get_or_insert_with(|| recbole(&names));
            let found = Roles::new(&input.path, &input.shared, &names, columns)?;
            Ok(wanted(roles.get_or_init(|| found)))
        };
        let take = |batch: Batch| {
            // `choose` is called before the first batch.
            let Some(roles) = roles.get() else {
                return Ok(());
            };
            let column = |position| {
                let texts = batch.texts(position)?;
                Ok(texts.map(|text| text.map_or(Value::Missing, Value::Text)))
            };
            events.take(
                table,
                roles,
                batch.rows(),
                column,
                |(row, role, expected)| batch.fault(row, roles.column(role).unwrap_or(0), expected),
            )
        };
        let header = Header::FirstLine;
        files.push(delimited_reader::read(
            input, dialect, header, choose, Ok, take,
        )?);
    }
    let columns = mapping.unwrap_or_else(|| recbole(&[]));
    let source = inputs.first().map(|input| input.path.as_path());
    let log = events.finish(source.unwrap_or(Path::new("")), table, &columns)?;
    Ok((table::steps(log, table)?, files))
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
        time: Some("timestamp".into()),
        item: "item_id".into(),
        event: None,
        split: None,
    }
}

/// Columns to read. Values may be missing, since rows of unnamed event kinds often lack an item.
fn wanted(roles: &Roles) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (name, field) in roles.columns() {
        wanted.push(Wanted {
            field: *field,
            name: name.clone(),
            cell: Cell::Optional,
        });
    }
    wanted
}
