//! Integration tests of the table writer.

mod writer;
