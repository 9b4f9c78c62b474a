//! The demo page and the OpenAPI document.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::app::App;

/// A single file without external assets and without a build step.
const PAGE: &str = include_str!("page.html");
/// The page may run its inline script, call this server and show pictures of items; anything else is
/// blocked.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src http: https:; \
                              script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
                              form-action 'none'; frame-ancestors 'none'";

/// Demo page
#[utoipa::path(
    get,
    path = "/",
    responses((status = 200, description = "HTML page", body = String, content_type = "text/html")),
    security(),
)]
pub(crate) async fn page() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        ],
        PAGE,
    )
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((
        status = 200,
        description = "OpenAPI 3.1 document",
        body = Object,
        content_type = "application/json",
    )),
    security(),
)]
pub(crate) async fn openapi_document(State(app): State<Arc<App>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        app.openapi.clone(),
    )
}
