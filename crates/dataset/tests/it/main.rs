//! Integration tests of the prepared dataset.

mod common;
mod dataset;
mod examples;
mod return_table;
