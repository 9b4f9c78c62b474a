//! The whole way from text to arrays, against a slow and plain version of the same steps.

mod plain;
mod properties;
