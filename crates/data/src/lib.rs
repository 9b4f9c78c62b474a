//! From a raw log to a prepared dataset.
//!
//! [`prepare()`] reads RetailRocket, RC15, any CSV or Parquet table or a RecBole `.inter` file, filters and indexes it by the
//! protocol, splits it and writes what [`prl_dataset`] reads. The one design decision here is that **a file is read once,
//! as a stream of chunks**: unpacked, hashed, checked and parsed on the way into compact columns, a few chunks at once, so
//! memory is bounded by the events that are kept and not by the file, and whatever is wrong is known by its line. RC15's
//! clicks, of which few are kept, wait in temporary files beside the dataset.
//!
//! This is the only crate that compiles polars.

mod chunks;
mod columns;
mod csv_fast_path;
mod csv_general;
mod delimited;
mod delimited_reader;
mod dropped;
mod error;
mod export;
mod footer;
mod frame;
mod ids;
mod input;
mod layout;
mod log;
mod options;
mod ordered_parallel;
mod parquet;
mod prepare;
mod rc15;
mod records;
mod retailrocket;
mod split;
mod spool;
mod table;
mod table_reader;
#[cfg(test)]
mod tests;
mod thrift;
mod times;
mod values;

pub use columns::Columns;
pub use error::{Error, Place, Result};
pub use options::{Options, Source, SplitRule, Table, TimeUnit};
pub use prepare::{prepare, prepare_frame};
