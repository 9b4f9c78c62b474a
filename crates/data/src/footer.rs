//! The footer of a Parquet file, walked before anybody believes it: a length in it may not exceed what is there. A reader that
//! sets memory aside for a list of two thousand million, in a file of sixty bytes, ends the program.
//!
//! A footer is one struct in Thrift's compact protocol (<https://github.com/apache/thrift>, thrift-compact-protocol.md).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// What ends a file: the footer's length and four letters.
const TAIL: u64 = 8;
/// The longest footer; those of logs have some thousand bytes.
const MOST_BYTES: u64 = 64 << 20;
/// Elements of all its lists: each becomes some hundred bytes.
const MOST_ELEMENTS: u64 = 1 << 21;
/// Structs within structs; the format has seven.
const MOST_DEPTH: usize = 16;

/// Whether the footer can be read without harm; what is wrong with it otherwise. One whose length makes no sense is left to
/// the reader, which says so.
pub(crate) fn check(file: &mut File) -> io::Result<Result<(), String>> {
    let size = file.seek(SeekFrom::End(0))?;
    let Some(start) = size.checked_sub(TAIL) else { return Ok(Ok(())) };
    file.seek(SeekFrom::Start(start))?;
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    let Some(start) = start.checked_sub(length) else { return Ok(Ok(())) };
    if length > MOST_BYTES {
        return Ok(Err(format!("its footer is longer than {MOST_BYTES} bytes")));
    }
    file.seek(SeekFrom::Start(start))?;
    let mut footer = vec![0; length as usize];
    file.read_exact(&mut footer)?;
    file.rewind()?;
    Ok(Walk { rest: &footer, elements: 0 }.structure(0).ok_or_else(|| "its footer contradicts itself".into()))
}

/// The walk through a footer; `None` is the end of it where there should be none.
struct Walk<'a> {
    rest: &'a [u8],
    elements: u64,
}

impl Walk<'_> {
    fn structure(&mut self, depth: usize) -> Option<()> {
        if depth > MOST_DEPTH {
            return None;
        }
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            if head >> 4 == 0 {
                self.varint()?;
            }
            // A field that is true or false says so in its head.
            if !matches!(head & 15, 1 | 2) {
                self.value(head & 15, depth)?;
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip(8),
            8 => self.varint().and_then(|length| self.skip(length)),
            9 | 10 => self.list(depth),
            12 => self.structure(depth + 1),
            // The format has neither maps nor anything else.
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        self.elements = self.elements.checked_add(count)?;
        // No element is shorter than a byte.
        if count > self.rest.len() as u64 || self.elements > MOST_ELEMENTS || depth > MOST_DEPTH {
            return None;
        }
        (0..count).try_for_each(|_| self.value(head & 15, depth + 1).map(|_| ()))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::Walk;

    fn walk(footer: &[u8]) -> bool {
        Walk { rest: footer, elements: 0 }.structure(0).is_some()
    }

    #[test]
    fn a_length_is_believed_as_far_as_there_are_bytes() {
        // Field 1 an i32, field 2 a list of three i32, field 3 a binary of two bytes, field 4 true.
        assert!(walk(&[0x15, 0x02, 0x19, 0x35, 1, 2, 3, 0x18, 2, b'a', b'b', 0x11, 0]));
        assert!(!walk(&[0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]), "a list of 2^31 - 1 structs");
        assert!(!walk(&[0x18, 0xff, 0xff, 0x03, 0]), "a binary of 65,535 bytes");
        assert!(!walk(&[0x1c; 4000]), "structs without end");
        assert!(!walk(&[0x19; 4000]), "lists without end");
        assert!(!walk(&[0x15, 0x80]) && !walk(&[0x1b, 0]) && !walk(&[]));
    }
}
