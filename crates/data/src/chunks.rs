//! Chunks of whole records of a file: memory holds a few chunks, whatever the file's size.

use prl_dataset::SourceFile;

use crate::error::{Error, Result};
use crate::input::{Input, Stream};

/// Bytes in a chunk. Small under unit tests, so that test logs span many chunk boundaries.
pub(crate) const CHUNK: usize = if cfg!(test) { 256 } else { 4 << 20 };
/// Maximum record length in bytes. A longer record means an unclosed quote or another format.
const MAX_RECORD: usize = 64 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whole records of a file.
pub(crate) struct Chunk {
    /// Bytes of the records.
    pub text: Vec<u8>,
    /// Line number in the file of the first record.
    pub line: u64,
    /// True if the bytes are normalised text already.
    pub is_normalised: bool,
}

/// Iterator over the chunks of a file, in order, without a byte-order mark.
pub(crate) struct Chunks<'a> {
    input: &'a Input,
    quote: Option<u8>,
    size: usize,
    stream: Stream<'a>,
    /// Bytes already read of the next chunk.
    rest: Vec<u8>,
    line: u64,
    is_first: bool,
    ended: bool,
}

impl<'a> Chunks<'a> {
    pub(crate) fn open(input: &'a Input, quote: Option<u8>, size: usize) -> Result<Self> {
        let stream = input.open()?;
        let rest = Vec::with_capacity(size);
        Ok(Self {
            input,
            quote,
            size,
            stream,
            rest,
            line: 1,
            is_first: true,
            ended: false,
        })
    }

    /// Returns size and checksum of the file. Call it after the last chunk.
    pub(crate) fn finish(self, rows: u64) -> SourceFile {
        self.stream.finish(rows)
    }

    /// Reads until a record ends; returns `None` at the end of the file.
    fn read(&mut self) -> Result<Option<Chunk>> {
        while !self.ended {
            self.ended = self.stream.read_into(&mut self.rest, self.size)? < self.size;
            if std::mem::take(&mut self.is_first) && self.rest.starts_with(BOM) {
                self.rest.drain(..BOM.len());
            }
            let cut = if self.ended {
                self.rest.len()
            } else {
                end_of_records(&self.rest, self.quote)
            };
            if cut > 0 {
                return Ok(Some(self.cut(cut)));
            }
            if self.rest.len() > MAX_RECORD {
                let what = format!(
                    "no record ends within {MAX_RECORD} bytes; a quote is never closed, or this is no text"
                );
                return Err(Error::file(&self.input.path, what));
            }
        }
        Ok(None)
    }

    fn cut(&mut self, at: usize) -> Chunk {
        let mut rest = Vec::with_capacity(self.rest.len() - at + self.size);
        rest.extend_from_slice(&self.rest[at..]);
        self.rest.truncate(at);
        let chunk = Chunk {
            text: std::mem::replace(&mut self.rest, rest),
            line: self.line,
            is_normalised: false,
        };
        self.line += lines(&chunk.text);
        chunk
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = self.read();
        self.ended |= chunk.is_err();
        chunk.transpose()
    }
}

/// Number of line ends in a text. Counts are summed in bytes where they fit, which is many times
/// faster.
fn lines(text: &[u8]) -> u64 {
    text.chunks(255)
        .map(|part| u64::from(part.iter().map(|&b| u8::from(b == b'\n')).sum::<u8>()))
        .sum()
}

/// Offset after the last line end outside quotes; `bytes` must begin outside quotes.
fn end_of_records(bytes: &[u8], quote: Option<u8>) -> usize {
    let Some(quote) = quote.filter(|q| bytes.contains(q)) else {
        return bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    };
    let (mut outside, mut end) = (true, 0);
    for (i, &b) in bytes.iter().enumerate() {
        if b == quote {
            outside = !outside;
        } else if b == b'\n' && outside {
            end = i + 1;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str, size: usize) -> Vec<(String, u64)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, text).unwrap();
        let input = Input {
            path,
            name: "f".into(),
            ..Input::default()
        };
        let mut chunks = Chunks::open(&input, Some(b'"'), size).unwrap();
        let taken = chunks.by_ref().map(|c| {
            c.map(|c| (String::from_utf8(c.text).unwrap(), c.line))
                .unwrap()
        });
        let taken = taken.collect();
        assert_eq!(chunks.finish(3).bytes, text.len() as u64);
        taken
    }

    #[test]
    fn chunks_end_where_records_end() {
        let chunks = |text, size| {
            chunks(text, size)
                .into_iter()
                .map(|(text, _)| text)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            chunks("a,b\nc,d\nlong line\ne", 5),
            ["a,b\n", "c,d\n", "long line\ne"]
        );
        assert_eq!(
            chunks("\u{feff}a\n\"x\ny\"\nb\n", 6),
            ["a\n", "\"x\ny\"\n", "b\n"]
        );
        assert!(chunks("", 5).is_empty());
    }

    #[test]
    fn chunk_has_the_line_of_its_first_record() {
        let text: String = (0..4000)
            .map(|i| {
                if i % 7 == 0 {
                    "\n".into()
                } else {
                    format!("\"{i}\n\",\n")
                }
            })
            .collect();
        for (chunk, line) in chunks(&text, 999) {
            let before = text.find(&chunk).unwrap();
            assert_eq!(line, 1 + text[..before].matches('\n').count() as u64);
        }
    }
}
