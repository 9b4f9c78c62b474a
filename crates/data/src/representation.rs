//! Columns of any type in few representations: whole numbers, numbers, text, dates and times.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::parquet_types::Meaning;
use crate::roles::Role;
use crate::table_reader::Value;
use crate::times::RANGE;

/// Value that its column's representation cannot hold.
pub(crate) struct Unfit {
    /// Position in the column.
    pub at: usize,
    pub found: String,
    pub expected: &'static str,
}

/// Values that a role takes, for messages.
pub(crate) fn due(role: Role) -> &'static str {
    match role {
        Role::Time => "numbers, times, dates or text",
        Role::Value => "numbers",
        _ => "whole numbers or text",
    }
}

/// Returns the column in the representation of its type, in one chunk. The outer error is a type
/// that does not fit the role.
pub(crate) fn represent(
    source: &Path,
    role: Role,
    column: &Column,
    meaning: Meaning,
) -> Result<std::result::Result<Column, Unfit>> {
    let numbers = match (column.dtype(), meaning) {
        (_, Meaning::Decimal(scale)) => return decimals(column, scale),
        (_, Meaning::Uuid) => return Ok(Ok(uuids(column)?)),
        (DataType::Binary, Meaning::Plain) => return text(column),
        (DataType::Categorical(..) | DataType::Enum(..) | DataType::Boolean, _) => DataType::String,
        (DataType::UInt8 | DataType::UInt16 | DataType::UInt32, _) => DataType::UInt64,
        (DataType::Int8 | DataType::Int16 | DataType::Int32, _) => DataType::Int64,
        (DataType::Float32, _) => DataType::Float64,
        (
            DataType::String
            | DataType::UInt64
            | DataType::Int64
            | DataType::Float64
            | DataType::Null,
            _,
        ) => return Ok(Ok(column.rechunk())),
        (DataType::Datetime(..), Meaning::Int96) if role == Role::Time => {
            return fitting_times(column);
        }
        (DataType::Date | DataType::Datetime(..), _) if role == Role::Time => {
            return Ok(Ok(column.rechunk()));
        }
        (dtype, _) => {
            let (name, due) = (column.name(), due(role));
            return Err(Error::file(
                source,
                format!("column {name:?} is of type {dtype}; expected {due}"),
            ));
        }
    };
    Ok(Ok(column.cast(&numbers)?.rechunk()))
}

/// Values of a represented column.
pub(crate) fn values(column: &Column) -> Result<Vec<Value<'_>>> {
    let mut values = Vec::with_capacity(column.len());
    match column.dtype() {
        DataType::String => {
            for value in column.str()?.iter() {
                values.push(value.map_or(Value::Missing, Value::Text));
            }
        }
        DataType::UInt64 => {
            for value in column.u64()?.iter() {
                values.push(value.map_or(Value::Missing, unsigned));
            }
        }
        DataType::Int64 => {
            for value in column.i64()?.iter() {
                values.push(value.map_or(Value::Missing, Value::Whole));
            }
        }
        DataType::Float64 => {
            for value in column.f64()?.iter() {
                values.push(value.map_or(Value::Missing, Value::Real));
            }
        }
        DataType::Null => values.resize(column.len(), Value::Missing),
        _ => return moments(column),
    }
    Ok(values)
}

fn unsigned<'a>(n: u64) -> Value<'a> {
    i64::try_from(n).map_or(Value::Large(n), Value::Whole)
}

/// Values of a date or time column, by the unit of its type. A time zone affects display only:
/// values count from 1970, UTC.
fn moments<'a>(column: &Column) -> Result<Vec<Value<'a>>> {
    let nanos = match column.dtype() {
        DataType::Datetime(TimeUnit::Nanoseconds, _) => 1,
        DataType::Datetime(TimeUnit::Microseconds, _) => 1000,
        DataType::Datetime(TimeUnit::Milliseconds, _) => 1_000_000,
        _ => 86_400_000_000_000,
    };
    let physical = column.to_physical_repr().cast(&DataType::Int64)?;
    let mut values = Vec::with_capacity(column.len());
    for value in physical.i64()?.iter() {
        let time = value.and_then(|value| value.checked_mul(nanos));
        values.push(time.map_or(Value::Missing, Value::Nanos));
    }
    Ok(values)
}

/// Formats a value for a message. A time is shown as its number, since one out of range has no
/// other form.
pub(crate) fn shown(column: &Column, row: usize) -> String {
    match column.to_physical_repr().get(row) {
        Ok(value) => value.str_value().into_owned(),
        Err(error) => error.to_string(),
    }
}

/// Decimals as whole numbers; as text if one of them is too large; as numbers if one has a
/// fraction.
fn decimals(column: &Column, scale: usize) -> Result<std::result::Result<Column, Unfit>> {
    let power = u32::try_from(scale).unwrap_or(u32::MAX);
    let Some(unit) = 10_i128.checked_pow(power) else {
        return Ok(Err(Unfit {
            at: 0,
            found: format!("a decimal of {scale} places"),
            expected: "at most 38 places",
        }));
    };
    let numbers = match stored_numbers(column)? {
        Ok(numbers) => numbers,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let name = column.name().clone();
    let (mut are_whole, mut fit) = (true, true);
    for number in numbers.iter().flatten() {
        are_whole &= number % unit == 0;
        fit &= i64::try_from(number / unit).is_ok();
    }
    let (mut wholes, mut texts, mut reals) = (Vec::new(), Vec::new(), Vec::new());
    for number in numbers {
        match number {
            _ if are_whole && fit => wholes.push(number.map(|n| (n / unit) as i64)),
            _ if are_whole => texts.push(number.map(|n| (n / unit).to_string())),
            Some(number) => {
                let fraction = (number % unit) as f64 / unit as f64;
                reals.push(Some((number / unit) as f64 + fraction));
            }
            None => reals.push(None),
        }
    }
    Ok(Ok(match (are_whole, fit) {
        (true, true) => Column::new(name, wholes),
        (true, false) => Column::new(name, texts),
        (false, _) => Column::new(name, reals),
    }))
}

/// Decimals as stored: without their point.
fn stored_numbers(column: &Column) -> Result<std::result::Result<Vec<Option<i128>>, Unfit>> {
    let mut numbers = Vec::with_capacity(column.len());
    let Ok(stored) = column.binary() else {
        for number in column.cast(&DataType::Int64)?.i64()?.iter() {
            numbers.push(number.map(i128::from));
        }
        return Ok(Ok(numbers));
    };
    for (at, bytes) in stored.iter().enumerate() {
        let number = bytes.map(big_endian);
        if number == Some(None) {
            return Ok(Err(Unfit {
                at,
                found: "a decimal of more than 38 digits".into(),
                expected: "at most 38 digits",
            }));
        }
        numbers.push(number.flatten());
    }
    Ok(Ok(numbers))
}

/// Rejects the times that stand for one outside the range of nanoseconds in 64 bits.
fn fitting_times(column: &Column) -> Result<std::result::Result<Column, Unfit>> {
    let column = column.rechunk();
    let physical = column.to_physical_repr();
    for (at, time) in physical.i64()?.iter().enumerate() {
        if time == Some(i64::MAX) {
            return Ok(Err(Unfit {
                at,
                found: "a time outside of the range".into(),
                expected: RANGE,
            }));
        }
    }
    Ok(Ok(column))
}

/// Number in two's complement, most significant byte first, if it fits.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first().is_some_and(|&byte| byte >= 128) {
        0xff
    } else {
        0
    };
    let excess = bytes.len().saturating_sub(16);
    let (extension, number) = bytes.split_at(excess);
    let mut full = [sign; 16];
    full[16 - number.len()..].copy_from_slice(number);
    let is_extended = extension.iter().all(|&byte| byte == sign);
    let has_sign = (full[0] >= 128) == (sign == 0xff);
    (is_extended && has_sign).then_some(i128::from_be_bytes(full))
}

/// UUIDs as text, with their hyphens.
fn uuids(column: &Column) -> Result<Column> {
    let mut texts: Vec<Option<String>> = Vec::with_capacity(column.len());
    for bytes in column.binary()?.iter() {
        let Some(bytes) = bytes else {
            texts.push(None);
            continue;
        };
        let mut text = String::with_capacity(36);
        for (i, byte) in bytes.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        texts.push(Some(text));
    }
    Ok(Column::new(column.name().clone(), texts))
}

/// Bytes as the text that they are.
fn text(column: &Column) -> Result<std::result::Result<Column, Unfit>> {
    let mut texts = Vec::with_capacity(column.len());
    for (at, bytes) in column.binary()?.iter().enumerate() {
        match bytes.map(std::str::from_utf8).transpose() {
            Ok(text) => texts.push(text.map(Cow::Borrowed)),
            Err(_) => {
                return Ok(Err(Unfit {
                    at,
                    found: String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned(),
                    expected: "text in UTF-8, or UUIDs in a column of 16 bytes each",
                }));
            }
        }
    }
    Ok(Ok(Column::new(column.name().clone(), texts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_of_any_width_are_read_with_their_sign() {
        assert_eq!(big_endian(&[]), Some(0));
        assert_eq!(big_endian(&[0x80]), Some(-128));
        assert_eq!(big_endian(&[0, 0x80]), Some(128));
        assert_eq!(big_endian(&[0xff; 21]), Some(-1));
        assert_eq!(big_endian(&[&[0; 20][..], &[7]].concat()), Some(7));
        assert_eq!(big_endian(&[&[0; 4][..], &[0x80; 16]].concat()), None);
        assert_eq!(big_endian(&[1; 17]), None);
    }

    #[test]
    fn decimals_are_whole_numbers_where_they_can_be() {
        let read = |numbers: &[i64], scale| {
            let column = Column::new("d".into(), numbers);
            decimals(&column, scale).unwrap().ok().unwrap()
        };
        assert_eq!(read(&[700, -100], 2), Column::new("d".into(), [7_i64, -1]));
        assert_eq!(read(&[725, 100], 2), Column::new("d".into(), [7.25, 1.0]));
        let large = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0].as_slice();
        let column = Column::new("d".into(), [large]);
        let texts = Column::new("d".into(), ["18446744073709551616"]);
        assert_eq!(decimals(&column, 0).unwrap().ok().unwrap(), texts);
    }
}
