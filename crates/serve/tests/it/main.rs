//! Integration tests of the server: HTTP API, operation, signals and the demo page.

mod api;
mod candidate;
mod common;
mod experiment;
mod http2;
mod items;
mod keys;
mod openapi;
mod operations;
mod schema;
mod slow_page;
#[cfg(unix)]
mod slow_signals;
mod tls;
mod web;
