//! Delimited text as typed columns, a chunk at a time: shape checked by [`records`](crate::records), values read by
//! polars, and whatever is wrong named by file, line and column.

use std::sync::Arc;

use polars::prelude::*;
use prl_sessions::SourceFile;

use crate::chunks;
use crate::error::{Error, Place, Result};
use crate::input::Input;
use crate::records::{Dialect, Extent, Records, cells, check, normalise};

/// Where the names of the fields come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Header {
    /// The first line.
    FirstLine,
    /// The format itself; the file has no header.
    Fixed(&'static [&'static str]),
}

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A whole number from 0 to 2^64 - 1.
    Unsigned,
    /// A whole number of 64 bits.
    Integer,
    /// Text that is not empty.
    Text,
    /// Text, or nothing.
    Optional,
}

impl Cell {
    fn dtype(self) -> DataType {
        match self {
            Cell::Unsigned => DataType::UInt64,
            Cell::Integer => DataType::Int64,
            Cell::Text | Cell::Optional => DataType::String,
        }
    }

    fn accepts(self, value: &str) -> bool {
        match self {
            Cell::Unsigned => value.trim_start().parse::<u64>().is_ok(),
            Cell::Integer => value.trim_start().parse::<i64>().is_ok(),
            Cell::Text => !value.is_empty(),
            Cell::Optional => true,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Cell::Unsigned => "a whole number from 0 to 18446744073709551615",
            Cell::Integer => "a whole number of 64 bits",
            Cell::Text => "a value",
            Cell::Optional => "text",
        }
    }
}

/// A column to read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Which field of the record.
    pub field: usize,
    /// Its name, for messages.
    pub name: String,
    /// What it holds.
    pub cell: Cell,
}

/// The wanted columns of one chunk.
pub(crate) struct Batch<'a> {
    columns: Vec<Column>,
    text: &'a [u8],
    first_line: u64,
    table: &'a Layout<'a>,
}

/// What is the same for all chunks of a file.
struct Layout<'a> {
    input: &'a Input,
    dialect: Dialect,
    fields: usize,
    wanted: Vec<Wanted>,
}

impl Batch<'_> {
    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    /// Column `i` of the wanted, of whole numbers from 0.
    pub(crate) fn unsigned(&self, i: usize) -> Result<impl Iterator<Item = u64> + '_> {
        Ok(self.columns[i].u64().map_err(|e| self.table.unread(&e))?.into_no_null_iter())
    }

    /// Column `i` of the wanted, of whole numbers.
    pub(crate) fn integers(&self, i: usize) -> Result<impl Iterator<Item = i64> + '_> {
        Ok(self.columns[i].i64().map_err(|e| self.table.unread(&e))?.into_no_null_iter())
    }

    /// Column `i` of the wanted, of text; an optional value that is missing is `None`.
    pub(crate) fn texts(&self, i: usize) -> Result<impl Iterator<Item = Option<&str>> + '_> {
        Ok(self.columns[i].str().map_err(|e| self.table.unread(&e))?.iter())
    }

    /// The error of the value in row `row` of column `i`.
    pub(crate) fn fault(&self, row: usize, i: usize, expected: impl Into<String>) -> Error {
        self.table.fault(self.text, self.first_line, row, i, expected.into())
    }

    /// Refuses missing values where there must be one; reports the first in the file.
    fn check_present(&self) -> Result<()> {
        let required = self.table.wanted.iter().enumerate().filter(|(_, w)| w.cell != Cell::Optional);
        let first_null = |i: usize| self.columns[i].is_null().iter().position(|null| null == Some(true));
        let first = required
            .filter(|(i, _)| self.columns[*i].null_count() > 0)
            .filter_map(|(i, w)| Some((first_null(i)?, i, w)));
        match first.min_by_key(|(row, i, _)| (*row, *i)) {
            Some((row, i, wanted)) => Err(self.fault(row, i, wanted.cell.expected())),
            None => Ok(()),
        }
    }
}

impl Layout<'_> {
    fn parse(
        &self,
        text: Vec<u8>,
        first_line: u64,
        extent: Extent,
        take: &mut impl FnMut(&Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let records = extent.records;
        let (input, original) = match self.for_polars(&text, extent) {
            Some(rewritten) => (rewritten, Some(text)),
            None => (text, None),
        };
        let buffers = Arc::new([input.into()]);
        let frame = self.scan(ScanSources::Buffers(buffers.clone()), original.is_some()).and_then(LazyFrame::collect);
        let text: &[u8] = original.as_deref().unwrap_or(&buffers[0]);
        let frame = frame.map_err(|e| self.first_fault(text, first_line).unwrap_or_else(|| self.unread(&e)))?;
        if frame.height() as u64 != records {
            return Err(self.unread(&format!("{} rows were read where {records} stand", frame.height())));
        }
        let batch = Batch { columns: frame.columns().to_vec(), text, first_line, table: self };
        batch.check_present()?;
        take(&batch)
    }

    /// Polars takes a blank line for a row, and a text that begins with `x^` for zlib: such a text is rewritten, without
    /// blank lines and below a header line. Any other is fine as it is.
    fn for_polars(&self, text: &[u8], extent: Extent) -> Option<Vec<u8>> {
        if !extent.has_blank_lines && !text.starts_with(b"x") {
            return None;
        }
        let mut rewritten = vec![self.dialect.delimiter; self.fields - 1];
        rewritten.push(b'\n');
        for record in Records::new(text, self.dialect).flatten() {
            rewritten.extend_from_slice(&text[record.bytes]);
            rewritten.push(b'\n');
        }
        Some(rewritten)
    }

    fn scan(&self, sources: ScanSources, has_header: bool) -> PolarsResult<LazyFrame> {
        let name = |field: usize| PlSmallStr::from(format!("{field}"));
        let dtype = |field| self.wanted.iter().find(|w| w.field == field).map_or(DataType::String, |w| w.cell.dtype());
        let schema = Schema::from_iter((0..self.fields).map(|f| Field::new(name(f), dtype(f))));
        let frame = LazyCsvReader::new_with_sources(sources)
            .with_has_header(has_header)
            .with_schema(Some(Arc::new(schema)))
            .with_separator(self.dialect.delimiter)
            .with_quote_char(self.dialect.quote)
            .with_rechunk(true)
            .finish()?;
        Ok(frame.select(self.wanted.iter().map(|w| col(name(w.field))).collect::<Vec<_>>()))
    }

    /// The first value that is not what its column holds, found slowly: for when polars only says that there is one.
    fn first_fault(&self, text: &[u8], first_line: u64) -> Option<Error> {
        for (row, record) in Records::new(text, self.dialect).flatten().enumerate() {
            let record = std::str::from_utf8(&text[record.bytes]).ok()?;
            let cells = cells(record, self.dialect);
            if let Some(i) = self.wanted.iter().position(|w| !w.cell.accepts(&cells[w.field])) {
                return Some(self.fault(text, first_line, row, i, self.wanted[i].cell.expected().into()));
            }
        }
        None
    }

    fn fault(&self, text: &[u8], first_line: u64, row: usize, i: usize, expected: String) -> Error {
        let Wanted { field, name, .. } = &self.wanted[i];
        let Some(Ok(record)) = Records::new(text, self.dialect).nth(row) else {
            return self.unread(&format!("row {row} does not exist"));
        };
        let found = std::str::from_utf8(&text[record.bytes])
            .map_or_else(|e| e.to_string(), |r| cells(r, self.dialect).swap_remove(*field).into_owned());
        let (path, place) = (self.input.path.clone(), Place::Line(first_line + record.line));
        Error::Cell { path, place, column: name.clone(), found, expected }
    }

    fn unread(&self, why: &dyn std::fmt::Display) -> Error {
        Error::file(&self.input.path, format!("could not be read as delimited text: {why}"))
    }
}

/// Reads a file: `choose` names the wanted columns given the names of all fields, `take` gets them chunk by chunk. Every
/// column chosen as anything but [`Cell::Optional`] is then without missing values.
pub(crate) fn read(
    input: &Input,
    dialect: Dialect,
    header: Header,
    choose: impl FnOnce(&[String]) -> Result<Vec<Wanted>>,
    mut take: impl FnMut(&Batch<'_>) -> Result<()>,
) -> Result<SourceFile> {
    let (mut choose, mut layout, mut line) = (Some(choose), None, 1);
    let file = chunks::for_each(input, dialect.quote, chunks::CHUNK, |mut text| {
        normalise(input, &mut text, line)?;
        if let Some(choose) = choose.take() {
            let names = names(input, dialect, header, &mut text, &mut line)?;
            layout = Some(Layout { input, dialect, fields: names.len(), wanted: choose(&names)? });
        }
        let Some(layout) = &layout else { return Ok(0) };
        let first_line = line;
        let extent = check(input, &text, first_line, dialect, layout.fields)?;
        line += extent.lines;
        if extent.records > 0 {
            layout.parse(text, first_line, extent, &mut take)?;
        }
        Ok(extent.records)
    })?;
    match file.rows {
        0 if layout.is_none() => Err(Error::file(&input.path, "the file is empty")),
        0 => Err(Error::file(&input.path, "the file holds a header and no row")),
        _ => Ok(file),
    }
}

/// The names of the fields; a header line is cut off the text.
fn names(input: &Input, dialect: Dialect, header: Header, text: &mut Vec<u8>, line: &mut u64) -> Result<Vec<String>> {
    let mut records = Records::new(text, dialect);
    let first = records.next().transpose().map_err(|(at, what)| Error::line(&input.path, *line + at, what))?;
    let Some(first) = first else { return Err(Error::file(&input.path, "the file is empty")) };
    let lines = records.lines();
    let record = String::from_utf8_lossy(&text[first.bytes.clone()]).into_owned();
    refuse_other_formats(input, dialect, &record, first.fields, *line + first.line)?;
    match header {
        Header::Fixed(names) => Ok(names.iter().map(|&n| n.to_owned()).collect()),
        Header::FirstLine => {
            let names = cells(&record, dialect).iter().map(|n| n.trim().to_owned()).collect();
            text.drain(..(first.bytes.end + 1).min(text.len()));
            *line += lines;
            Ok(names)
        }
    }
}

/// A first line of one field is another delimiter or another format.
fn refuse_other_formats(input: &Input, dialect: Dialect, record: &str, fields: usize, line: u64) -> Result<()> {
    if record.starts_with("PAR1") {
        return Err(Error::file(&input.path, "this is Parquet; read it with --source parquet"));
    }
    let others = [',', ';', '\t', '|'].into_iter().filter(|&d| d != char::from(dialect.delimiter));
    match others.max_by_key(|&d| record.matches(d).count()).filter(|&d| fields == 1 && record.contains(d)) {
        Some(other) => {
            let due = char::from(dialect.delimiter);
            let what = format!(
                "fields are separated by {other:?} where {due:?} is due; convert the file or name its delimiter"
            );
            Err(Error::line(&input.path, line, what))
        }
        None => Ok(()),
    }
}

/// The place of a named column, and an error that names the columns there are.
pub(crate) fn find(input: &Input, names: &[String], name: &str, mend: &'static str) -> Result<usize> {
    let mut places = names.iter().enumerate().filter(|(_, n)| n.as_str() == name).map(|(i, _)| i);
    match (places.next(), places.next()) {
        (Some(i), None) => Ok(i),
        (Some(_), Some(_)) => Err(Error::line(&input.path, 1, format!("two columns are named {name:?}; rename one"))),
        (None, _) => {
            let (path, column, found) = (input.path.clone(), name.to_owned(), names.to_vec());
            Err(Error::MissingColumn { path, column, found, mend })
        }
    }
}
