//! Metrics in the OpenMetrics text format, which Prometheus scrapes.

use std::fmt;

use prl_engine::SECONDS;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::app::App;

/// Media type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
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
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    arms: Family<ArmLabels, Counter>,
    keys: Family<KeyLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS.iter().copied());
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            arms: Family::default(),
            keys: Family::default(),
        }
    }
}

impl Metrics {
    /// Records an answered request.
    pub(crate) fn record(&self, route: &str, code: u16, seconds: f64) {
        let labels = RequestLabels {
            route: route.to_owned(),
            code,
        };
        self.requests.get_or_create(&labels).inc();
        let RequestLabels { route, .. } = labels;
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
    /// absent until the model is loaded, and the number of sessions if their store does not tell it.
    pub(crate) fn text(&self, app: &App, sessions: Option<usize>) -> String {
        let mut registry = Registry::default();
        // The encoder appends `_total` to the name of a counter and `_info` to that of an info.
        registry.register(
            "prl_requests",
            "Requests by route and status code",
            self.requests.clone(),
        );
        registry.register(
            "prl_request_seconds",
            "Seconds from request head to response head by route",
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
            "prl_requests_in_flight",
            "Admitted requests that are not answered yet",
            gauge(app.in_flight()),
        );
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
                "prl_inference_seconds",
                "Seconds per inference",
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
