//! Writer of a Parquet file in row groups.

use std::fs::File;
use std::path::Path;

use polars_core::prelude::*;
use polars_io::parquet::write::{BatchedWriter, ParquetCompression, ParquetWriter};
use prl_fs::StagedFile;

use crate::error::{Error, Result};
use crate::values::{Type, Values};

/// Rows of a row group: the rows that a [`TableWriter`] holds at most, beside those of one call.
pub const ROW_GROUP: usize = 1 << 16;

/// Parquet file that is written in row groups and renamed to its path when it is finished.
/// Dropped before, it leaves nothing behind.
pub struct TableWriter {
    file: StagedFile,
    writer: BatchedWriter<File>,
    columns: Vec<(String, Type)>,
    /// Rows of the next row group.
    pending: DataFrame,
    rows: usize,
}

impl TableWriter {
    /// Starts a file with these columns, compressed by zstd. The file's folder must exist.
    ///
    /// # Errors
    /// [`Error::Fs`] if no file can be created, [`Error::Parquet`] for a repeated column name.
    pub fn create(path: &Path, columns: &[(&str, Type)]) -> Result<Self> {
        let mut schema = Schema::with_capacity(columns.len());
        let mut named = Vec::with_capacity(columns.len());
        for &(name, value_type) in columns {
            schema
                .try_insert(name.into(), value_type.dtype())
                .map_err(failed(path))?;
            named.push((name.to_owned(), value_type));
        }
        let file = StagedFile::create(path)?;
        let writer = ParquetWriter::new(file.handle()?)
            .with_compression(ParquetCompression::Zstd(None))
            .batched(&schema)
            .map_err(failed(path))?;
        Ok(Self {
            file,
            writer,
            columns: named,
            pending: DataFrame::empty_with_schema(&schema),
            rows: 0,
        })
    }

    /// Appends rows: the values of each column, in the order of the schema and of equal length.
    ///
    /// # Errors
    /// [`Error::Schema`] for other columns or unequal lengths, [`Error::Parquet`] if a row group
    /// cannot be written.
    pub fn write(&mut self, values: &[Values<'_>]) -> Result<()> {
        let rows = self.check(values)?;
        let mut columns = Vec::with_capacity(values.len());
        for ((name, _), values) in self.columns.iter().zip(values) {
            columns.push(values.to_column(name));
        }
        let frame = DataFrame::new(rows, columns).map_err(failed(self.file.path()))?;
        let stacked = self.pending.vstack_mut_owned(frame);
        stacked.map_err(failed(self.file.path()))?;
        self.rows += rows;
        if self.pending.height() >= ROW_GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    /// Number of rows written so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes the last row group and the footer, syncs the file and renames it to its path.
    ///
    /// # Errors
    /// [`Error::Fs`] or [`Error::Parquet`] if that fails; the path is left as it was.
    pub fn finish(mut self) -> Result<()> {
        if self.pending.height() > 0 {
            self.write_group()?;
        }
        self.writer.finish().map_err(failed(self.file.path()))?;
        Ok(self.file.publish()?)
    }

    /// Checks values against the schema and returns their number of rows.
    fn check(&self, values: &[Values<'_>]) -> Result<usize> {
        let wrong = |what: String| Error::Schema {
            path: self.file.path().to_owned(),
            what,
        };
        if values.len() != self.columns.len() {
            let (found, expected) = (values.len(), self.columns.len());
            return Err(wrong(format!("{found} columns instead of {expected}")));
        }
        let rows = values.first().map_or(0, Values::len);
        for ((name, expected), values) in self.columns.iter().zip(values) {
            let (found, n) = (values.value_type(), values.len());
            if found != *expected {
                return Err(wrong(format!(
                    "column {name} is {found:?} instead of {expected:?}"
                )));
            }
            if n != rows {
                return Err(wrong(format!(
                    "column {name} has {n} rows instead of {rows}"
                )));
            }
        }
        Ok(rows)
    }

    fn write_group(&mut self) -> Result<()> {
        let empty = self.pending.clear();
        let mut group = std::mem::replace(&mut self.pending, empty);
        // The writer needs all columns in one chunk, or it writes a row group for each chunk.
        group.rechunk_mut();
        let written = self.writer.write_batch(&group);
        written.map_err(failed(self.file.path()))
    }
}

fn failed(path: &Path) -> impl FnOnce(PolarsError) -> Error {
    let path = path.to_owned();
    move |error| Error::Parquet {
        path,
        what: error.to_string(),
    }
}
