//! Raw logs from the reader to the prepared dataset.

mod append;
mod bad_input;
mod cases;
mod common;
mod given_split;
mod inputs;
mod item_files;
mod json_lines;
mod lists;
mod parquet_types;
mod plausibility;
mod slice;
mod steps;
mod tables;
mod text_forms;
mod values;
