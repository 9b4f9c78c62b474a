//! What went wrong, as a problem document (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prl_engine::Error;
use serde_json::json;

/// The kinds of problems, each with its status, the end of its type's URN, and its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    Malformed,
    Unauthorized,
    NoKey,
    NotFound,
    NoSession,
    WrongMethod,
    TooLarge,
    NotJson,
    Invalid,
    BadRun,
    Failed,
    Overloaded,
    NotReady,
    Late,
}

impl ProblemKind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            ProblemKind::Malformed => {
                (StatusCode::BAD_REQUEST, "malformed", "The body is not JSON")
            }
            ProblemKind::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The API key is missing or wrong",
            ),
            ProblemKind::NoKey => (
                StatusCode::FORBIDDEN,
                "no-key",
                "The server was started without an API key",
            ),
            ProblemKind::NotFound => (
                StatusCode::NOT_FOUND,
                "not-found",
                "There is no such resource",
            ),
            ProblemKind::NoSession => (
                StatusCode::NOT_FOUND,
                "no-session",
                "There is no such session",
            ),
            ProblemKind::WrongMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "wrong-method",
                "The resource has no such method",
            ),
            ProblemKind::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The body is too large",
            ),
            ProblemKind::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-json",
                "The body must be application/json",
            ),
            ProblemKind::Invalid => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "The question means nothing",
            ),
            ProblemKind::BadRun => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-run",
                "The run cannot be served",
            ),
            ProblemKind::Failed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "failed",
                "The model failed",
            ),
            ProblemKind::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too many requests at once",
            ),
            ProblemKind::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not-ready",
                "The model is still being loaded",
            ),
            ProblemKind::Late => (StatusCode::GATEWAY_TIMEOUT, "late", "The time ran out"),
        }
    }
}

/// A problem and its details.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) what: ProblemKind,
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(what: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            what,
            detail: detail.into(),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Invalid, detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let what = match &error {
            Error::Full { .. } => ProblemKind::Overloaded,
            Error::Late { .. } => ProblemKind::Late,
            Error::LongSession { .. } => ProblemKind::Invalid,
            Error::Stopped | Error::Model(_) | Error::Thread(_) => ProblemKind::Failed,
        };
        Self::new(what, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.what.parts();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(detail = self.detail, "{title}");
        }
        let body = json!({
            "type": format!("urn:prl:problem:{kind}"), "title": title, "status": status.as_u16(), "detail": self.detail,
        });
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                _ = headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            StatusCode::UNAUTHORIZED => {
                _ = headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
