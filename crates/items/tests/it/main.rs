//! Integration tests.

mod live;
mod masks;
