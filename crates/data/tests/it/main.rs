//! Raw logs from the reader to the prepared dataset.

mod append;
mod bad_input;
mod common;
mod given_split;
mod inputs;
mod lists;
mod parquet_types;
mod plausibility;
mod slice;
mod steps;
mod tables;
