//! Integration tests of the evaluation.

mod report;
