//! Tests of exports and imports.

mod common;
mod export;
mod import;
mod interpreter;
mod network;
