//! Checks of a Parquet file before it is read: the lengths in its footer and page headers must fit
//! the file. Without them a reader allocates memory for a list of two thousand million elements
//! from a file of sixty bytes, which aborts the program.
//!
//! Field numbers are the ones of the format (<https://github.com/apache/parquet-format>,
//! parquet.thrift).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::thrift::{Value, read};

/// Bytes at the end of a file: the footer's length and four letters.
const TAIL: u64 = 8;
/// Maximum length of the footer; logs have some thousand bytes.
const MOST_FOOTER: u64 = 64 << 20;
/// Maximum length of a page header, which holds the minimum and the maximum value.
const MOST_HEAD: u64 = 1 << 20;
/// Maximum size of an uncompressed page; writers aim at a million bytes.
const MOST_PAGE: i64 = 256 << 20;

/// Checks that the file can be read safely; the inner error describes the fault. A footer with an
/// invalid length passes, since the reader reports it.
pub(crate) fn check(file: &mut File) -> io::Result<Result<(), String>> {
    let size = file.seek(SeekFrom::End(0))?;
    let Some(start) = size.checked_sub(TAIL) else {
        return Ok(Ok(()));
    };
    let length = bytes(file, start, 4)?;
    let length = u64::from(u32::from_le_bytes([
        length[0], length[1], length[2], length[3],
    ]));
    let Some(start) = start.checked_sub(length) else {
        return Ok(Ok(()));
    };
    if length > MOST_FOOTER {
        return Ok(Err(format!(
            "its footer is longer than {MOST_FOOTER} bytes"
        )));
    }
    let Some((footer, _)) = read(&bytes(file, start, length)?) else {
        return Ok(Err("its footer contradicts itself".into()));
    };
    for group in footer.elements(4) {
        for column in group.elements(1) {
            if !column_is_sound(file, start, column.field(3))? {
                return Ok(Err("a page is not what it says".into()));
            }
        }
    }
    file.rewind()?;
    Ok(Ok(()))
}

/// Checks that the pages of a column in a row group lie before `end`, one after the other, with at
/// most as many values as the column has.
fn column_is_sound(file: &mut File, end: u64, column: Option<&Value>) -> io::Result<bool> {
    let whole = |id| column.and_then(|column| column.whole(id));
    let (Some(values), Some(size), Some(data)) = (whole(5), whole(7), whole(9)) else {
        return Ok(false);
    };
    let start = whole(11)
        .filter(|&dictionary| dictionary > 0)
        .map_or(data, |dictionary| dictionary.min(data));
    let (Ok(mut at), Ok(size)) = (u64::try_from(start), u64::try_from(size)) else {
        return Ok(false);
    };
    let Some(stop) = at.checked_add(size).filter(|&stop| stop <= end) else {
        return Ok(false);
    };
    while at < stop {
        let head = bytes(file, at, (stop - at).min(MOST_HEAD))?;
        let Some((page, length)) = read(&head) else {
            return Ok(false);
        };
        let (Some(unpacked), Some(packed)) = (page.whole(2), page.whole(3)) else {
            return Ok(false);
        };
        // Headers of a data page, a dictionary and a data page v2; each counts its values, nulls,
        // rows.
        let counts = [5, 7, 8]
            .iter()
            .filter_map(|&id| page.field(id))
            .flat_map(|head| match page.field(8) {
                Some(second) if std::ptr::eq(second, head) => {
                    [head.whole(1), head.whole(2), head.whole(3)]
                }
                _ => [head.whole(1), None, None],
            });
        let is_sound = (0..=MOST_PAGE).contains(&unpacked) && (0..=MOST_PAGE).contains(&packed);
        if !is_sound || !counts.flatten().all(|count| (0..=values).contains(&count)) {
            return Ok(false);
        }
        at += length as u64 + packed as u64;
    }
    Ok(at == stop)
}

fn bytes(file: &mut File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
