//! Preparation of a raw log: filters, item index, order and splits by the protocol of the paper.
//!
//! [`prepare()`] reads RetailRocket, RC15, CSV, Parquet or RecBole's `.inter` files and writes the
//! dataset that [`prl_dataset`] reads; [`prepare_frame()`] does so for a polars frame:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use polars::prelude::*;
//! use prl_data::{Options, Source, Table, prepare_frame};
//!
//! let log = df!(
//!     "visitor" => [7_i64, 7, 7, 9, 9],
//!     "at" => [1396867860_i64, 1396867861, 1396867862, 1396867860, 1396867865],
//!     "sku" => ["a", "b", "a", "b", "c"],
//! )?;
//! let table = Table {
//!     columns: Some("session=visitor,time=at,item=sku".parse()?),
//!     ..Table::default()
//! };
//! let options = Options::new(Source::Frame { table });
//! let out = std::env::temp_dir().join(format!("prl-data-example-{}", std::process::id()));
//! let manifest = prepare_frame(log.lazy(), &options, &out)?;
//! assert_eq!(manifest.input.counts.after_length_filter.sessions, 2);
//! # std::fs::remove_dir_all(out)?;
//! # Ok(())
//! # }
//! ```
//!
//! A file is read once, as a stream of chunks: unpacked, hashed, checked and parsed into columns, a
//! few chunks at once. Memory is bounded by the events that are kept, and errors name the line. The
//! clicks of RC15, of which few are kept, wait in temporary files beside the dataset. After the
//! readers a log is a polars frame, and each step of the protocol is an expression over it: see
//! `retailrocket.rs`, `rc15.rs` and `table.rs`, and for the steps that all sources share `log.rs`
//! and `split.rs`.
//!
//! This is the only crate that depends on polars, but for `prl-tables`, which writes result tables.

mod chunks;
mod columns;
mod csv_fast_path;
mod csv_general;
mod delimited;
mod delimited_reader;
mod dropped;
mod error;
mod export;
mod findings;
mod footer;
mod frame;
mod header;
mod histories;
mod ids;
mod input;
mod item_columns;
mod item_file;
mod json;
mod json_events;
mod jsonl;
mod kept_log;
mod layout;
mod lists;
mod log;
mod missing;
mod options;
mod ordered_parallel;
mod parquet;
mod parquet_types;
mod partitions;
mod plausibility;
mod prepare;
mod rc15;
mod records;
mod reexec;
mod representation;
mod retailrocket;
mod roles;
mod sequences;
mod split;
mod spool;
mod steps;
mod table;
mod table_reader;
#[cfg(test)]
mod tests;
mod thrift;
mod time_column;
mod time_parser;
mod times;
mod values;

pub use columns::Columns;
pub use error::{Error, Place, Result};
pub use options::{
    Delimiter, Encoding, Gap, InputPart, Inputs, ItemsFile, KindOptions, LongSessions, Moment,
    Options, Output, Source, SplitRule, Steps, Table, TextFormat, TimeUnit, ValueRules,
};
pub use polars::prelude::LazyFrame;
pub use prepare::{append, prepare, prepare_frame};
pub use prl_dataset::Split;
pub use reexec::reexec_guard;
