//! Health probes and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::metrics;
use crate::openapi::ModelProblems;
use crate::problem::Problem;

/// Result of the liveness probe.
#[derive(Serialize, ToSchema)]
pub(crate) struct Live {
    /// Always `live`.
    status: &'static str,
}

/// Result of the readiness probe.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Always `ready`.
    status: &'static str,
    /// Name of the current model.
    model: String,
}

/// Liveness probe
#[utoipa::path(
    get,
    path = "/health/live",
    responses((status = 200, description = "The process is running", body = Live)),
    security(),
)]
pub(crate) async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

/// Readiness probe
#[utoipa::path(
    get,
    path = "/health/ready",
    responses(
        (status = 200, description = "The model is loaded and warmed up", body = Ready),
        ModelProblems,
    ),
    security(),
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Ready>, Problem> {
    Ok(Json(Ready {
        status: "ready",
        model: app.model()?.name().to_owned(),
    }))
}

/// Prometheus metrics
#[utoipa::path(
    get,
    path = "/metrics",
    responses((
        status = 200,
        description = "OpenMetrics text; Prometheus' older text format if text/plain is accepted \
                       and OpenMetrics is not",
        content(
            (String = "application/openmetrics-text"),
            (String = "text/plain"),
        ),
    )),
    security(),
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> impl IntoResponse {
    // A scrape must not fail because another service is down.
    let sessions = app.sessions.count().await.ok();
    let text = app.metrics.text(&app, sessions);
    if accepts_plain_text_only(&headers) {
        let text = metrics::prometheus_text(&text);
        return ([(header::CONTENT_TYPE, metrics::PROMETHEUS)], text);
    }
    ([(header::CONTENT_TYPE, metrics::OPENMETRICS)], text)
}

/// Whether the client accepts plain text and not OpenMetrics.
fn accepts_plain_text_only(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or("");
    accept.contains("text/plain") && !accept.contains("application/openmetrics-text")
}
