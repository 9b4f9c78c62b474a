//! The records of delimited text, strictly: where each begins, on which line, and what is malformed about it.
//!
//! Polars reads the values; it forgives short rows, stray quotes and bytes that are not text. So the shape of every
//! record is checked here first, which also gives the exact line of whatever is wrong later.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::input::Input;

/// What separates fields and encloses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub delimiter: u8,
    pub quote: Option<u8>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its bytes, without the line end.
    pub bytes: Range<usize>,
    /// The line it begins on, counted from 0 in the text.
    pub line: u64,
    /// Its number of fields.
    pub fields: usize,
}

/// The records of a text whose line ends are `\n`; blank lines are none. Fails with a line and what is wrong there.
pub(crate) struct Records<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
    has_blank_lines: bool,
    dialect: Dialect,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    Bare,
    Quoted,
    Closed,
}

impl<'a> Records<'a> {
    pub(crate) fn new(text: &'a [u8], dialect: Dialect) -> Self {
        Self {
            text,
            at: 0,
            line: 0,
            has_blank_lines: false,
            dialect,
        }
    }

    /// Lines passed so far.
    pub(crate) fn lines(&self) -> u64 {
        self.line
    }

    fn record(&mut self) -> std::result::Result<Record, (u64, &'static str)> {
        // NUL never occurs in checked text, so it can stand for "no quote".
        let (delimiter, quote) = (self.dialect.delimiter, self.dialect.quote.unwrap_or(0));
        let (start, line) = (self.at, self.line);
        let (mut place, mut fields) = (Place::Start, 1);
        for (i, &byte) in self.text[start..].iter().enumerate() {
            place = match place {
                Place::Quoted if byte == quote => Place::Closed,
                Place::Quoted => {
                    self.line += u64::from(byte == b'\n');
                    Place::Quoted
                }
                Place::Closed if byte == quote => Place::Quoted,
                Place::Start if byte == quote => Place::Quoted,
                _ if byte == delimiter => {
                    fields += 1;
                    Place::Start
                }
                _ if byte == b'\n' => {
                    self.at = start + i + 1;
                    self.line += 1;
                    return Ok(Record {
                        bytes: start..start + i,
                        line,
                        fields,
                    });
                }
                Place::Closed => {
                    return Err((
                        self.line,
                        "text after a closing quote; double a quote that is part of the value",
                    ));
                }
                _ if byte == quote => {
                    return Err((
                        self.line,
                        "a quote inside an unquoted value; quote the value and double the quote",
                    ));
                }
                _ => Place::Bare,
            };
        }
        self.at = self.text.len();
        self.line += 1;
        match place {
            Place::Quoted => Err((line, "a quote is opened here and never closed")),
            _ => Ok(Record {
                bytes: start..self.text.len(),
                line,
                fields,
            }),
        }
    }
}

impl Iterator for Records<'_> {
    type Item = std::result::Result<Record, (u64, &'static str)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.text.get(self.at) == Some(&b'\n') {
            self.at += 1;
            self.line += 1;
            self.has_blank_lines = true;
        }
        (self.at < self.text.len()).then(|| self.record())
    }
}

/// What a chunk of text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Records.
    pub records: u64,
    /// Whether some lines are blank.
    pub has_blank_lines: bool,
}

/// Checks that `text`, which begins on `first_line` of the file, is records of `fields` fields each.
pub(crate) fn check(
    input: &Input,
    text: &[u8],
    first_line: u64,
    dialect: Dialect,
    fields: usize,
) -> Result<Extent> {
    let mut records = Records::new(text, dialect);
    let mut count = 0;
    for record in records.by_ref() {
        let record =
            record.map_err(|(line, what)| Error::line(&input.path, first_line + line, what))?;
        if record.fields != fields {
            let what = format!("{} fields where {fields} are due", record.fields);
            return Err(Error::line(&input.path, first_line + record.line, what));
        }
        count += 1;
    }
    Ok(Extent {
        records: count,
        has_blank_lines: records.has_blank_lines,
    })
}

/// The text of bytes that are UTF-8 without NUL, its line ends turned into `\n`.
pub(crate) fn normalise(input: &Input, bytes: Vec<u8>, first_line: u64) -> Result<String> {
    let fault = |bytes: &[u8], at: usize, what: &str| {
        let line = first_line + bytes[..at].iter().filter(|&&b| b == b'\n').count() as u64;
        Error::line(&input.path, line, what)
    };
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let what = match e.as_bytes() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this is UTF-16; save the file as UTF-8",
            _ => "not valid UTF-8; save the file as UTF-8",
        };
        fault(e.as_bytes(), e.utf8_error().valid_up_to(), what)
    })?;
    let bytes = text.as_bytes();
    if bytes.contains(&0) {
        let at = bytes.iter().take_while(|&&b| b != 0).count();
        return Err(fault(
            bytes,
            at,
            "a NUL byte; this is no text, or it is UTF-16: save it as UTF-8",
        ));
    }
    if bytes.contains(&b'\r') {
        let is_lone = |i: usize| bytes[i] == b'\r' && bytes.get(i + 1).is_some_and(|&b| b != b'\n');
        if let Some(at) = (0..bytes.len()).find(|&i| is_lone(i)) {
            return Err(fault(
                bytes,
                at,
                "a carriage return inside a line; end lines with \\n or \\r\\n",
            ));
        }
        text.retain(|c| c != '\r');
    }
    Ok(text)
}

/// The values of one well-formed record.
pub(crate) fn cells(record: &str, dialect: Dialect) -> Vec<Cow<'_, str>> {
    let delimiter = char::from(dialect.delimiter);
    let Some(quote) = dialect
        .quote
        .map(char::from)
        .filter(|&q| record.contains(q))
    else {
        return record.split(delimiter).map(Cow::Borrowed).collect();
    };
    let mut inside = false;
    let fields = record.split(|c| {
        inside ^= c == quote;
        c == delimiter && !inside
    });
    let doubled = String::from_iter([quote, quote]);
    let bare = |field: &str| {
        field
            .strip_prefix(quote)
            .and_then(|f| f.strip_suffix(quote))
            .map(|f| f.replace(&doubled, &quote.to_string()))
    };
    fields
        .map(|field| bare(field).map_or(Cow::Borrowed(field), Cow::Owned))
        .collect()
}
