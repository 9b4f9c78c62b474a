//! Tests of the whole pipeline, from text to arrays, against a slow and plain version of its steps.

mod findings;
mod plain;
mod properties;
