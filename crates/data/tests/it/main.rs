//! Raw logs from the reader to the prepared dataset.

mod bad_input;
mod cases;
mod common;
mod json_lines;
mod slice;
mod tables;
mod text_forms;
mod values;
