//! Strict reader for the records and fields of delimited text: a short row, a stray quote or a byte
//! that is not text is an error with its line.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::input::Input;

/// Field delimiter and quote character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub delimiter: u8,
    pub quote: Option<u8>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Byte range, without the line end.
    pub bytes: Range<usize>,
    /// First line, counted from 0 in the text.
    pub line: u64,
    /// Number of fields.
    pub fields: usize,
}

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Byte range, quotes included.
    pub bytes: Range<usize>,
    pub is_quoted: bool,
}

/// Iterator over the records of a text whose line ends are `\n`; blank lines are skipped. Errors
/// give the line and the fault.
pub(crate) struct Records<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
    dialect: Dialect,
    /// Fields of the latest record.
    fields: Vec<Field>,
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
            dialect,
            fields: Vec::new(),
        }
    }

    /// Number of lines read so far.
    pub(crate) fn lines(&self) -> u64 {
        self.line
    }

    /// Fields of the latest record.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn end_field(&mut self, end: usize, place: Place) {
        let start = self
            .fields
            .last()
            .map_or(self.at, |last| last.bytes.end + 1);
        self.fields.push(Field {
            bytes: start..end,
            is_quoted: place == Place::Closed,
        });
    }

    fn record(&mut self) -> std::result::Result<Record, (u64, &'static str)> {
        // NUL never occurs in checked text, so it can encode "no quote".
        let (delimiter, quote) = (self.dialect.delimiter, self.dialect.quote.unwrap_or(0));
        let (start, line) = (self.at, self.line);
        let mut place = Place::Start;
        self.fields.clear();
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
                    self.end_field(start + i, place);
                    Place::Start
                }
                _ if byte == b'\n' => {
                    self.end_field(start + i, place);
                    self.at = start + i + 1;
                    self.line += 1;
                    return Ok(Record {
                        bytes: start..start + i,
                        line,
                        fields: self.fields.len(),
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
        self.end_field(self.text.len(), place);
        self.at = self.text.len();
        self.line += 1;
        match place {
            Place::Quoted => Err((line, "a quote is opened here and never closed")),
            _ => Ok(Record {
                bytes: start..self.text.len(),
                line,
                fields: self.fields.len(),
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
        }
        (self.at < self.text.len()).then(|| self.record())
    }
}

/// Converts bytes to text: checks for UTF-8 without NUL and replaces line ends by `\n`.
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

/// Values of one well-formed record.
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
