//! What stands before the handlers: one shared limit, the time limit, the key, the access log.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::problem::{Problem, ProblemKind};

/// A key that clients must know. It is compared in constant time and has no `Debug`, so that no log can show it.
#[derive(Clone)]
pub struct ApiKey(Box<[u8]>);

impl ApiKey {
    /// A key without the white space around it; `None` if nothing is left.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| Self(key.as_bytes().into()))
    }

    /// Whether a request brings it, as `Authorization: Bearer KEY`.
    fn is_in(&self, request: &Request) -> bool {
        let given = request
            .headers()
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes);
        given
            .and_then(|given| given.strip_prefix(b"Bearer "))
            .is_some_and(|given| given.ct_eq(&self.0).into())
    }
}

/// Lets in who knows the key, or everybody where there is none.
pub(crate) async fn key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match &app.key {
        Some(key) if !key.is_in(&request) => Problem::new(
            ProblemKind::Unauthorized,
            "send it as Authorization: Bearer KEY",
        )
        .into_response(),
        _ => next.run(request).await,
    }
}

/// Lets in who knows the key, and nobody where there is none.
pub(crate) async fn admin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.key.is_none() {
        let detail = "start it with PRL_API_KEY or --api-key-file to allow this";
        return Problem::new(ProblemKind::NoKey, detail).into_response();
    }
    key(State(app), request, next).await
}

/// Lets in as many at once as the server has room for, and no longer than it has time. All connections share the one
/// semaphore: a limit in a layer would be cloned with every connection.
pub(crate) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = app.permits.try_acquire() else {
        return Problem::new(
            ProblemKind::Overloaded,
            "the server answers as many requests as it can; ask again",
        )
        .into_response();
    };
    match tokio::time::timeout(app.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {:.3} s", app.timeout.as_secs_f64());
            Problem::new(ProblemKind::Late, detail).into_response()
        }
    }
}

/// Counts and logs.
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

/// Tells browsers to take nothing for what it is not.
pub(crate) async fn safe(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
