//! Raw logs from the reader to the prepared dataset.

mod bad_input;
mod common;
mod given_split;
mod inputs;
mod lists;
mod parquet_types;
mod slice;
mod tables;
