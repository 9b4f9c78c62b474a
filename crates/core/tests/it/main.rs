//! Integration tests of prl-core.

mod golden;
mod initial_values;
