//! The two documents that are served as they are.

use axum::http::header;
use axum::response::IntoResponse;

/// The description of the interface.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");
/// One file: no build, no outside assets.
const PAGE: &str = include_str!("page.html");
/// The page may run what stands in it and ask this server, nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn page() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ],
        PAGE,
    )
}

pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}
