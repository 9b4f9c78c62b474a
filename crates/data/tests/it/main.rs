//! Raw logs from the reader to the prepared dataset.

mod append;
mod bad_input;
mod common;
mod plausibility;
mod slice;
mod steps;
mod tables;
