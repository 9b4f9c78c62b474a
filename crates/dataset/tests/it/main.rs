//! Integration tests of the prepared dataset.

mod common;
mod dataset;
mod details;
mod examples;
mod return_table;
mod session_batches;
