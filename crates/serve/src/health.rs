//! Health probes and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
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
        description = "OpenMetrics text",
        body = String,
        content_type = "application/openmetrics-text",
    )),
    security(),
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    // A scrape must not fail because another service is down.
    let sessions = app.sessions.count().await.ok();
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        app.metrics.text(&app, sessions),
    )
}
