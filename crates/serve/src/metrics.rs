//! Metrics in the OpenMetrics text format, which Prometheus scrapes, and in its older one.
//!
//! Names follow the conventions of Prometheus; those of earlier versions are exported beside them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;

use axum::http::Method;
use prl_engine::SECONDS;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::app::App;

/// Media type of [`Metrics::text`].
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Media type of [`prometheus_text`].
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    code: u16,
}

/// Labels of the requests under the old name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OldRequestLabels {
    route: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ArmLabels {
    arm: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    key: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

/// Request counters and latencies by route. The label `route` is the route's pattern, so the number
/// of time series is bounded.
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    old_requests: Family<OldRequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    arms: Family<ArmLabels, Counter>,
    keys: Family<KeyLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS.iter().copied());
        Self {
            requests: Family::default(),
            old_requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            arms: Family::default(),
            keys: Family::default(),
        }
    }
}

impl Metrics {
    /// Records an answered request.
    pub(crate) fn record(&self, method: &Method, route: &str, code: u16, seconds: f64) {
        let labels = RequestLabels {
            method: method_label(method),
            route: route.to_owned(),
            code,
        };
        self.requests.get_or_create(&labels).inc();
        let RequestLabels { route, .. } = labels;
        let labels = OldRequestLabels { route, code };
        self.old_requests.get_or_create(&labels).inc();
        let OldRequestLabels { route, .. } = labels;
        self.seconds
            .get_or_create(&RouteLabels { route })
            .observe(seconds);
    }

    /// Counts an answer by an arm of the experiment.
    pub(crate) fn count_arm(&self, arm: &str) {
        let arm = arm.to_owned();
        self.arms.get_or_create(&ArmLabels { arm }).inc();
    }

    /// Counts an answer to a valid API key.
    pub(crate) fn count_key(&self, key: &str, code: u16) {
        let key = key.to_owned();
        self.keys.get_or_create(&KeyLabels { key, code }).inc();
    }

    /// All metrics as text. Gauges are read at the time of the call; the engine's metrics are
    /// absent until the model is loaded, and the number of sessions if their store does not tell
    /// it.
    pub(crate) fn text(&self, app: &App, sessions: Option<usize>) -> String {
        let mut registry = Registry::default();
        // The encoder appends `_total` to the name of a counter and `_info` to that of an info.
        registry.register(
            "prl_http_requests",
            "Requests by method, route and status code",
            self.requests.clone(),
        );
        registry.register(
            "prl_http_request_duration_seconds",
            "Seconds from request head to response head by route",
            self.seconds.clone(),
        );
        registry.register(
            "prl_requests",
            old("prl_http_requests_total"),
            self.old_requests.clone(),
        );
        registry.register(
            "prl_request_seconds",
            old("prl_http_request_duration_seconds"),
            self.seconds.clone(),
        );
        registry.register(
            "prl_arm_answers",
            "Answers by arm of the experiment",
            self.arms.clone(),
        );
        registry.register(
            "prl_api_key_requests",
            "Requests with a valid API key by its name and status code",
            self.keys.clone(),
        );
        if let Some(sessions) = sessions {
            registry.register("prl_sessions", "Stored sessions", gauge(sessions));
        }
        registry.register(
            "prl_http_requests_in_flight",
            "Admitted requests that are not answered yet",
            gauge(app.in_flight()),
        );
        registry.register(
            "prl_requests_in_flight",
            old("prl_http_requests_in_flight"),
            gauge(app.in_flight()),
        );
        registry.register(
            "prl_http_connections",
            "Open connections",
            gauge(app.connections.load(Ordering::Relaxed)),
        );
        registry.register(
            "prl_ready",
            "Whether the model is loaded",
            gauge(usize::from(app.engine().is_ok())),
        );
        if let Some(exporter) = &app.exporter {
            let counts = exporter.counts();
            registry.register(
                "prl_trace_spans_exported",
                "Spans that the collector took",
                ConstCounter::new(counts.exported.load(Ordering::Relaxed)),
            );
            registry.register(
                "prl_trace_spans_dropped",
                "Spans that found the queue full or that the collector did not take",
                ConstCounter::new(counts.dropped.load(Ordering::Relaxed)),
            );
        }
        if let Ok(engine) = app.engine() {
            let stats = engine.stats();
            let model = engine.model().name().to_owned();
            registry.register(
                "prl_queue_length",
                "Requests waiting for inference",
                gauge(engine.queue_len()),
            );
            registry.register(
                "prl_batch_size",
                "Requests per inference",
                HistogramSnapshot::new(&stats.batch_size),
            );
            registry.register(
                "prl_inference_duration_seconds",
                "Seconds per inference",
                HistogramSnapshot::new(&stats.inference),
            );
            registry.register(
                "prl_inference_seconds",
                old("prl_inference_duration_seconds"),
                HistogramSnapshot::new(&stats.inference),
            );
            registry.register(
                "prl_model",
                "Current model",
                Info::new(vec![("model", model)]),
            );
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        _ = encode(&mut text, &registry);
        text
    }
}

/// Help of a metric that has a new name; the old one goes with the next version.
fn old(new: &str) -> String {
    format!("Deprecated and absent from the next version: use {new}")
}

/// The method as a label; clients cannot add time series by methods of their own.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The metrics in Prometheus' older text format, which its tools read, from OpenMetrics text: there
/// the name of a counter has its suffix everywhere, and an info is a gauge.
pub(crate) fn prometheus_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut suffixes = HashMap::new();
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ")
            && let Some((name, kind)) = rest.split_once(' ')
        {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            suffixes.insert(name, suffix);
        }
    }
    for line in openmetrics.lines() {
        let comment = line.strip_prefix("# HELP ").map(|rest| ("HELP", rest));
        let comment = comment.or(line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        if let Some((keyword, rest)) = comment
            && let Some((name, rest)) = rest.split_once(' ')
        {
            let suffix = suffixes.get(name).copied().unwrap_or_default();
            let rest = if keyword == "TYPE" && rest == "info" {
                "gauge"
            } else {
                rest
            };
            text.push_str(&format!("# {keyword} {name}{suffix} {rest}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn gauge(value: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Copy of an engine histogram at one moment.
#[derive(Debug)]
struct HistogramSnapshot {
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl HistogramSnapshot {
    fn new(histogram: &prl_engine::Histogram) -> Self {
        Self {
            buckets: histogram.buckets(),
            sum: histogram.sum(),
        }
    }
}

impl EncodeMetric for HistogramSnapshot {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = self.buckets.iter().map(|bucket| bucket.1).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
