//! Raw logs from the reader to the prepared dataset.

mod bad_input;
mod cases;
mod common;
mod given_split;
mod inputs;
mod json_lines;
mod lists;
mod parquet_types;
mod slice;
mod tables;
mod text_forms;
mod values;
