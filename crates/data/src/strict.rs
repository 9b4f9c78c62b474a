//! Delimited text of any kind: shape checked by [`records`](crate::records), values read by polars, and whatever is wrong
//! named by file, line and column.

use std::sync::Arc;

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::records::{Extent, Records, cells, check};
use crate::text::Layout;
use crate::values::{Cell, Span, Values};

/// The wanted columns of a text, which begins on `first_line` of the file; and the text that their spans are of.
pub(crate) fn read(layout: &Layout, text: &str, first_line: u64) -> Result<(Vec<Values>, String)> {
    let extent = check(
        &layout.input,
        text.as_bytes(),
        first_line,
        layout.dialect,
        layout.fields,
    )?;
    if extent.records == 0 {
        return Ok((
            layout.wanted.iter().map(|w| Values::new(w.cell)).collect(),
            String::new(),
        ));
    }
    let (input, has_header) = for_polars(layout, text.as_bytes(), extent);
    let frame = scan(
        layout,
        ScanSources::Buffers(Arc::new([input.into()])),
        has_header,
    )
    .and_then(LazyFrame::collect);
    let frame = frame
        .map_err(|e| first_fault(layout, text, first_line).unwrap_or_else(|| layout.unread(&e)))?;
    if frame.height() as u64 != extent.records {
        let what = format!(
            "{} rows were read where {} stand",
            frame.height(),
            extent.records
        );
        return Err(layout.unread(&what));
    }
    check_present(layout, frame.columns(), text, first_line)?;
    let mut texts = String::new();
    let columns = layout.wanted.iter().zip(frame.columns());
    let columns = columns.map(|(wanted, column)| values(wanted.cell, column, &mut texts));
    Ok((
        columns
            .collect::<PolarsResult<_>>()
            .map_err(|e| layout.unread(&e))?,
        texts,
    ))
}

/// Polars takes a blank line for a row, and a text that begins with `x^` for zlib: such a text is rewritten, without blank
/// lines and below a header line. Any other is fine as it is.
fn for_polars(layout: &Layout, text: &[u8], extent: Extent) -> (Vec<u8>, bool) {
    if !extent.has_blank_lines && !text.starts_with(b"x") {
        return (text.to_vec(), false);
    }
    let mut rewritten = vec![layout.dialect.delimiter; layout.fields - 1];
    rewritten.push(b'\n');
    for record in Records::new(text, layout.dialect).flatten() {
        rewritten.extend_from_slice(&text[record.bytes]);
        rewritten.push(b'\n');
    }
    (rewritten, true)
}

fn dtype(cell: Cell) -> DataType {
    match cell {
        Cell::Unsigned => DataType::UInt64,
        Cell::Integer => DataType::Int64,
        Cell::Text | Cell::Optional => DataType::String,
    }
}

fn scan(layout: &Layout, sources: ScanSources, has_header: bool) -> PolarsResult<LazyFrame> {
    let name = |field: usize| PlSmallStr::from(format!("{field}"));
    let dtype = |field| {
        layout
            .wanted
            .iter()
            .find(|w| w.field == field)
            .map_or(DataType::String, |w| dtype(w.cell))
    };
    let schema = Schema::from_iter((0..layout.fields).map(|f| Field::new(name(f), dtype(f))));
    let frame = LazyCsvReader::new_with_sources(sources)
        .with_has_header(has_header)
        .with_schema(Some(Arc::new(schema)))
        .with_separator(layout.dialect.delimiter)
        .with_quote_char(layout.dialect.quote)
        .with_rechunk(true)
        .finish()?;
    Ok(frame.select(
        layout
            .wanted
            .iter()
            .map(|w| col(name(w.field)))
            .collect::<Vec<_>>(),
    ))
}

/// A column of polars as ours; its texts go to the end of `texts`.
fn values(cell: Cell, column: &Column, texts: &mut String) -> PolarsResult<Values> {
    let mut span = |text: Option<&str>| {
        let Some(text) = text else {
            return Ok(Span::MISSING);
        };
        let start = texts.len();
        texts.push_str(text);
        Span::new(start, texts.len())
            .ok_or_else(|| polars_err!(ComputeError: "a record is too long"))
    };
    Ok(match cell {
        Cell::Unsigned => Values::Unsigned(column.u64()?.into_no_null_iter().collect()),
        Cell::Integer => Values::Integers(column.i64()?.into_no_null_iter().collect()),
        Cell::Text | Cell::Optional => Values::Texts(
            column
                .str()?
                .iter()
                .map(&mut span)
                .collect::<PolarsResult<_>>()?,
        ),
    })
}

/// Refuses missing values where there must be one; reports the first in the file.
fn check_present(layout: &Layout, columns: &[Column], text: &str, first_line: u64) -> Result<()> {
    let required = layout
        .wanted
        .iter()
        .enumerate()
        .filter(|(_, w)| w.cell != Cell::Optional);
    let first_null = |i: usize| {
        columns[i]
            .is_null()
            .iter()
            .position(|null| null == Some(true))
    };
    let first = required
        .filter(|(i, _)| columns[*i].null_count() > 0)
        .filter_map(|(i, w)| Some((first_null(i)?, i, w)));
    match first.min_by_key(|(row, i, _)| (*row, *i)) {
        Some((row, i, wanted)) => {
            Err(layout.fault(text, first_line, row, i, wanted.cell.expected().into()))
        }
        None => Ok(()),
    }
}

/// The first value that is not what its column holds, found slowly: for when polars only says that there is one.
fn first_fault(layout: &Layout, text: &str, first_line: u64) -> Option<Error> {
    for (row, record) in Records::new(text.as_bytes(), layout.dialect)
        .flatten()
        .enumerate()
    {
        let cells = cells(&text[record.bytes], layout.dialect);
        if let Some(i) = layout
            .wanted
            .iter()
            .position(|w| !w.cell.accepts(&cells[w.field]))
        {
            return Some(layout.fault(
                text,
                first_line,
                row,
                i,
                layout.wanted[i].cell.expected().into(),
            ));
        }
    }
    None
}
