//! Integration tests of the engine on small trained runs.

#[path = "../../../train/tests/common/mod.rs"]
mod common;

mod engine;
