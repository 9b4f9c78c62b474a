//! One-pass reader for any delimited text: quoted values, blank lines, numbers in every spelling.
//! Errors name file, line and column.

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::records::{Field, Records};
use crate::values::{Cell, Span, Values, Wanted};

/// Reads the selected columns of a text that begins on `first_line` of the file; returns them and
/// the text that their spans refer to.
pub(crate) fn read(layout: &Layout, text: &str, first_line: u64) -> Result<(Vec<Values>, String)> {
    let mut columns = Vec::with_capacity(layout.wanted.len());
    for wanted in &layout.wanted {
        columns.push(Values::new(wanted.cell));
    }
    let mut texts = String::new();
    let mut records = Records::new(text.as_bytes(), layout.dialect);
    let mut row = 0;
    while let Some(record) = records.next() {
        let record = record
            .map_err(|(line, what)| Error::line(&layout.input.path, first_line + line, what))?;
        if record.fields != layout.fields {
            let what = format!("{} fields where {} are due", record.fields, layout.fields);
            let line = first_line + record.line;
            return Err(Error::line(&layout.input.path, line, what));
        }
        for (i, (wanted, values)) in layout.wanted.iter().zip(&mut columns).enumerate() {
            let field = &records.fields()[wanted.field];
            let quote = layout.dialect.quote.unwrap_or(0);
            let read = read_value(text, field, quote, wanted, values, &mut texts);
            if read.is_none() {
                let expected = wanted.cell.expected().into();
                return Err(layout.fault(text, first_line, row, i, expected));
            }
        }
        row += 1;
    }
    Ok((columns, texts))
}

/// Appends the value of a field to its column; returns `None` if it has another type.
fn read_value(
    text: &str,
    field: &Field,
    quote: u8,
    wanted: &Wanted,
    values: &mut Values,
    texts: &mut String,
) -> Option<()> {
    let start = texts.len();
    unquote(&text[field.bytes.clone()], field.is_quoted, quote, texts);
    let value = &texts[start..];
    match values {
        Values::Unsigned(numbers) => numbers.push(value.trim_start().parse().ok()?),
        Values::Integers(numbers) => numbers.push(value.trim_start().parse().ok()?),
        Values::Texts(spans) => {
            spans.push(match (wanted.cell, value.is_empty()) {
                (_, false) => Span::new(start, texts.len())?,
                (Cell::Optional, true) => Span::MISSING,
                _ => return None,
            });
            return Some(());
        }
    }
    texts.truncate(start);
    Some(())
}

/// Appends the value of a field, without its quotes and with doubled quotes reduced to one.
fn unquote(field: &str, is_quoted: bool, quote: u8, texts: &mut String) {
    if !is_quoted {
        texts.push_str(field);
        return;
    }
    let quote = char::from(quote);
    let mut is_doubled = false;
    for c in field[1..field.len() - 1].chars() {
        if c == quote && !is_doubled {
            is_doubled = true;
            continue;
        }
        is_doubled = false;
        texts.push(c);
    }
}
