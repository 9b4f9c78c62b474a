//! Integration tests of the server: HTTP API, operation, signals and the demo page.

mod api;
mod common;
mod experiment;
mod items;
mod openapi;
mod operations;
mod schema;
mod slow_page;
#[cfg(unix)]
mod slow_signals;
