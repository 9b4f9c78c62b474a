//! Integration tests of the log.

mod log;
