//! Traces of requests, exported by OTLP over HTTP.

mod exporter;
mod trace;

pub(crate) use exporter::Exporter;
pub use exporter::{InvalidEndpoint, TraceOptions};
pub(crate) use trace::{RequestTrace, Span, TraceParent};
