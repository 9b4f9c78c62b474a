//! Export of spans by OTLP over HTTP, as JSON, on a thread of its own.
//!
//! A request never waits for the collector: spans go into a bounded queue, and those that find it
//! full or that the collector does not take are counted and dropped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::http::Uri;
use serde_json::{Value, json};

use super::{RequestTrace, Span, TraceParent};

/// Capacity of the queue, in requests.
const QUEUE: usize = 2_048;
/// Maximum number of spans in a call of the collector.
const MAX_BATCH: usize = 512;
/// Maximum time for which a span waits for others.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Time limit of a call of the collector.
const CALL_TIME: Duration = Duration::from_secs(3);
/// Minimum time between two warnings about the collector.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Path of the collector's traces below its base URL.
const PATH: &str = "/v1/traces";

/// Where traces go to, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// URL that spans are posted to.
    url: String,
    /// Name of the service.
    pub service: String,
    /// Share of the requests without a caller's trace that are traced; a caller's decision is
    /// followed.
    pub share: f64,
}

/// URL that is no endpoint of a collector.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no collector's URL: expected http://HOST:PORT as http://localhost:4318; for a \
     collector with TLS, run one beside the server that forwards"
)]
pub struct InvalidEndpoint(String);

impl TraceOptions {
    /// Options for the base URL of a collector, as in `OTEL_EXPORTER_OTLP_ENDPOINT`.
    ///
    /// # Errors
    /// If it is no URL with the scheme http.
    pub fn new(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        Self::with_url(&format!("{}{PATH}", endpoint.trim_end_matches('/')))
    }

    /// Options for the whole URL, as in `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    ///
    /// # Errors
    /// If it is no URL with the scheme http.
    pub fn with_url(url: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        Ok(Self {
            url: url.to_owned(),
            service: "prl".into(),
            share: 1.0,
        })
    }
}

/// Numbers of spans.
#[derive(Debug, Default)]
pub(crate) struct TraceCounts {
    pub(crate) exported: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// The exporter. Ends with a last call of the collector when [`stop`](Self::stop) is called.
pub(crate) struct Exporter {
    queue: SyncSender<Message>,
    counts: Arc<TraceCounts>,
    share: f64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Spans(Vec<Span>),
    Stop,
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no thread.
    pub(crate) fn start(options: TraceOptions) -> std::io::Result<Self> {
        let (queue, received) = sync_channel(QUEUE);
        let counts = Arc::new(TraceCounts::default());
        let share = options.share;
        let sender = Sender::new(options, Arc::clone(&counts));
        let thread = std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || sender.run(&received))?;
        Ok(Self {
            queue,
            counts,
            share,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Starts the trace of a request, if it is to be traced.
    pub(crate) fn begin(&self, parent: Option<TraceParent>) -> Option<RequestTrace> {
        let is_traced = match parent {
            Some(parent) => parent.is_sampled,
            None if self.share >= 1.0 => true,
            None => {
                let drawn = u32::from_ne_bytes(crate::web::context::random());
                f64::from(drawn) < self.share * f64::from(u32::MAX)
            }
        };
        is_traced.then(|| RequestTrace::start(parent))
    }

    /// Queues the spans of a request; drops them if the queue is full.
    pub(crate) fn export(&self, spans: Vec<Span>) {
        let n = spans.len() as u64;
        if self.queue.try_send(Message::Spans(spans)).is_err() {
            self.counts.dropped.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Numbers of exported and dropped spans.
    pub(crate) fn counts(&self) -> &TraceCounts {
        &self.counts
    }

    /// Sends what is queued and ends the thread; takes at most the time of two calls.
    pub(crate) fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The thread reads the queue, or is in a call with a time limit.
        if let Some(thread) = thread
            && self.queue.send(Message::Stop).is_ok()
        {
            _ = thread.join();
        }
    }
}

/// State of the thread.
struct Sender {
    options: TraceOptions,
    agent: ureq::Agent,
    counts: Arc<TraceCounts>,
    warned: Option<Instant>,
}

impl Sender {
    fn new(options: TraceOptions, counts: Arc<TraceCounts>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIME))
            .proxy(None)
            .build();
        Self {
            options,
            agent: config.into(),
            counts,
            warned: None,
        }
    }

    fn run(mut self, queue: &Receiver<Message>) {
        let mut spans = Vec::new();
        let mut since = Instant::now();
        loop {
            let left = match spans.is_empty() {
                true => MAX_DELAY,
                false => MAX_DELAY.saturating_sub(since.elapsed()),
            };
            let is_stopped = match queue.recv_timeout(left) {
                Ok(Message::Spans(more)) => {
                    if spans.is_empty() {
                        since = Instant::now();
                    }
                    spans.extend(more);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => true,
            };
            let is_due = spans.len() >= MAX_BATCH || since.elapsed() >= MAX_DELAY || is_stopped;
            if is_due && !spans.is_empty() {
                self.send(std::mem::take(&mut spans));
            }
            if is_stopped {
                return;
            }
        }
    }

    /// Calls the collector with spans.
    fn send(&mut self, spans: Vec<Span>) {
        let n = spans.len() as u64;
        let body = self.body(spans).to_string();
        let request = self
            .agent
            .post(&self.options.url)
            .header("content-type", "application/json");
        let Err(error) = request.send(body) else {
            self.counts.exported.fetch_add(n, Ordering::Relaxed);
            return;
        };
        self.counts.dropped.fetch_add(n, Ordering::Relaxed);
        if self
            .warned
            .is_none_or(|at| at.elapsed() >= WARNING_INTERVAL)
        {
            self.warned = Some(Instant::now());
            let url = &self.options.url;
            tracing::warn!(url, %error, "the collector does not take traces; they are dropped");
        }
    }

    /// The body of a call: `ExportTraceServiceRequest` as JSON.
    fn body(&self, spans: Vec<Span>) -> Value {
        let mut list = Vec::with_capacity(spans.len());
        for Span(span) in spans {
            list.push(span);
        }
        let version = env!("CARGO_PKG_VERSION");
        let attribute = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
        json!({"resourceSpans": [{
            "resource": {"attributes": [
                attribute("service.name", &self.options.service),
                attribute("service.version", version),
            ]},
            "scopeSpans": [{"scope": {"name": "prl-serve", "version": version}, "spans": list}],
        }]})
    }
}

#[cfg(test)]
mod tests {
    use super::TraceOptions;

    #[test]
    fn endpoint_is_base_or_whole_url() {
        let base = |url: &str| {
            TraceOptions::new(url)
                .map(|o| o.url)
                .map_err(|e| e.to_string())
        };
        let expected = "http://localhost:4318/v1/traces".to_owned();
        assert_eq!(base("http://localhost:4318"), Ok(expected.clone()));
        assert_eq!(base("http://localhost:4318/"), Ok(expected));
        let whole = TraceOptions::with_url("http://c/otlp").unwrap();
        assert_eq!((whole.url.as_str(), whole.share), ("http://c/otlp", 1.0));
        for url in [
            "",
            "localhost:4318",
            "https://c:4318",
            "http://",
            "grpc://c:4317",
        ] {
            let error = base(url).unwrap_err();
            assert!(
                error.contains("expected http://HOST:PORT"),
                "{url}: {error}"
            );
        }
    }
}
