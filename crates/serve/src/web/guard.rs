//! Middleware: API key, load limit, timeout, access log and metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::problem::{Problem, ProblemKind};

/// API key of the server. Compared in constant time; has no `Debug`, so that it cannot be logged.
#[derive(Clone)]
pub struct ApiKey(Box<[u8]>);

impl ApiKey {
    /// Creates a key, trimmed of white space; `None` if it is empty.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| Self(key.as_bytes().into()))
    }

    /// Whether the request has the header `Authorization: Bearer KEY`.
    fn matches(&self, request: &Request) -> bool {
        let Some(value) = request.headers().get(header::AUTHORIZATION) else {
            return false;
        };
        match value.as_bytes().strip_prefix(b"Bearer ") {
            Some(key) => key.ct_eq(&self.0).into(),
            None => false,
        }
    }
}

/// Rejects requests without a valid API key; accepts all if no key is configured.
pub(crate) async fn require_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(key) = &app.key
        && !key.matches(&request)
    {
        let hint = "send the header Authorization: Bearer KEY";
        return Problem::new(ProblemKind::Unauthorized, hint).into_response();
    }
    next.run(request).await
}

/// Rejects requests without a valid API key; rejects all if no key is configured.
pub(crate) async fn require_configured_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    if app.key.is_none() {
        let hint = "start the server with PRL_API_KEY or --api-key-file to enable this route";
        return Problem::new(ProblemKind::NoKey, hint).into_response();
    }
    require_key(State(app), request, next).await
}

/// Limits the number of concurrent requests and the time of each.
///
/// All connections share the semaphore in [`App`]: a limit inside a tower layer would be cloned for
/// every connection.
pub(crate) async fn limit_load(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_permit) = app.permits.try_acquire() else {
        let hint = "the server is at its limit of concurrent requests; retry in a moment";
        return Problem::new(ProblemKind::Overloaded, hint).into_response();
    };
    match tokio::time::timeout(app.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {:.3} s", app.timeout.as_secs_f64());
            Problem::new(ProblemKind::Timeout, detail).into_response()
        }
    }
}

/// Records metrics and writes the access log.
pub(crate) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = request.method().clone();
    let response = next.run(request).await;
    let (seconds, status) = (start.elapsed().as_secs_f64(), response.status().as_u16());
    app.metrics.record(route, status, seconds);
    tracing::info!(target: "access", %method, route, status, ms = seconds * 1e3);
    response
}

/// Forbids browsers to guess a response's media type.
pub(crate) async fn no_sniff(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
