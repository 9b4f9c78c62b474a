//! Errors of result tables.

use std::path::PathBuf;

/// Result of writing a table.
pub type Result<T> = std::result::Result<T, Error>;

/// A table that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A storage operation failed.
    #[error(transparent)]
    Fs(#[from] prl_fs::Error),
    /// The Parquet writer failed.
    #[error("failed to write {}: {what}", path.display())]
    Parquet {
        /// The table.
        path: PathBuf,
        /// Cause.
        what: String,
    },
    /// Values do not fit the table's columns.
    #[error("failed to write {}: {what}; pass the columns in the order of the schema", path.display())]
    Schema {
        /// The table.
        path: PathBuf,
        /// The column and the difference.
        what: String,
    },
    /// A file is not Parquet, or its content cannot be decoded.
    #[error("failed to read {}: damaged or unsupported Parquet: {what}", path.display())]
    Damaged {
        /// The table.
        path: PathBuf,
        /// Cause.
        what: String,
    },
    /// A column has a type that no value of a table has.
    #[error(
        "failed to read {}: column {column} is of type {found}; convert it to text, numbers, or \
         lists of them",
        path.display()
    )]
    Type {
        /// The table.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
}
