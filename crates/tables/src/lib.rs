//! Result tables as Parquet files, written in row groups by a [`TableWriter`].
//!
//! The crate holds no reader of raw logs: a program that writes tables compiles polars' columns and
//! its Parquet writer, and neither its lazy engine nor `prl-data`. Its interface has no type of
//! polars.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

mod error;
mod values;
mod writer;

pub use error::{Error, Result};
pub use values::{Type, Values};
pub use writer::{ROW_GROUP, TableWriter};
