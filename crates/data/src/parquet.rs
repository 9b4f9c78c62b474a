//! Tables in Parquet, read in slices of rows, so that memory does not grow with the file.

use std::fs::File;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use polars::prelude::*;
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;
use prl_dataset::SourceFile;

use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::footer;
use crate::frame;
use crate::input::Input;
use crate::log::Log;
use crate::options::Table;
use crate::table_reader::Events;

/// Number of rows in a slice.
const SLICE: usize = 1 << 20;
const MAGIC: &[u8] = b"PAR1";
const READ: usize = 1 << 20;

/// Reads the log of Parquet files with one mapping.
pub(crate) fn read(inputs: &[Input], table: &Table) -> Result<(Log, Vec<SourceFile>)> {
    let columns = table.mapping()?;
    let mut events = Events::default();
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let file = read_file(input, table, columns, &mut events)?;
        // Engines that partition by a hash leave some files empty; a single empty file is an error.
        if file.rows == 0 && inputs.len() == 1 {
            return Err(Error::file(&input.path, "the file holds no row"));
        }
        files.push(file);
    }
    let source = inputs.first().map(|input| input.path.as_path());
    let log = events.finish(source.unwrap_or(Path::new("")), table, columns)?;
    Ok((log, files))
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
    frame::check_columns(&input.path, &names, columns)?;
    for start in (0..rows).step_by(SLICE) {
        let slice = guarded(input, || read_slice(&file, columns, start))?;
        if slice.height() != SLICE.min(rows - start) {
            return Err(Error::file(
                &input.path,
                "holds fewer rows than it says; fetch the file again",
            ));
        }
        frame::take(&input.path, &slice, start, table, columns, events)?;
    }
    described.rows = rows as u64;
    Ok(described)
}

fn read_slice(file: &File, columns: &Columns, start: usize) -> PolarsResult<DataFrame> {
    let names = columns.names().map(str::to_owned).collect();
    ParquetReader::new(file.try_clone()?)
        .with_columns(Some(names))
        .with_slice(Some((start, SLICE)))
        .finish()
}

/// Opens the file as plain Parquet; returns it and its manifest entry as stored. Parquet needs
/// seeking, so a file that is compressed as a whole is decompressed to a temporary file, which the
/// system removes when it is closed.
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

/// Runs a reader that panics on some damaged files, and turns the panic into an error.
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
