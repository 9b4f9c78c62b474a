//! Reader of a Parquet file in slices of rows.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use polars_core::prelude::*;
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;

use crate::error::{Error, Result};

/// Rows of a slice: the rows that a [`TableReader`] holds at most.
pub const SLICE: usize = 1 << 16;

/// A value of a table. Whole floating-point numbers are integers: programs that mark missing values
/// by NaN write integers so.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Cell>),
}

/// Parquet file that is read in slices of rows.
pub struct TableReader {
    file: File,
    path: PathBuf,
    columns: Vec<String>,
    /// Names of the types that are no [`Cell`], by column.
    unsupported: Vec<(String, String)>,
    /// Columns to read.
    wanted: Vec<String>,
    rows: usize,
    next: usize,
}

/// Consecutive rows of a table.
pub struct Rows {
    path: PathBuf,
    frame: DataFrame,
    first: usize,
}

impl TableReader {
    /// Opens a file and reads the names of its columns.
    ///
    /// # Errors
    /// [`Error::Fs`] if it cannot be opened, [`Error::Damaged`] if it is not Parquet.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(prl_fs::Error::io(path))?;
        let copy = file.try_clone().map_err(prl_fs::Error::io(path))?;
        let mut reader = ParquetReader::new(copy);
        let (schema, rows) = guarded(path, || Ok((reader.schema()?, reader.num_rows()?)))?;
        let (mut columns, mut unsupported) = (Vec::new(), Vec::new());
        for (name, field) in schema.iter() {
            columns.push(name.to_string());
            if !is_cell(field.dtype()) {
                unsupported.push((name.to_string(), format!("{:?}", field.dtype())));
            }
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            wanted: columns.clone(),
            columns,
            unsupported,
            rows,
            next: 0,
        })
    }

    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Limits reading to some columns, which are then the cells of a row, in this order. Others may
    /// have any type.
    pub fn select(&mut self, columns: Vec<String>) {
        self.wanted = columns;
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Type`] if a wanted column is of a type that is no [`Cell`], [`Error::Damaged`] if
    /// the rows cannot be decoded.
    pub fn next_rows(&mut self) -> Result<Option<Rows>> {
        // The Parquet reader panics on types that polars is compiled without.
        for (column, found) in &self.unsupported {
            if self.wanted.contains(column) {
                return Err(Error::Type {
                    path: self.path.clone(),
                    column: column.clone(),
                    found: found.clone(),
                });
            }
        }
        if self.next >= self.rows {
            return Ok(None);
        }
        let (first, n) = (self.next, SLICE.min(self.rows - self.next));
        let file = self.file.try_clone();
        let file = file.map_err(prl_fs::Error::io(&self.path))?;
        let frame = guarded(&self.path, || {
            let reader = ParquetReader::new(file)
                .with_columns(Some(self.wanted.clone()))
                .with_slice(Some((first, n)));
            // The reader's order of columns is the file's.
            let mut frame = reader.finish()?.select(self.wanted.iter().cloned())?;
            frame.rechunk_mut();
            Ok(frame)
        })?;
        self.next += n;
        Ok(Some(Rows {
            path: self.path.clone(),
            frame,
            first,
        }))
    }
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.frame.height()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of the first row in the file, from 0.
    pub fn first(&self) -> usize {
        self.first
    }

    /// The value of a selected column in a row of these.
    ///
    /// # Errors
    /// [`Error::Type`] if the column is of a type that is no [`Cell`].
    pub fn cell(&self, column: usize, row: usize) -> Result<Cell> {
        let values = &self.frame.columns()[column];
        let cell = values.get(row).ok().and_then(to_cell);
        cell.ok_or_else(|| Error::Type {
            path: self.path.clone(),
            column: values.name().to_string(),
            found: values.dtype().to_string(),
        })
    }
}

/// Whether values of a type are cells.
fn is_cell(dtype: &ArrowDataType) -> bool {
    use ArrowDataType as A;
    match dtype {
        A::List(field) | A::LargeList(field) => is_cell(field.dtype()),
        A::Dictionary(_, values, _) => is_cell(values),
        A::Null | A::Boolean | A::Utf8 | A::LargeUtf8 | A::Utf8View => true,
        A::Binary | A::LargeBinary | A::BinaryView | A::Float32 | A::Float64 => true,
        A::Int8 | A::Int16 | A::Int32 | A::Int64 => true,
        A::UInt8 | A::UInt16 | A::UInt32 | A::UInt64 => true,
        _ => false,
    }
}

fn to_cell(value: AnyValue<'_>) -> Option<Cell> {
    Some(match value {
        AnyValue::Null => Cell::Null,
        AnyValue::Boolean(value) => Cell::Bool(value),
        AnyValue::String(text) => Cell::Text(text.to_owned()),
        AnyValue::StringOwned(text) => Cell::Text(text.to_string()),
        AnyValue::Binary(bytes) => Cell::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        AnyValue::BinaryOwned(bytes) => Cell::Text(String::from_utf8(bytes).ok()?),
        AnyValue::UInt8(value) => Cell::UInt(value.into()),
        AnyValue::UInt16(value) => Cell::UInt(value.into()),
        AnyValue::UInt32(value) => Cell::UInt(value.into()),
        AnyValue::UInt64(value) => Cell::UInt(value),
        AnyValue::Int8(value) => Cell::Int(value.into()),
        AnyValue::Int16(value) => Cell::Int(value.into()),
        AnyValue::Int32(value) => Cell::Int(value.into()),
        AnyValue::Int64(value) => Cell::Int(value),
        AnyValue::Float32(value) => number(value.into()),
        AnyValue::Float64(value) => number(value),
        AnyValue::List(values) => {
            let mut cells = Vec::with_capacity(values.len());
            for value in values.iter() {
                cells.push(to_cell(value)?);
            }
            Cell::List(cells)
        }
        other => Cell::Text(other.get_str()?.to_owned()),
    })
}

fn number(value: f64) -> Cell {
    // Beyond 2^53 a floating-point number no longer tells two integers apart.
    if value.fract() == 0.0 && value.abs() < (1_u64 << 53) as f64 {
        Cell::Int(value as i64)
    } else {
        Cell::Float(value)
    }
}

/// Runs the Parquet reader, which panics on some damaged files.
fn guarded<T>(path: &Path, read: impl FnOnce() -> PolarsResult<T>) -> Result<T> {
    let what = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the reader failed on its content".into(),
    };
    Err(Error::Damaged {
        path: path.to_owned(),
        what,
    })
}
