//! Trace context (W3C) and the spans of a request.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use prl_engine::{Timing, TimingLog};
use serde_json::{Value, json};

use crate::web::context::random;

/// Maximum number of questions of a batch that get spans of their own.
const MAX_TIMINGS: usize = 8;

/// Kinds of spans in OTLP.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// Status code of a failed span in OTLP.
const ERROR: u8 = 2;

/// The caller's span, from the header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    /// Whether the caller records the trace.
    pub(crate) is_sampled: bool,
}

impl TraceParent {
    /// The caller's span, if the headers name a valid one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // Later versions may append fields; version 255 is forbidden.
        let is_known = version == 0 && parts.next().is_none() || (1..255).contains(&version);
        let is_valid = is_known && trace_id != 0 && span_id != 0;
        is_valid.then_some(Self {
            trace_id,
            span_id: span_id as u64,
            is_sampled: flags & 1 == 1,
        })
    }
}

/// The number of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// A finished span in OTLP's JSON.
#[derive(Debug)]
pub(crate) struct Span(pub(crate) Value);

/// A request that is traced.
pub(crate) struct RequestTrace {
    trace_id: u128,
    span_id: u64,
    parent: Option<u64>,
    start: Instant,
    start_time: Duration,
    pub(crate) timings: TimingLog,
}

impl RequestTrace {
    /// Starts the span of a request, as a child of the caller's.
    pub(crate) fn start(parent: Option<TraceParent>) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            trace_id: match parent {
                Some(parent) => parent.trace_id,
                // Ids of zero are invalid.
                None => u128::from_ne_bytes(random()).max(1),
            },
            span_id: new_span_id(),
            parent: parent.map(|parent| parent.span_id),
            start: Instant::now(),
            start_time: time.unwrap_or_default(),
            timings: TimingLog::default(),
        }
    }

    /// The trace's id.
    pub(crate) fn id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The spans of the request, which ends now: its own, and the queue's and the inference's of
    /// its first questions.
    pub(crate) fn finish(self, name: &str, status: u16, attributes: &[(&str, Value)]) -> Vec<Span> {
        let own = SpanData {
            span_id: self.span_id,
            parent: self.parent,
            kind: SERVER,
            name,
            times: (self.start, Instant::now()),
            attributes,
            is_error: status >= 500,
        };
        let mut spans = vec![self.span(own)];
        for timing in self.timings.take().into_iter().take(MAX_TIMINGS) {
            let Timing {
                queued,
                started,
                ended,
                batch,
            } = timing;
            let size = [("prl.batch_size", json!({"intValue": batch.to_string()}))];
            spans.push(self.child("queue wait", (queued, started), &[]));
            spans.push(self.child("inference", (started, ended), &size));
        }
        spans
    }

    fn child(&self, name: &str, times: (Instant, Instant), attributes: &[(&str, Value)]) -> Span {
        self.span(SpanData {
            span_id: new_span_id(),
            parent: Some(self.span_id),
            kind: INTERNAL,
            name,
            times,
            attributes,
            is_error: false,
        })
    }

    fn span(&self, span: SpanData<'_>) -> Span {
        let mut attributes = Vec::with_capacity(span.attributes.len());
        for (key, value) in span.attributes {
            attributes.push(json!({"key": key, "value": value}));
        }
        let mut json = json!({
            "traceId": self.id(),
            "spanId": format!("{:016x}", span.span_id),
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": self.nanoseconds(span.times.0),
            "endTimeUnixNano": self.nanoseconds(span.times.1),
            "attributes": attributes,
        });
        if let Some(parent) = span.parent {
            json["parentSpanId"] = format!("{parent:016x}").into();
        }
        if span.is_error {
            json["status"] = json!({"code": ERROR});
        }
        Span(json)
    }

    /// Nanoseconds from the Unix epoch, as text: JSON numbers are not exact up to there.
    fn nanoseconds(&self, at: Instant) -> String {
        let time = self.start_time + at.saturating_duration_since(self.start);
        time.as_nanos().to_string()
    }
}

/// What distinguishes a span of a trace.
struct SpanData<'a> {
    span_id: u64,
    parent: Option<u64>,
    kind: u8,
    name: &'a str,
    times: (Instant, Instant),
    attributes: &'a [(&'a str, Value)],
    is_error: bool,
}

fn new_span_id() -> u64 {
    u64::from_ne_bytes(random()).max(1)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::TraceParent;

    #[test]
    fn traceparent_is_taken_only_if_valid() {
        let of = |text: &str| {
            let name = HeaderName::from_static("traceparent");
            let value = HeaderValue::from_str(text).unwrap();
            TraceParent::of(&HeaderMap::from_iter([(name, value)]))
        };
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let expected = |is_sampled| {
            Some(TraceParent {
                trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
                span_id: 0x00f0_67aa_0ba9_02b7,
                is_sampled,
            })
        };
        assert_eq!(of(&format!("00-{trace}-{span}-01")), expected(true));
        assert_eq!(of(&format!("00-{trace}-{span}-00")), expected(false));
        assert_eq!(of(&format!("01-{trace}-{span}-03-more")), expected(true));
        let zero = "0".repeat(32);
        for invalid in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{zero}-{span}-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", &trace[1..]),
            format!("00-+{}-{span}-01", &trace[1..]),
        ] {
            assert_eq!(of(&invalid), None, "{invalid}");
        }
    }
}
