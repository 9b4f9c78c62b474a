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

/// Checks that the `wanted` columns of the file can be read safely; the inner error describes the
/// fault. A footer with an invalid length passes, since the reader reports it.
pub(crate) fn check(file: &mut File, wanted: &[&str]) -> io::Result<Result<(), String>> {
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
    let footer = bytes(file, start, length)?;
    let Some((footer, _)) = read(&footer) else {
        return Ok(Err("its footer contradicts itself".into()));
    };
    let are_wanted = leaves(footer.elements(2), wanted);
    for group in footer.elements(4) {
        for (i, column) in group.elements(1).iter().enumerate() {
            // Chunks beyond the schema are not left to the reader unchecked.
            let is_wanted = are_wanted.get(i).copied().unwrap_or(true);
            if is_wanted && !column_is_sound(file, start, column.field(3))? {
                return Ok(Err("a page is not what it says".into()));
            }
        }
    }
    file.rewind()?;
    Ok(Ok(()))
}

/// Whether each column of values in the schema belongs to a wanted column of the table. The schema
/// lists its tree depth first, root first; a group says how many children follow it.
fn leaves(schema: &[Value<'_>], wanted: &[&str]) -> Vec<bool> {
    let mut leaves = Vec::new();
    // Children still to come of the groups around the element, root first.
    let mut open: Vec<i64> = Vec::new();
    let mut is_wanted = false;
    for (i, element) in schema.iter().enumerate() {
        let children = element.whole(5).unwrap_or(0);
        if i == 0 {
            open.push(children);
            continue;
        }
        if open.len() == 1 {
            let name = element.bytes(4).unwrap_or_default();
            is_wanted = std::str::from_utf8(name).is_ok_and(|name| wanted.contains(&name));
        }
        if let Some(rest) = open.last_mut() {
            *rest -= 1;
        }
        if children > 0 {
            open.push(children);
        } else {
            leaves.push(is_wanted);
        }
        while let [_, .., ..=0] = open[..] {
            open.pop();
        }
    }
    leaves
}

/// Checks that the pages of a column in a row group lie before `end`, one after the other, with at
/// most as many values as the column has.
fn column_is_sound(file: &mut File, end: u64, column: Option<&Value<'_>>) -> io::Result<bool> {
    let Some(column) = column else {
        return Ok(false);
    };
    let (Some(values), Some(size), Some(data)) =
        (column.whole(5), column.whole(7), column.whole(9))
    else {
        return Ok(false);
    };
    let start = match column.whole(11) {
        Some(dictionary) if dictionary > 0 => dictionary.min(data),
        _ => data,
    };
    let (Ok(mut at), Ok(size)) = (u64::try_from(start), u64::try_from(size)) else {
        return Ok(false);
    };
    let stop = at.saturating_add(size);
    if stop > end {
        return Ok(false);
    }
    while at < stop {
        let head = bytes(file, at, (stop - at).min(MOST_HEAD))?;
        let Some((page, length)) = read(&head) else {
            return Ok(false);
        };
        let (Some(unpacked), Some(packed)) = (page.whole(2), page.whole(3)) else {
            return Ok(false);
        };
        let is_sound = (0..=MOST_PAGE).contains(&unpacked) && (0..=MOST_PAGE).contains(&packed);
        if !is_sound || !counts_are_sound(&page, values, unpacked) {
            return Ok(false);
        }
        at += length as u64 + packed as u64;
    }
    Ok(at == stop)
}

/// Checks the counts in a page's header: values, nulls and rows of a data page v2, the values of a
/// data page, and those of a dictionary. A dictionary may have values that the pages of this row
/// group do not use, but each takes a byte or more.
fn counts_are_sound(page: &Value<'_>, values: i64, unpacked: i64) -> bool {
    for (header, counts, most) in [(5, 1..=1, values), (7, 1..=1, unpacked), (8, 1..=3, values)] {
        for id in counts {
            if let Some(header) = page.field(header)
                && let Some(count) = header.whole(id)
                && !(0..=most).contains(&count)
            {
                return false;
            }
        }
    }
    true
}

fn bytes(file: &mut File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
