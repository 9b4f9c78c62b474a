//! Raw logs from the reader to the prepared dataset.

mod bad_input;
mod common;
mod slice;
mod steps;
mod tables;
