//! Requests as JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;

use crate::exit::Usage;

/// Size of the read buffer, and of the longest line, in bytes: the server's limit of a body.
const MAX_LINE: usize = 1 << 20;

/// Reader of the lines of a file or of standard input.
pub struct Lines {
    reader: BufReader<Box<dyn Read>>,
    /// Number of lines read.
    line: u64,
    /// The input's name in messages.
    name: String,
}

impl Lines {
    /// Opens a file; `None` is standard input.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let (input, name): (Box<dyn Read>, String) = match path {
            None => (Box::new(std::io::stdin()), "stdin".into()),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("failed to open {name}"))?;
                (Box::new(file), name)
            }
        };
        Ok(Self {
            reader: BufReader::with_capacity(MAX_LINE, input),
            line: 0,
            name,
        })
    }

    /// The place of a line in messages.
    pub fn place(&self, line: u64) -> String {
        format!("{}, line {line}", self.name)
    }

    /// The next lines that are not blank, with their numbers from 1: at least one unless the input
    /// has ended, and at most `max`. Blocks for the first line only, so that a program that waits
    /// for each answer gets it.
    pub fn next(&mut self, max: usize) -> anyhow::Result<Vec<(u64, Vec<u8>)>> {
        let mut lines = Vec::new();
        while lines.len() < max && (lines.is_empty() || self.reader.buffer().contains(&b'\n')) {
            let mut text = Vec::new();
            let mut limited = (&mut self.reader).take(MAX_LINE as u64 + 1);
            let place = self.line + 1;
            let read = limited.read_until(b'\n', &mut text);
            let read = read.with_context(|| format!("failed to read {}", self.name))?;
            if read == 0 {
                break;
            }
            if read > MAX_LINE && text.last() != Some(&b'\n') {
                let place = self.place(place);
                let message = format!("{place}: longer than 1 MiB; write one request a line");
                return Err(Usage(message).into());
            }
            self.line = place;
            if place == 1 && text.starts_with(b"\xef\xbb\xbf") {
                text.drain(..3);
            }
            if !text.trim_ascii().is_empty() {
                lines.push((place, text));
            }
        }
        Ok(lines)
    }
}
