//! Integration tests of the synthetic logs.

mod protocol;
mod shop;
