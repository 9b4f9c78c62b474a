//! Counters and histograms in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use prl_engine::{Histogram, SECONDS};

use crate::app::App;

/// Requests and their latencies, by route.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<String, Route>>);

struct Route {
    by_status: BTreeMap<u16, u64>,
    seconds: Histogram,
}

impl Metrics {
    /// Counts a request. There are as many routes as the table has, so the map stays small.
    pub(crate) fn record(&self, route: &str, status: u16, seconds: f64) {
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            let empty = Route {
                by_status: BTreeMap::new(),
                seconds: Histogram::new(SECONDS),
            };
            routes.insert(route.to_owned(), empty);
        }
        if let Some(found) = routes.get_mut(route) {
            *found.by_status.entry(status).or_insert(0) += 1;
            found.seconds.record(seconds);
        }
    }

    /// Everything, as text.
    pub(crate) fn text(&self, app: &App) -> String {
        let mut out = Text(String::new());
        let routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.head(
            "prl_requests_total",
            "counter",
            "Requests by route and status code.",
        );
        for (name, route) in routes.iter() {
            for (status, count) in &route.by_status {
                out.line(
                    "prl_requests_total",
                    &format!("route=\"{name}\",code=\"{status}\""),
                    *count as f64,
                );
            }
        }
        out.head(
            "prl_request_seconds",
            "histogram",
            "Time from a request's head to its answer's, by route.",
        );
        for (name, route) in routes.iter() {
            out.histogram(
                "prl_request_seconds",
                &format!("route=\"{name}\""),
                &route.seconds,
            );
        }
        drop(routes);
        out.head("prl_sessions", "gauge", "Sessions kept.");
        out.line("prl_sessions", "", app.sessions.len() as f64);
        out.head(
            "prl_requests_in_flight",
            "gauge",
            "Requests that are let in now.",
        );
        out.line("prl_requests_in_flight", "", app.in_flight() as f64);
        if let Ok(engine) = app.engine() {
            out.head(
                "prl_queue_length",
                "gauge",
                "Requests that wait for inference.",
            );
            out.line("prl_queue_length", "", engine.queue_len() as f64);
            out.head(
                "prl_batch_size",
                "histogram",
                "Requests answered in one inference.",
            );
            out.histogram("prl_batch_size", "", &engine.stats().batch_size);
            out.head(
                "prl_inference_seconds",
                "histogram",
                "Time of one inference.",
            );
            out.histogram("prl_inference_seconds", "", &engine.stats().inference);
            out.head("prl_model_info", "gauge", "The model in service.");
            out.line(
                "prl_model_info",
                &format!("model=\"{}\"", engine.live().name()),
                1.0,
            );
        }
        out.0
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bound, count) in histogram.cumulative() {
            let le = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".to_owned()
            };
            self.line(
                &format!("{name}_bucket"),
                &format!("{labels}{comma}le=\"{le}\""),
                count as f64,
            );
            total = count;
        }
        self.line(&format!("{name}_sum"), labels, histogram.sum());
        self.line(&format!("{name}_count"), labels, total as f64);
    }
}
