//! Form of a text log: delimiter, header and encoding.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::options::{Source, Table};

/// Delimiter of the fields of a line: one character of ASCII or several, such as `,`, a tab or
/// `::`.
///
/// ```
/// use prl_data::Delimiter;
///
/// assert_eq!("tab".parse::<Delimiter>()?, Delimiter::TAB);
/// assert_eq!("\\t".parse::<Delimiter>()?, Delimiter::from('\t'));
/// assert_eq!("::".parse::<Delimiter>()?.as_str(), "::");
/// assert!("t".parse::<Delimiter>().is_err());
/// # Ok::<(), prl_data::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Delimiter {
    bytes: [u8; Delimiter::MOST],
    len: usize,
}

impl Delimiter {
    /// Comma, of CSV.
    pub const COMMA: Self = Self::of(b',');
    /// Tab, of RecBole's `.inter`.
    pub const TAB: Self = Self::of(b'\t');
    /// Maximum number of characters.
    const MOST: usize = 8;

    const fn of(byte: u8) -> Self {
        let mut bytes = [0; Self::MOST];
        bytes[0] = byte;
        Self { bytes, len: 1 }
    }

    /// Characters of the delimiter.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// Rejects a delimiter that cannot divide a line, and one that is part of most values.
    pub(crate) fn check(&self) -> Result<()> {
        let is_odd = |b: &u8| !b.is_ascii() || b"\"\n\r\0".contains(b);
        if self.len == 0 || self.bytes[..self.len].iter().any(is_odd) {
            return Err(Error::Options(
                "the delimiter must be of ASCII characters, without a quote or line end".into(),
            ));
        }
        if self.bytes[0].is_ascii_alphanumeric() {
            return Err(Error::Options(format!(
                "the delimiter {:?} is a letter or digit; for a tab write tab or '\\t'",
                self.as_str()
            )));
        }
        Ok(())
    }

    /// Returns true for the delimiter of `.inter` files.
    pub(crate) fn is_tab(&self) -> bool {
        *self == Self::TAB
    }
}

impl From<char> for Delimiter {
    /// The character as a delimiter; one outside ASCII is rejected when it is used.
    fn from(c: char) -> Self {
        let mut bytes = [0; Self::MOST];
        let len = c.encode_utf8(&mut bytes).len();
        Self { bytes, len }
    }
}

impl FromStr for Delimiter {
    type Err = Error;

    /// Parses the characters themselves, or `tab`, `space`, `\t`.
    fn from_str(text: &str) -> Result<Self> {
        let text = match text {
            "tab" => "\t",
            "space" | "blank" => " ",
            text => &text.replace("\\t", "\t"),
        };
        let mut bytes = [0; Self::MOST];
        let Some(place) = bytes.get_mut(..text.len()) else {
            return Err(Error::Options(format!(
                "the delimiter {text:?} is longer than {} characters",
                Self::MOST
            )));
        };
        place.copy_from_slice(text.as_bytes());
        let delimiter = Self {
            bytes,
            len: text.len(),
        };
        delimiter.check()?;
        Ok(delimiter)
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.as_str().escape_default())
    }
}

impl Serialize for Delimiter {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Encoding of a text log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// UTF-8; other bytes are an error.
    #[default]
    Utf8,
    /// ISO 8859-1: each byte is the character of its number.
    Latin1,
}

/// Header and encoding of a text log. The default is UTF-8 with a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TextFormat {
    /// True if the first line is data. Columns are then mapped by their numbers, from 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_header: bool,
    /// Encoding.
    #[serde(skip_serializing_if = "Encoding::is_utf8")]
    pub encoding: Encoding,
}

impl TextFormat {
    /// Rejects a format that the source has no use for, and an invalid delimiter.
    pub(crate) fn check(source: &Source) -> Result<()> {
        let (delimiter, has_header) = match source {
            Source::Csv { delimiter, .. } | Source::Inter { delimiter, .. } => {
                (Some(delimiter), true)
            }
            _ => (None, false),
        };
        if let Some(delimiter) = delimiter {
            delimiter.check()?;
        }
        let Some(Table { format, .. }) = source.table() else {
            return Ok(());
        };
        let is_text = has_header || matches!(source, Source::Jsonl { .. } | Source::ArmsLog { .. });
        let name = source.name();
        if format.no_header && !has_header {
            return Err(Error::Options(format!(
                "no header: a {name} log has none in any case; leave out --no-header"
            )));
        }
        if !format.encoding.is_utf8() && !is_text {
            return Err(Error::Options(format!(
                "an encoding is given, but a {name} log is no text; leave out --encoding"
            )));
        }
        if format.no_header && source.table().is_some_and(|table| table.columns.is_none()) {
            return Err(Error::Options(
                "no header: map the columns by number, such as session=1,time=2,item=3".into(),
            ));
        }
        Ok(())
    }
}

impl Encoding {
    fn is_utf8(&self) -> bool {
        *self == Self::Utf8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiter_written_by_name_or_escape_is_the_character() {
        for (text, expected) in [
            (",", ","),
            ("\t", "\t"),
            ("\\t", "\t"),
            ("tab", "\t"),
            ("space", " "),
            (" ", " "),
            ("::", "::"),
            ("|", "|"),
            (" | ", " | "),
        ] {
            assert_eq!(text.parse::<Delimiter>().unwrap().as_str(), expected);
        }
    }

    #[test]
    fn delimiter_that_divides_no_line_is_refused() {
        for text in ["", "\"", "\n", "é", "t", "x", "0", "123456789", ",\r"] {
            let error = text.parse::<Delimiter>().unwrap_err();
            assert!(matches!(error, Error::Options(_)), "{text}: {error}");
        }
        assert!(Delimiter::from('é').check().is_err());
    }
}
