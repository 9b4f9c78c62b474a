//! Middleware: API keys, load limit, timeout, request id, access log and metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::app::App;
use crate::keys::{Key, Keyring, Role};
use crate::problem::{Problem, ProblemKind};
use crate::web::context::{self, REQUEST_ID};

/// Name of the key of a request, in its response's extensions.
#[derive(Clone)]
struct KeyName(Arc<str>);

/// Admits requests to routes that need a role.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) app: Arc<App>,
    pub(crate) role: Role,
}

/// Rejects requests without a valid key that has the role and quota left. If no key is configured,
/// accepts all but those that need the role admin.
pub(crate) async fn admit(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let Admission { app, role } = admission;
    let keys = app.keys.current();
    if keys.is_empty() {
        if role == Role::Admin {
            let hint = "start the server with --keys, --api-key-file or PRL_API_KEY to enable \
                        this route";
            return Problem::new(ProblemKind::NoKey, hint).into_response();
        }
        return next.run(request).await;
    }
    let key = match identify(&keys, request.headers()) {
        Ok(key) => key,
        Err(problem) => return problem.into_response(),
    };
    let name = Arc::clone(key.name());
    let mut response = match check(key, role) {
        Ok(()) => {
            drop(keys);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    app.metrics.count_key(&name, response.status().as_u16());
    response.extensions_mut().insert(KeyName(name));
    response
}

/// The key of the header `Authorization: Bearer KEY`; the scheme's case does not matter.
fn identify<'a>(keys: &'a Keyring, headers: &HeaderMap) -> Result<&'a Key, Problem> {
    let hint = "send the header Authorization: Bearer KEY";
    let unauthorized = || Problem::new(ProblemKind::Unauthorized, hint);
    let value = headers.get(header::AUTHORIZATION);
    let value = value.ok_or_else(unauthorized)?.as_bytes();
    let space = value.iter().position(|&byte| byte == b' ');
    let (scheme, secret) = value.split_at(space.ok_or_else(unauthorized)?);
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(unauthorized());
    }
    keys.find(secret.trim_ascii()).ok_or_else(unauthorized)
}

fn check(key: &Key, role: Role) -> Result<(), Problem> {
    if !key.has(role) {
        let detail = format!(
            "the key {:?} has not the role {:?} that this route needs",
            key.name(),
            role.name()
        );
        return Err(Problem::new(ProblemKind::NoRole, detail));
    }
    key.take().map_err(|seconds| {
        let detail = format!(
            "the quota of the key {:?} is used up; retry in {seconds} s",
            key.name()
        );
        let mut problem = Problem::new(ProblemKind::Quota, detail);
        problem.retry_after = Some(seconds);
        problem
    })
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

/// Gives the request its id, records metrics and writes the access log.
pub(crate) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = request.method().clone();
    let id = context::request_id(request.headers());
    // Lines that are logged while the request is answered carry its id.
    let span = tracing::info_span!("request", %id);
    let answer = context::within(Arc::clone(&id), next.run(request));
    let mut response = answer.instrument(span).await;
    let (seconds, status) = (start.elapsed().as_secs_f64(), response.status().as_u16());
    app.metrics.record(route, status, seconds);
    let key = response.extensions().get::<KeyName>();
    let key = key.map_or("-", |name| &name.0);
    tracing::info!(target: "access", %method, route, status, ms = seconds * 1e3, key, %id);
    // Ids that are taken or made are valid header values.
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
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
