//! Tables as Parquet files: results, written in row groups by a [`TableWriter`], and requests, read
//! in slices of rows by a [`TableReader`].
//!
//! The crate holds no reader of raw logs: a program that uses tables compiles polars' columns and
//! its Parquet files, and neither its lazy engine nor `prl-data`. Its interface has no type of
//! polars.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

mod error;
mod reader;
mod values;
mod writer;

pub use error::{Error, Result};
pub use reader::{Cell, Rows, SLICE, TableReader};
pub use values::{Type, Values};
pub use writer::{ROW_GROUP, TableWriter};
