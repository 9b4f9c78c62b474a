//! Error responses as problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prl_engine::{Error, InvalidRequest};
use prl_items::{ChangeError, ChangeStoreError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::context::current_id;

/// Kind of a problem; determines status code, type URN and title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    Malformed,
    Unauthorized,
    NoKey,
    NoRole,
    Quota,
    NoLog,
    NoBackups,
    NoCandidate,
    NotFound,
    NoSession,
    NoItem,
    WrongMethod,
    TooLarge,
    NotJson,
    Encoding,
    Invalid,
    BadRun,
    Failed,
    LogFailed,
    StoreFailed,
    StoreDown,
    Overloaded,
    NotReady,
    Timeout,
}

impl ProblemKind {
    /// Status code, last part of the type URN, and title.
    #[rustfmt::skip]
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed", "Body is not valid JSON"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "Missing or wrong API key"),
            Self::NoKey => (S::FORBIDDEN, "no-key", "No API key configured"),
            Self::NoRole => (S::FORBIDDEN, "no-role", "API key lacks the role"),
            Self::Quota => (S::TOO_MANY_REQUESTS, "quota", "Quota of the API key used up"),
            Self::NoLog => (S::FORBIDDEN, "no-log", "No log configured"),
            Self::NoBackups => (S::FORBIDDEN, "no-backups", "No directory of back-ups configured"),
            Self::NoCandidate => (S::FORBIDDEN, "no-candidate", "No candidate configured"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "Not found"),
            Self::NoSession => (S::NOT_FOUND, "no-session", "Session not found"),
            Self::NoItem => (S::NOT_FOUND, "no-item", "Item not found"),
            Self::WrongMethod => (S::METHOD_NOT_ALLOWED, "wrong-method", "Method not allowed"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not-json", "Body must be application/json"),
            Self::Encoding => (S::UNSUPPORTED_MEDIA_TYPE, "encoding", "Content encoding not supported"),
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
            Self::BadRun => (S::UNPROCESSABLE_ENTITY, "bad-run", "Run cannot be loaded"),
            Self::Failed => (S::INTERNAL_SERVER_ERROR, "failed", "Model failed"),
            Self::LogFailed => (S::INTERNAL_SERVER_ERROR, "log-failed", "Log cannot be written"),
            Self::StoreFailed => (S::INTERNAL_SERVER_ERROR, "store-failed", "Store failed"),
            Self::StoreDown => (S::SERVICE_UNAVAILABLE, "store-down", "Store not available"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Too many requests"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not-ready", "Model not loaded yet"),
            Self::Timeout => (S::GATEWAY_TIMEOUT, "late", "Timeout"),
        }
    }
}

/// An error of a request.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    pub(crate) detail: String,
    /// Seconds until a retry, where the kind has no fixed time.
    pub(crate) retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// A problem of kind [`ProblemKind::Invalid`].
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Invalid, detail)
    }
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ChangeStoreError> for Problem {
    fn from(error: ChangeStoreError) -> Self {
        Self::new(ProblemKind::StoreFailed, error.to_string())
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let kind = match &error {
            ChangeError::UnknownItem { .. } => ProblemKind::NoItem,
            ChangeError::UnknownColumn { .. } | ChangeError::Type { .. } => ProblemKind::Invalid,
            ChangeError::Store(_) => ProblemKind::StoreDown,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::QueueFull { .. } => ProblemKind::Overloaded,
            Error::Timeout { .. } => ProblemKind::Timeout,
            Error::InvalidRequest(_) => ProblemKind::Invalid,
            Error::Changes(_) => ProblemKind::StoreDown,
            Error::Stopped | Error::Model(_) | Error::Thread(_) => ProblemKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<prl_store::Error> for Problem {
    fn from(error: prl_store::Error) -> Self {
        use prl_store::Error;
        let kind = match &error {
            Error::SessionTooLong { .. } => ProblemKind::Invalid,
            Error::Unavailable { .. } => ProblemKind::StoreDown,
            Error::Format { .. }
            | Error::Damaged { .. }
            | Error::Address { .. }
            | Error::Directory(_) => ProblemKind::StoreFailed,
        };
        Self::new(kind, error.to_string())
    }
}

/// Problem document (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument<'a> {
    /// URN of the kind of problem: `urn:prl:problem:...`.
    #[serde(rename = "type")]
    urn: String,
    /// Summary of the kind of problem.
    title: &'a str,
    /// HTTP status code.
    status: u16,
    /// Cause of this problem and a hint.
    detail: &'a str,
    /// Id of the request, as in the header X-Request-Id and in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    request_id: Option<&'a str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.parts();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(detail = self.detail, "{title}");
        }
        let request_id = current_id();
        let document = ProblemDocument {
            urn: format!("urn:prl:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            request_id: request_id.as_deref(),
        };
        // A struct of strings and a number always serializes.
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.kind == ProblemKind::Encoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
