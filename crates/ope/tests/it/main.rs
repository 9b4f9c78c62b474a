//! Integration tests of off-policy evaluation.

mod simulated;
