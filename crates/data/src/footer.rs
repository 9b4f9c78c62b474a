//! Footer of a Parquet file before the file is read: its lengths and those in the page headers must
//! fit the file, and unmapped columns are removed from it. Without the checks a reader allocates
//! memory for a list of two thousand million elements from a file of sixty bytes, which aborts the
//! program. Without the removal it rejects files for a type in an unmapped column that is newer
//! than the reader.
//!
//! Field numbers are the ones of the format (<https://github.com/apache/parquet-format>,
//! parquet.thrift).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::thrift::{self, Value, Writer, whole};

/// Bytes at the end of a file: the footer's length and four letters.
const TAIL: u64 = 8;
/// Maximum length of the footer; logs have some thousand bytes.
const MOST_FOOTER: u64 = 64 << 20;
/// Maximum length of a page header, which holds the minimum and the maximum value.
const MOST_HEAD: u64 = 1 << 20;
/// Maximum size of an uncompressed page; writers aim at a million bytes.
const MOST_PAGE: i64 = 256 << 20;

/// Columns with the names of their types.
pub(crate) type TypeNames = Vec<(String, &'static str)>;

/// Footer of a file, reduced to its mapped columns.
#[derive(Debug)]
pub(crate) struct Footer {
    /// Names of all columns of the table.
    pub names: Vec<String>,
    /// Footer with the mapped columns alone, for the reader.
    pub reduced: Vec<u8>,
    /// Mapped columns of a logical type that is newer than the reader, with its name.
    pub unknown: TypeNames,
    /// Schema of Arrow, encoded, if the writer stored one.
    pub arrow: Option<String>,
}

/// Reads the footer and checks that the `mapped` columns of the file can be read safely; the inner
/// error describes the fault. A footer with an invalid length is `None`, since the reader reports
/// it.
pub(crate) fn read(file: &mut File, mapped: &[&str]) -> io::Result<Result<Option<Footer>, String>> {
    let size = file.seek(SeekFrom::End(0))?;
    let Some(start) = size.checked_sub(TAIL) else {
        return Ok(Ok(None));
    };
    let tail = bytes(file, start, TAIL)?;
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let Some(start) = start.checked_sub(length) else {
        return Ok(Ok(None));
    };
    if &tail[4..] != b"PAR1" || length == 0 {
        return Ok(Ok(None));
    }
    if length > MOST_FOOTER {
        return Ok(Err(format!(
            "its footer is longer than {MOST_FOOTER} bytes"
        )));
    }
    let footer = bytes(file, start, length)?;
    let Some((footer, _)) = thrift::read(&footer) else {
        return Ok(Err("its footer contradicts itself".into()));
    };
    let columns = Columns::of(footer.elements(2), mapped);
    for group in footer.elements(4) {
        for (i, column) in group.elements(1).iter().enumerate() {
            if columns.has_leaf(i) && !column_is_sound(file, start, column.field(3))? {
                return Ok(Err("a page is not what it says".into()));
            }
        }
    }
    file.rewind()?;
    let Some((reduced, unknown)) = reduced(&footer, &columns) else {
        return Ok(Err("its footer contradicts itself".into()));
    };
    Ok(Ok(Some(Footer {
        reduced,
        unknown,
        arrow: arrow_schema(&footer),
        names: columns.names,
    })))
}

/// Schema of Arrow in the file's pairs of key and value.
fn arrow_schema(footer: &Value<'_>) -> Option<String> {
    for pair in footer.elements(5) {
        if pair.bytes(1) == Some(b"ARROW:schema") {
            return String::from_utf8(pair.bytes(2)?.to_vec()).ok();
        }
    }
    None
}

/// Mapped columns in a schema.
struct Columns {
    /// Names of all columns of the table.
    names: Vec<String>,
    /// For each element of the schema, the position in `names` of the column that it belongs to, if
    /// that is mapped.
    elements: Vec<Option<usize>>,
    /// Whether each column of values belongs to a mapped column.
    leaves: Vec<bool>,
    /// Number of mapped columns.
    mapped: i64,
}

impl Columns {
    /// Columns of a schema, which lists its tree depth first, root first; a group holds the number
    /// of its children.
    fn of(schema: &[Value<'_>], mapped: &[&str]) -> Self {
        let mut columns = Self {
            names: Vec::new(),
            elements: vec![None],
            leaves: Vec::new(),
            mapped: 0,
        };
        // Children still to come of the groups around the element, root first.
        let mut open: Vec<i64> = Vec::new();
        let mut own = None;
        for (i, element) in schema.iter().enumerate() {
            let children = element.whole(5).unwrap_or(0);
            if i == 0 {
                open.push(children);
                continue;
            }
            if open.len() == 1 {
                let name = String::from_utf8_lossy(element.bytes(4).unwrap_or_default());
                own = mapped.contains(&&*name).then_some(columns.names.len());
                columns.mapped += i64::from(own.is_some());
                columns.names.push(name.into_owned());
            }
            columns.elements.push(own);
            if let Some(rest) = open.last_mut() {
                *rest -= 1;
            }
            if children > 0 {
                open.push(children);
            } else {
                columns.leaves.push(own.is_some());
            }
            while let [_, .., ..=0] = open[..] {
                open.pop();
            }
        }
        columns
    }

    /// Whether the column of values is mapped; one beyond the schema is not left unchecked.
    fn has_leaf(&self, i: usize) -> bool {
        self.leaves.get(i).copied().unwrap_or(true)
    }
}

/// Type of structs in the protocol.
const STRUCT: u8 = 12;
/// Field of a logical type in an element of the schema.
const LOGICAL_TYPE: i64 = 10;

/// The footer with the mapped columns alone, and those of an unknown logical type.
fn reduced(footer: &Value<'_>, columns: &Columns) -> Option<(Vec<u8>, TypeNames)> {
    let Value::Struct(fields) = footer else {
        return None;
    };
    let (mut writer, mut unknown) = (Writer::default(), Vec::new());
    for field in fields {
        match (field.id, &field.value) {
            (2, Value::List(schema)) => {
                let mut elements = Vec::new();
                for (i, (element, encoded)) in
                    schema.elements.iter().zip(&schema.encoded).enumerate()
                {
                    if i == 0 {
                        elements.push(with_field(element, 5, Some(&whole(columns.mapped)))?);
                    } else if let Some(column) = columns.elements[i] {
                        let Some(name) = unknown_logical_type(element) else {
                            elements.push(encoded.to_vec());
                            continue;
                        };
                        unknown.push((columns.names[column].clone(), name));
                        elements.push(with_field(element, LOGICAL_TYPE, None)?);
                    }
                }
                writer.list(2, STRUCT, &elements);
            }
            (4, Value::List(groups)) => {
                let mut reduced = Vec::with_capacity(groups.elements.len());
                for group in &groups.elements {
                    reduced.push(reduced_group(group, columns)?);
                }
                writer.list(4, STRUCT, &reduced);
            }
            // Version and number of rows.
            (1 | 3, _) => writer.field(field.id, field.kind, field.encoded),
            _ => {}
        }
    }
    Some((writer.finish(), unknown))
}

/// A row group with the mapped columns alone.
fn reduced_group(group: &Value<'_>, columns: &Columns) -> Option<Vec<u8>> {
    let Value::Struct(fields) = group else {
        return None;
    };
    let mut writer = Writer::default();
    for field in fields {
        match (field.id, &field.value) {
            (1, Value::List(chunks)) => {
                let mut mapped = Vec::new();
                for (i, chunk) in chunks.encoded.iter().enumerate() {
                    if columns.has_leaf(i) {
                        mapped.push(chunk);
                    }
                }
                writer.list(1, STRUCT, &mapped);
            }
            // Sorting columns, by the positions of all columns.
            (4, _) => {}
            _ => writer.field(field.id, field.kind, field.encoded),
        }
    }
    Some(writer.finish())
}

/// The struct with another value of one field, or without it.
fn with_field(value: &Value<'_>, id: i64, encoded: Option<&[u8]>) -> Option<Vec<u8>> {
    let Value::Struct(fields) = value else {
        return None;
    };
    let mut writer = Writer::default();
    for field in fields {
        if field.id != id {
            writer.field(field.id, field.kind, field.encoded);
        } else if let Some(encoded) = encoded {
            writer.field(field.id, field.kind, encoded);
        }
    }
    Some(writer.finish())
}

/// Name of the element's logical type, if it is newer than the reader.
fn unknown_logical_type(element: &Value<'_>) -> Option<&'static str> {
    let Some(Value::Struct(union)) = element.field(LOGICAL_TYPE) else {
        return None;
    };
    match union.first()?.id {
        1..=8 | 10..=15 => None,
        16 => Some("variant"),
        17 => Some("geometry"),
        18 => Some("geography"),
        _ => Some("unknown, newer than this reader"),
    }
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
        let Some((page, length)) = thrift::read(&head) else {
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
