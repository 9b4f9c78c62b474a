//! Strict reader for the records and fields of delimited text: a short row, a stray quote or a byte
//! that is not text is an error with its line.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::input::Input;
use crate::options::{Delimiter, Encoding};

/// Byte that stands for a delimiter of several characters once a text is normalised. No text log
/// has this control character (the ASCII unit separator).
const LONG: u8 = 0x1f;

/// Field delimiter, quote character and encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Delimiter in normalised text.
    pub delimiter: u8,
    pub quote: Option<u8>,
    /// Delimiter as it is written.
    pub written: Delimiter,
    pub encoding: Encoding,
}

impl Dialect {
    /// Fields between commas, quoted where they have one.
    pub(crate) const CSV: Self = Self {
        delimiter: b',',
        quote: Some(b'"'),
        written: Delimiter::COMMA,
        encoding: Encoding::Utf8,
    };

    /// Dialect of this delimiter.
    pub(crate) fn new(written: Delimiter, quote: Option<u8>, encoding: Encoding) -> Self {
        let delimiter = match written.as_str().as_bytes() {
            [byte] => *byte,
            _ => LONG,
        };
        Self {
            delimiter,
            quote,
            written,
            encoding,
        }
    }
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

/// Converts bytes to text without NUL: decodes them, replaces line ends by `\n` and delimiters of
/// several characters by [`Dialect::delimiter`].
pub(crate) fn normalise(
    input: &Input,
    bytes: Vec<u8>,
    first_line: u64,
    dialect: Dialect,
) -> Result<String> {
    let mut text = decode(bytes, dialect.encoding)
        .map_err(|(bytes, at, what)| fault(input, first_line, &bytes[..at], what))?;
    let bytes = text.as_bytes();
    if bytes.contains(&0) {
        let at = bytes.iter().take_while(|&&b| b != 0).count();
        let what = "a NUL byte; this is no text, or it is UTF-16: save it as UTF-8";
        return Err(fault(input, first_line, &bytes[..at], what));
    }
    if bytes.contains(&b'\r') {
        if let Some(at) = lone_carriage_return(bytes) {
            let what = "a carriage return inside a line; end lines with \\n or \\r\\n";
            return Err(fault(input, first_line, &bytes[..at], what));
        }
        text.retain(|c| c != '\r');
    }
    if dialect.delimiter == LONG {
        return shorten_delimiters(input, &text, first_line, dialect);
    }
    Ok(text)
}

/// Error at the end of the bytes `before`, which begin on `first_line`.
fn fault(input: &Input, first_line: u64, before: &[u8], what: &str) -> Error {
    let lines = before.iter().filter(|&&b| b == b'\n').count();
    Error::line(&input.path, first_line + lines as u64, what)
}

/// Bytes that are no text, the position of the first fault, and what it is.
type Undecodable = (Vec<u8>, usize, &'static str);

fn decode(bytes: Vec<u8>, encoding: Encoding) -> std::result::Result<String, Undecodable> {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes[..] {
        return Err((bytes, 0, "this is UTF-16; save the file as UTF-8"));
    }
    match encoding {
        Encoding::Utf8 => String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let what = "not valid UTF-8; save the file as UTF-8, or give its encoding with --encoding latin1";
            (e.into_bytes(), at, what)
        }),
        Encoding::Latin1 => Ok(bytes.into_iter().map(char::from).collect()),
    }
}

fn lone_carriage_return(bytes: &[u8]) -> Option<usize> {
    for (i, pair) in bytes.windows(2).enumerate() {
        if pair[0] == b'\r' && pair[1] != b'\n' {
            return Some(i);
        }
    }
    None
}

/// Replaces the delimiters outside quotes by [`LONG`].
fn shorten_delimiters(
    input: &Input,
    text: &str,
    first_line: u64,
    dialect: Dialect,
) -> Result<String> {
    if let Some(at) = text.find(char::from(LONG)) {
        let what = format!(
            "a control character (0x1f), which no log with the delimiter {:?} may hold; convert the file",
            dialect.written
        );
        return Err(fault(input, first_line, &text.as_bytes()[..at], &what));
    }
    let quote = dialect.quote.map(char::from);
    let long = dialect.written.as_str();
    let mut shortened = String::with_capacity(text.len());
    // Every other part lies inside quotes.
    let mut is_outside = true;
    for part in text.split_inclusive(|c| Some(c) == quote) {
        if is_outside {
            shortened.push_str(&part.replace(long, "\u{1f}"));
        } else {
            shortened.push_str(part);
        }
        is_outside = !is_outside;
    }
    Ok(shortened)
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
    let mut is_inside = false;
    let fields = record.split(|c| {
        is_inside ^= c == quote;
        c == delimiter && !is_inside
    });
    fields.map(|field| unquoted(field, quote)).collect()
}

/// Value of a field, without its quotes and with doubled quotes reduced to one.
fn unquoted(field: &str, quote: char) -> Cow<'_, str> {
    let inner = field.strip_prefix(quote);
    match inner.and_then(|inner| inner.strip_suffix(quote)) {
        Some(inner) => {
            let doubled = String::from_iter([quote, quote]);
            Cow::Owned(inner.replace(&doubled, &quote.to_string()))
        }
        None => Cow::Borrowed(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(bytes: &[u8], dialect: Dialect) -> Result<String> {
        let input = Input {
            path: "f".into(),
            ..Input::default()
        };
        normalise(&input, bytes.to_vec(), 1, dialect)
    }

    #[test]
    fn delimiter_of_several_characters_divides_outside_quotes() {
        let colons = "::".parse().unwrap();
        let dialect = Dialect::new(colons, Some(b'"'), Encoding::Utf8);
        let text = normalised(b"1::\"a::b\"::c\n\"\"\"::\"::2:::3", dialect).unwrap();
        let mut rows = Vec::new();
        for record in Records::new(text.as_bytes(), dialect) {
            rows.push(cells(&text[record.unwrap().bytes], dialect));
        }
        assert_eq!(rows, [vec!["1", "a::b", "c"], vec!["\"::", "2", ":3"]]);
        let error = normalised(b"1::2\n3\x1f4", dialect).unwrap_err();
        assert!(
            error.to_string().starts_with("f:2: a control character"),
            "{error}"
        );
    }

    #[test]
    fn latin1_bytes_are_the_characters_of_their_numbers() {
        let latin1 = Dialect::new(Delimiter::COMMA, Some(b'"'), Encoding::Latin1);
        assert_eq!(normalised(b"caf\xe9,\xa3\r\n", latin1).unwrap(), "café,£\n");
        let error = normalised(b"a\ncaf\xe9\n", Dialect::CSV).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("f:2:") && message.contains("--encoding latin1"),
            "{message}"
        );
    }
}
