//! Integration tests of the table writer.

mod reader;
mod writer;
